//! A master for the simulator: the same candidacies and the same ends of links, without a port.

use std::sync::Arc;

use futures::{Sink, Stream};
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use super::standby::{Dial, End, Heard, Incoming, Outgoing};
use super::{
    Candidacies, Limits, client_links, machine::Machine, metrics::Metrics, reign::Standing, service, standby_links,
    watchdog::Pulse, worker_links,
};
use crate::{
    domain::Term,
    runtime::{serve::HealthReporter, wall_clock::WallClock},
    store::{Candidate, Store},
    wire::{
        ClientToLeader, LeaderToClient, LeaderToStandby, LeaderToWorker, LinkRefusal, StandbyToLeader, WorkerToLeader,
    },
};

/// Where links to the master come in.
#[derive(Clone)]
pub struct Door(watch::Receiver<Standing>);

/// A master that runs until it is told to stop, and its door.
pub fn start(
    store: Arc<dyn Store>,
    candidate: Candidate,
    limits: Limits,
    clock: WallClock,
    dial: Arc<dyn Dial>,
    shutdown: CancellationToken,
) -> (Door, impl Future<Output = ()>) {
    let (standing, seen) = watch::channel(Standing::default());
    let metrics = Metrics::register(&mut Registry::default());
    let machine = Machine { clock, watchdog: Pulse::unwatched, dial };
    let health = HealthReporter::new();
    let candidacies = Candidacies { store, candidate, limits, metrics, health, standing, machine };
    let running = async move { candidacies.run(shutdown).await.expect("the tree has the format of this program") };
    (Door(seen), running)
}

impl Door {
    /// The term in which it takes links.
    pub fn term(&self) -> Option<Term> {
        if let Standing::Leading(leading) = &*self.0.borrow() { Some(leading.term) } else { None }
    }

    /// Holds a worker's link to its end; likewise below.
    pub async fn worker(
        &self,
        incoming: impl Stream<Item = Result<WorkerToLeader, LinkRefusal>> + Unpin,
        outgoing: impl Sink<Result<LeaderToWorker, LinkRefusal>> + Unpin,
    ) -> Result<(), LinkRefusal> {
        worker_links::run(incoming, outgoing, service::leading(&self.0).await?).await
    }

    pub async fn client(
        &self,
        incoming: impl Stream<Item = Result<ClientToLeader, LinkRefusal>> + Unpin,
        outgoing: impl Sink<Result<LeaderToClient, LinkRefusal>> + Unpin,
    ) -> Result<(), LinkRefusal> {
        client_links::run(incoming, outgoing, service::leading(&self.0).await?).await
    }

    pub async fn standby(
        &self,
        incoming: impl Stream<Item = Result<StandbyToLeader, LinkRefusal>> + Unpin,
        outgoing: impl Sink<Result<LeaderToStandby, LinkRefusal>> + Unpin,
    ) -> Result<(), LinkRefusal> {
        standby_links::run(incoming, outgoing, service::leading(&self.0).await?).await
    }
}
