//! The door: while this client service has too much under way, submits of many tasks are refused unread. To make messages of
//! what is refused anyway would cost those that are not.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use futures::StreamExt;
use tokio::time::{Instant, timeout};
use tonic::Code;

use super::{CALL_LIMIT, Front};
use crate::{runtime::serve::MAX_REQUEST_BYTES, wire::CallError};

const RPC: &str = "SubmitTasks";
const PATH: &str = "/herdsman.v1.TaskService/SubmitTasks";

pub(super) async fn refuse_unread(State(front): State<Arc<Front>>, request: Request, next: Next) -> Response {
    if request.uri().path() != PATH || !front.admission.is_full() {
        return next.run(request).await;
    }
    let start = Instant::now();
    // Whoever sends for longer does not wait for the answer any more.
    let _ = timeout(CALL_LIMIT, pass_over(request.into_body())).await;
    front.metrics.ended(RPC, Code::ResourceExhausted, start.elapsed());
    CallError::Overloaded.status(None).into_http()
}

/// A stream that is answered before its end is reset, and some clients take that for a broken connection.
async fn pass_over(body: Body) {
    let (mut parts, mut bytes) = (body.into_data_stream(), 0);
    while let Some(Ok(part)) = parts.next().await {
        bytes += part.len();
        if bytes > MAX_REQUEST_BYTES {
            return;
        }
    }
}
