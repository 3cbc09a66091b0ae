//! `GET /metrics` in the OpenMetrics text format.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{Method, StatusCode, Version, header::CONTENT_TYPE},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{encoding::text::encode, registry::Registry};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) fn route(router: Router, registry: Registry) -> Router {
    router.route("/metrics", get(show).with_state(Arc::new(registry))).layer(from_fn(refuse_http1_calls))
}

/// gRPC needs HTTP/2; by HTTP/1 there is only the GET. Who sends anything else could hold a connection for good with a
/// body that never comes: it is answered before the body, which closes the connection.
async fn refuse_http1_calls(request: Request, next: Next) -> Response {
    if request.version() < Version::HTTP_2 && request.method() != Method::GET {
        return StatusCode::HTTP_VERSION_NOT_SUPPORTED.into_response();
    }
    next.run(request).await
}

async fn show(State(registry): State<Arc<Registry>>) -> impl IntoResponse {
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => (StatusCode::OK, [(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
