//! The client service: the stateless front door. It holds one link to the leader, turns calls of the public API into
//! questions on it, and fans the leader's pushes out to its watchers.
//!
//! It keeps nothing that a restart would lose, writes nothing to the store, and decides nothing about tasks: any number
//! of them serve one cluster.

mod admission;
mod hub;
mod leader_link;
mod metrics;
mod options;
mod service;

use std::{sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

pub use options::Options;

use admission::Admission;
use hub::Hub;
use leader_link::{Dialler, LeaderLink, LinkState};
use metrics::Metrics;
use service::{Front, Outputs, Places};

use crate::runtime::serve::{self, HealthReporter, ServeError, ServingStatus};

/// Waiting for a leader takes as long as the loss of the last one may take to be noticed, and this for the takeover.
const TAKEOVER: Duration = Duration::from_secs(1);
/// How long calls that are under way may take to finish when the service stops.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// How long the goodbye to the leader may take; the link has a limit of its own below it.
const LINK_END_LIMIT: Duration = Duration::from_secs(1);
/// Whose health follows the link to the leader; the empty name is the whole process.
const HEALTH_NAMES: [&str; 3] = ["", "herdsman.v1.TaskService", "herdsman.v1.ClusterService"];

/// Why a client service does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Serves the public API until `shutdown` is cancelled and everything has ended well: calls under way are answered,
/// watch streams end with UNAVAILABLE, so that their clients go on elsewhere, and the leader is told goodbye.
///
/// # Errors
/// It cannot serve.
pub async fn run(options: Options, shutdown: CancellationToken) -> Result<(), Error> {
    let Options { store, listener, max_watch_age, max_watches, beside } = options;
    let (draining, stopping, unlinking) =
        (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
    let patience = store.session_timeout() + TAKEOVER;
    let dialler = Arc::new(Dialler { beside });
    let (link, notices, link_task) = LeaderLink::start(dialler, store.follow(), patience, unlinking.clone());
    let _unlinking = unlinking.clone().drop_guard();
    let hub = Hub::start(link.clone(), notices, max_watches, draining.clone());
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry, link.clone(), hub.clone());
    let health = HealthReporter::new();
    let under_way = watch::Sender::new(0);
    let front = Arc::new(Front {
        link: link.clone(),
        hub,
        outputs: Outputs::default(),
        drains: Places::default(),
        metrics,
        max_watch_age,
        draining: draining.clone(),
        under_way,
        admission: Admission::default(),
    });
    let serving =
        serve::serve(listener, service::routes(&front), &HEALTH_NAMES[1..], health.clone(), registry, stopping.clone());
    let drain = async {
        report_health(&health, link.state(), &shutdown).await;
        draining.cancel();
        let mut under_way = front.under_way.subscribe();
        // Those that do not end in time are cut.
        let _ = timeout(DRAIN_LIMIT, under_way.wait_for(|&calls| calls == 0)).await;
        stopping.cancel();
    };
    tokio::pin!(serving);
    let served = tokio::select! {
        served = &mut serving => served,
        () = drain => serving.await,
    };
    unlinking.cancel();
    // A link that does not end in time is dropped with the process.
    let _ = timeout(LINK_END_LIMIT, link_task).await;
    Ok(served?)
}

/// Serving while there is a link to the leader. Returns, with NOT_SERVING told, when `shutdown` is cancelled.
async fn report_health(health: &HealthReporter, mut state: watch::Receiver<LinkState>, shutdown: &CancellationToken) {
    loop {
        let up = state.borrow_and_update().up && !shutdown.is_cancelled();
        let status = if up { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in HEALTH_NAMES {
            health.set_service_status(name, status).await;
        }
        tokio::select! {
            _ = state.changed() => {}
            () = shutdown.cancelled() => break,
        }
    }
    for name in HEALTH_NAMES {
        health.set_service_status(name, ServingStatus::NotServing).await;
    }
}

/// What the simulator drives.
#[cfg(test)]
pub mod simulated {
    pub use super::{
        hub::{Hub, Target, Update},
        leader_link::{AskError, Dial, Incoming, LeaderLink, LinkError, Outgoing},
    };
}
