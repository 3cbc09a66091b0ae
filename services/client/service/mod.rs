//! The public API. Requests are parsed at the door, forwarded to the leader, and answered with what it said; nothing is
//! decided here, and nothing is kept.

mod cluster;
mod door;
mod drains;
mod many;
mod output;
mod page_token;
mod request;
mod tasks;
mod watches;

use std::{future::Future, sync::Arc, time::Duration};

use axum::middleware::from_fn_with_state;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, metadata::MetadataMap, service::Routes};
use tracing::{Instrument, Span};

use super::{
    admission::{Admission, MAX_CALLS},
    hub::Hub,
    leader_link::{AskError, CALLS_TOGETHER, LeaderLink},
    metrics::Metrics,
};
use crate::{
    domain::{Answer, Call, ListQuery, Page, Refusal, Task},
    runtime::{serve::MAX_REQUEST_BYTES, telemetry},
    wire::{
        CallError,
        proto::v1::{cluster_service_server::ClusterServiceServer, task_service_server::TaskServiceServer},
    },
};

use cluster::Cluster;
pub(super) use drains::Places;
pub(super) use output::Outputs;
use tasks::Tasks;

/// Longest time for which a call is asked for; a caller that says less gets less.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// What every RPC stands on.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) link: LeaderLink,
    pub(super) hub: Hub,
    pub(super) outputs: Outputs,
    pub(super) drains: Places,
    pub(super) metrics: Metrics,
    pub(super) max_watch_age: Duration,
    pub(super) draining: CancellationToken,
    /// Calls that are under way, streams not counted.
    pub(super) under_way: watch::Sender<usize>,
    pub(super) admission: Admission,
}

/// What a call knows beside its request.
#[derive(Debug, Clone, Copy)]
struct Context {
    /// When its caller stops waiting.
    deadline: Instant,
}

/// Both public services, on one front.
pub(super) fn routes(front: &Arc<Front>) -> Routes {
    let tasks = TaskServiceServer::new(Tasks(front.clone())).max_decoding_message_size(MAX_REQUEST_BYTES);
    let cluster = ClusterServiceServer::new(Cluster(front.clone())).max_decoding_message_size(MAX_REQUEST_BYTES);
    let routes = Routes::new(tasks).add_service(cluster).into_axum_router();
    Routes::from(routes.layer(from_fn_with_state(front.clone(), door::refuse_unread)))
}

impl Front {
    /// Runs one unary call: within its span, counted, and refused if this service is draining or has too many.
    async fn unary<Q, R, F>(
        self: &Arc<Self>,
        rpc: &'static str,
        request: Request<Q>,
        work: impl FnOnce(Q, Context) -> F,
    ) -> Result<Response<R>, Status>
    where
        F: Future<Output = Result<R, Status>> + Send,
    {
        let start = Instant::now();
        let span = span(rpc, request.metadata());
        let limit = request::timeout(request.metadata()).unwrap_or(CALL_LIMIT).min(CALL_LIMIT);
        let (_under_way, calls) = UnderWay::begin(&self.under_way);
        let result = if self.draining.is_cancelled() {
            Err(CallError::Draining.status(None))
        } else if calls > MAX_CALLS {
            Err(CallError::Overloaded.status(None))
        } else {
            let context = Context { deadline: start + limit };
            work(request.into_inner(), context).instrument(span).await.map(Response::new)
        };
        self.metrics.ended(rpc, result.as_ref().map_or_else(Status::code, |_| Code::Ok), start.elapsed());
        result
    }

    async fn ask(&self, call: Call, context: Context) -> Result<Answer, CallError> {
        match self.link.ask(call, context.deadline).await? {
            Answer::Refused(refusal) => Err(refusal.into()),
            answer => Ok(answer),
        }
    }

    async fn ask_for_task(&self, call: Call, context: Context) -> Result<Arc<Task>, CallError> {
        task_in(self.link.ask(call, context.deadline).await?)
    }

    /// Asks one page of a listing.
    async fn ask_for_page(&self, query: ListQuery, context: Context) -> Result<Page, CallError> {
        match self.ask(Call::List(Box::new(query)), context).await? {
            Answer::Page(page) => Ok(page),
            _ => Err(unfitting()),
        }
    }

    /// Asks about many tasks, and returns what was answered in the order of the calls. All have their places in line before
    /// the answers are waited for.
    async fn ask_for_tasks(
        &self,
        calls: Vec<Result<Call, CallError>>,
        context: Context,
    ) -> Vec<Result<Arc<Task>, CallError>> {
        let (mut entered, mut asked) = (Vec::with_capacity(calls.len()), Vec::with_capacity(calls.len()));
        let mut hopeless = None;
        let mut calls = calls.into_iter();
        while calls.len() > 0 {
            let mut together = Vec::with_capacity(CALLS_TOGETHER);
            entered.extend(calls.by_ref().take(CALLS_TOGETHER).map(|call| call.map(|call| together.push(call))));
            // Behind some that waited in vain the others would wait as long for nothing.
            if hopeless.is_none() && !together.is_empty() {
                match self.link.ask_in_line(together, context.deadline).await {
                    Ok(places) => asked.extend(places),
                    Err(error) => hopeless = Some(error),
                }
            }
        }
        let mut answers = self.link.answers(asked, context.deadline).await.into_iter();
        let answer = |entered: Result<(), CallError>| {
            entered?;
            // Whoever did not get a place comes after all those that did.
            task_in(answers.next().unwrap_or(Err(hopeless.unwrap_or(AskError::Stopped)))?)
        };
        entered.into_iter().map(answer).collect()
    }
}

fn task_in(answer: Answer) -> Result<Arc<Task>, CallError> {
    match answer {
        Answer::Task(task) => Ok(task),
        Answer::Refused(refusal) => Err(refusal.into()),
        _ => Err(unfitting()),
    }
}

impl From<AskError> for CallError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::NoLeader => Self::NoLeader,
            AskError::DeadlineExceeded => Self::DeadlineExceeded,
            AskError::Stopped => Self::Draining,
        }
    }
}

/// An answer to something else than what was asked: the leader is of another version.
fn unfitting() -> CallError {
    Refusal::Invalid("the answer does not fit the question".into()).into()
}

fn span(rpc: &'static str, metadata: &MetadataMap) -> Span {
    let span = tracing::info_span!("rpc", otel.name = rpc, otel.kind = "server", rpc.system = "grpc", rpc.method = rpc);
    if let Some(parent) = metadata.get("traceparent").and_then(|value| value.to_str().ok()) {
        telemetry::set_parent(&span, parent);
    }
    span
}

/// Counts a call for as long as it lives, however it ends.
struct UnderWay<'a>(&'a watch::Sender<usize>);

impl<'a> UnderWay<'a> {
    /// With how many are under way, itself included.
    fn begin(count: &'a watch::Sender<usize>) -> (Self, usize) {
        let mut calls = 0;
        count.send_modify(|count| {
            *count += 1;
            calls = *count;
        });
        (Self(count), calls)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
