//! The master: stands for election, and while it leads decides everything about tasks.
//!
//! One task, the [`driver`], owns all of a leader's state; the links have a bounded queue to it and nothing else. The
//! master never runs a task and never talks to a client other than a client service.

mod calls;
mod client_links;
mod clock;
mod drains;
mod driver;
mod inbox;
mod input;
mod interest;
mod link;
mod machine;
mod metrics;
pub(crate) mod outbox;
mod reign;
mod service;
#[cfg(test)]
pub mod simulated;
mod standby;
mod standby_links;
#[cfg(test)]
mod tests;
mod watchdog;
mod worker_links;

use std::{sync::Arc, time::Duration};

use futures::future::join;
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;

use self::{
    machine::Machine,
    metrics::Metrics,
    reign::{Reign, Standing},
    service::Links,
    standby::Immunity,
};
pub use crate::domain::scheduler::Limits;
use crate::{
    runtime::{
        near_links::Arrivals,
        serve::{HealthReporter, ServeError, serve},
    },
    store::{Candidate, Store, StoreError},
};

/// What a master is told at its start.
pub struct Options {
    pub store: Arc<dyn Store>,
    pub listener: TcpListener,
    /// host:port under which the others reach the listener.
    pub advertise: String,
    /// The takeover grace among them is always the store's session timeout, and whose worker is spared is said below.
    pub limits: Limits,
    /// Whether the worker in this process, if there is one, is given tasks only while no other that takes them has room.
    pub spare_own_worker: bool,
    /// Where the worker and the client service of this process come in, if there are any.
    pub beside: Option<Arrivals>,
}

/// Why a master ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Starting again with the same input would not help.
    #[error(transparent)]
    Store(StoreError),
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Pause after a candidacy that failed: short enough for a failover, long enough not to burden an ensemble that is down.
const CAMPAIGN_PAUSE: Duration = Duration::from_millis(200);
/// How long the links may take to say their goodbyes at a stop.
const LINKS_END: Duration = Duration::from_millis(500);

/// Runs a master until `shutdown` is cancelled and a leadership, if it held one, is handed over.
///
/// # Errors
/// The port cannot be served, or the store is one that this program must not touch.
pub async fn run(options: Options, shutdown: CancellationToken) -> Result<(), Error> {
    let Options { store, listener, advertise, mut limits, spare_own_worker, beside } = options;
    limits.takeover_grace = store.session_timeout();
    limits.spare_beside = spare_own_worker.then(|| advertise.as_str().into());
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let health = HealthReporter::new();
    let (standing, seen) = watch::channel(Standing::default());
    let links = TaskTracker::new();
    let service = Links::new(seen, links.clone());
    let receiving = service.clone().receive(beside);
    let service = service.into_server();
    service::set_leading(&health, false).await;

    let stop_serving = CancellationToken::new();
    let serving =
        serve(listener, Routes::new(service), &[service::NAME], health.clone(), registry, stop_serving.clone());
    let candidate = Candidate { id: uuid::Uuid::new_v4(), address: advertise };
    let machine = Machine::here();
    let candidacies = Candidacies { store, candidate, limits, metrics, health, standing, machine };
    let campaigning = async {
        let ended = candidacies.run(shutdown).await;
        links.close();
        // Links that do not end by themselves are cut with their connections.
        let _ = tokio::time::timeout(LINKS_END, links.wait()).await;
        stop_serving.cancel();
        ended
    };
    let (served, campaigned) = tokio::select! {
        ended = join(serving, campaigning) => ended,
        never = receiving => match never {},
    };
    campaigned.and(served.map_err(Error::from))
}

/// One candidacy after the other, each a session of its own.
struct Candidacies {
    store: Arc<dyn Store>,
    candidate: Candidate,
    limits: Limits,
    metrics: Metrics,
    health: HealthReporter,
    standing: watch::Sender<Standing>,
    machine: Machine,
}

impl Candidacies {
    async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        loop {
            let immunity = Immunity::default();
            let won = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                won = self.store.campaign(&self.candidate) => won,
                never = standby::stand_by(&*self.store, &*self.machine.dial, &self.candidate, &immunity) => match never {},
            };
            match won {
                Ok(leadership) => {
                    let term = leadership.term();
                    tracing::info!(%term, "leading");
                    let (limits, immunity) = (self.limits.clone(), immunity.of_next_reign());
                    let reign = Reign::new(&self.candidate, limits, immunity, &self.metrics, &self.machine);
                    let ended = reign.run(leadership, &self.standing, &self.health, &shutdown).await;
                    tracing::info!(%term, reason = %ended, "no longer leading");
                }
                Err(error @ StoreError::Format { .. }) => return Err(Error::Store(error)),
                Err(error) => tracing::warn!(%error, "the candidacy ended"),
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(CAMPAIGN_PAUSE) => {}
            }
        }
    }
}
