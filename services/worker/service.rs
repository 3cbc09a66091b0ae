//! The door of the worker.

mod output;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use output::Outputs;

use super::{
    crew::Crew,
    handler::Handlers,
    link::{Link, dial::Dialler},
    membership,
    metrics::Metrics,
};
use crate::{
    domain::{Incarnation, QueueName, Term, WorkerId, WorkerOffer},
    runtime::{
        near_links::Door,
        serve::{HealthReporter, MAX_LINK_MESSAGE_BYTES, ServeError, ServingStatus, serve},
        wall_clock::WallClock,
    },
    store::Store,
    wire::proto::internal::v1::worker_service_server::WorkerServiceServer,
};

/// How long attempts may go on after a stop was asked for, if nobody says otherwise.
pub const DEFAULT_DRAIN: Duration = Duration::from_secs(30);
/// Longest wait for the port to close: metrics and health are not worth more.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// What it serves, for reflection.
const SERVICES: [&str; 1] = ["herdsman.internal.v1.WorkerService"];

/// What a worker is.
pub struct Options {
    pub store: Arc<dyn Store>,
    /// Where it serves its attempts' logs, health and metrics.
    pub listener: TcpListener,
    /// host:port of the listener, as others reach it.
    pub advertise: String,
    pub worker_id: WorkerId,
    /// Attempts at the same time, 1 to [`WorkerOffer::MAX_SLOTS`].
    pub slots: u32,
    /// 1 to [`WorkerOffer::MAX_QUEUES`].
    pub queues: BTreeSet<QueueName>,
    pub labels: BTreeMap<String, String>,
    /// 1 to [`WorkerOffer::MAX_KINDS`] kinds.
    pub handlers: Handlers,
    /// How long attempts may go on after a stop was asked for.
    pub drain: Duration,
    /// The master of this process, if there is one. While it leads it may spare this worker.
    pub beside: Option<Door>,
}

/// Why a worker did not start, or ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a worker has 1 to {max} slots, not {slots}", max = WorkerOffer::MAX_SLOTS)]
    Slots { slots: u32 },
    #[error("a worker serves 1 to {max} queues, not {queues}", max = WorkerOffer::MAX_QUEUES)]
    Queues { queues: usize },
    #[error("a worker serves 1 to {max} kinds, not {kinds}", max = WorkerOffer::MAX_KINDS)]
    Kinds { kinds: usize },
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Runs a worker until `shutdown` is cancelled and its graceful stop is complete: attempts end or, when the drain time
/// is over, are stopped and given back; reports are acknowledged; the membership ends.
///
/// # Errors
/// The options are not those of a worker, or its port could not be served. What runs is torn down.
pub async fn run(options: Options, shutdown: CancellationToken) -> Result<(), Error> {
    let offer = offer(&options)?;
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry, offer.slots);
    let (linked, link_state) = watch::channel(None);
    let stopped = CancellationToken::new();

    let clock = WallClock::system();
    let crew = Crew::new(offer.clone(), options.handlers, options.drain, shutdown, metrics.clone(), clock)
        .beside(options.beside.as_ref().map(Door::address));
    let health = HealthReporter::new();
    let outputs = WorkerServiceServer::new(Outputs::new(crew.desk(), stopped.clone()));
    let link = Link::new(Dialler { beside: options.beside }, options.store.follow(), crew, linked);
    let routes = Routes::new(outputs.max_decoding_message_size(MAX_LINK_MESSAGE_BYTES));
    let serving = serve(options.listener, routes, &SERVICES, health.clone(), registry, stopped.clone());
    let showing = show(link_state.clone(), health, metrics);
    let membership = tokio::spawn(membership::keep(options.store, offer, link_state, stopped.clone()));

    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        () = link.run() => Ok(()),
        never = showing => match never {},
        served = &mut serving => served.map_err(Error::from),
    };
    stopped.cancel();
    // It has a limit of its own.
    let _ = membership.await;
    if ended.is_ok() {
        let _ = tokio::time::timeout(CLOSE_LIMIT, serving).await;
        tracing::info!("stopped");
    }
    ended
}

fn offer(options: &Options) -> Result<WorkerOffer, Error> {
    let kinds: BTreeSet<_> = options.handlers.kinds().cloned().collect();
    if !(1..=WorkerOffer::MAX_SLOTS).contains(&options.slots) {
        return Err(Error::Slots { slots: options.slots });
    }
    if !(1..=WorkerOffer::MAX_KINDS).contains(&kinds.len()) {
        return Err(Error::Kinds { kinds: kinds.len() });
    }
    if !(1..=WorkerOffer::MAX_QUEUES).contains(&options.queues.len()) {
        return Err(Error::Queues { queues: options.queues.len() });
    }
    Ok(WorkerOffer {
        worker_id: options.worker_id.clone(),
        incarnation: Incarnation(uuid::Uuid::new_v4().into_bytes()),
        address: options.advertise.clone(),
        slots: options.slots,
        kinds,
        queues: options.queues.clone(),
        labels: options.labels.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
    })
}

/// Shows the state of the link to who looks from outside.
async fn show(
    mut linked: watch::Receiver<Option<Term>>,
    health: HealthReporter,
    metrics: Metrics,
) -> std::convert::Infallible {
    loop {
        let term = *linked.borrow_and_update();
        metrics.set_link(term);
        let status = if term.is_some() { ServingStatus::Serving } else { ServingStatus::NotServing };
        health.set_service_status("", status).await;
        if linked.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
