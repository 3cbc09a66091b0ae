//! One port for everything a role serves: its gRPC services, reflection, health, and `GET /metrics`.
//!
//! The limits that keep one bad client from hurting the others are all here. What is served, and whether it is healthy,
//! is the role's business.

mod incoming;
mod limits;
mod metrics;

use std::{io, net::SocketAddr};

use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{service::Routes, transport::Server};
/// How a role says which of its services serve: `new()`, then `set_serving::<XServer<_>>()`. The service named "" is the
/// process as a whole; it is SERVING unless the role says otherwise.
pub use tonic_health::{ServingStatus, server::HealthReporter};
use tonic_health::{pb::health_server::HealthServer, server::HealthService};

pub use limits::{MAX_LINK_MESSAGE_BYTES, MAX_REQUEST_BYTES};

use super::dial::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT};
use crate::wire::proto::DESCRIPTORS;

/// What every role serves beside its own.
const ADDED: [&str; 3] =
    ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/// Why a role does not listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "refusing to listen on {0}: everybody who reaches it could use it; add --insecure if the network is trusted"
    )]
    NotLoopback(SocketAddr),
    #[error("cannot listen on {0}: the port is taken; choose another one with --listen, or 0 for any")]
    Taken(SocketAddr),
    #[error("cannot listen on {address}: {reason}")]
    Other { address: SocketAddr, reason: io::Error },
}

/// Why serving ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the listener has no address: {0}")]
    Listener(io::Error),
    #[error("the descriptors for reflection do not decode: {0}")]
    Reflection(String),
    #[error("serving ended: {0}")]
    Transport(String),
}

/// Listens. Port 0 takes any free one; read it from the listener's `local_addr`.
///
/// # Errors
/// The port is taken, or `listen` is not a loopback address and `insecure` was not said.
pub async fn bind(listen: SocketAddr, insecure: bool) -> Result<TcpListener, BindError> {
    if !insecure && !listen.ip().is_loopback() {
        return Err(BindError::NotLoopback(listen));
    }
    TcpListener::bind(listen).await.map_err(|reason| match reason.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken(listen),
        _ => BindError::Other { address: listen, reason },
    })
}

/// Serves until `shutdown` is cancelled, then closes: nothing new is accepted, requests that are under way have
/// [`limits::SHUTDOWN_GRACE`] to end, and what is left then is cut. Streams should be ended by their owner.
///
/// `routes` has the role's own gRPC services, each built with a `max_decoding_message_size` of [`MAX_REQUEST_BYTES`] (for
/// people's clients) or [`MAX_LINK_MESSAGE_BYTES`] (between Herdsman's services); `names` are theirs, for reflection to
/// list. gRPC reflection (v1 and v1alpha), `grpc.health.v1` as told through `health`, and `GET /metrics` from `registry`
/// are added.
///
/// # Errors
/// Only what cannot be repaired by a restart with the same input.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    names: &[&str],
    health: HealthReporter,
    mut registry: Registry,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let address = listener.local_addr().map_err(ServeError::Listener)?;
    let cut = CancellationToken::new();
    let incoming = incoming::incoming(listener, incoming::Gauges::register(&mut registry), cut.clone());
    let routes = reflected(routes, names)?.add_service(HealthServer::new(HealthService::from_health_reporter(health)));
    let routes = Routes::from(metrics::route(routes.into_axum_router(), registry));
    tracing::info!(%address, "listening");

    let stopping = shutdown.clone();
    let serving =
        server().add_routes(routes).serve_with_incoming_shutdown(incoming, async move { stopping.cancelled().await });
    let cutting = async {
        shutdown.cancelled().await;
        tokio::time::sleep(limits::SHUTDOWN_GRACE).await;
        tracing::debug!(%address, "cutting the connections that are left");
        cut.cancel();
        tokio::time::sleep(limits::CUT_GRACE).await;
    };
    tokio::select! {
        served = serving => served.map_err(|error| ServeError::Transport(error.to_string())),
        () = cutting => Ok(()),
    }
}

fn server() -> Server {
    Server::builder()
        // For /metrics. hyper gives an HTTP/1 request 30 s for its head.
        .accept_http1(true)
        .max_concurrent_streams(limits::MAX_CONCURRENT_STREAMS)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
        .http2_max_pending_accept_reset_streams(Some(limits::MAX_PENDING_RESETS))
        .http2_max_local_error_reset_streams(Some(limits::MAX_LOCAL_ERROR_RESETS))
        .http2_max_header_list_size(limits::MAX_HEADER_LIST_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}

/// grpcurl 1.8 asks by v1alpha, newer clients by v1.
fn reflected(routes: Routes, names: &[&str]) -> Result<Routes, ServeError> {
    let builder = || {
        let builder = tonic_reflection::server::Builder::configure();
        names
            .iter()
            .chain(&ADDED)
            .fold(builder, |builder, &name| builder.with_service_name(name))
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // What the details of our errors are made of.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let broken = |error: tonic_reflection::server::Error| ServeError::Reflection(error.to_string());
    Ok(routes
        .add_service(builder().build_v1().map_err(broken)?)
        .add_service(builder().build_v1alpha().map_err(broken)?))
}

#[cfg(test)]
mod tests;
