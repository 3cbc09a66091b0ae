//! One leadership, from the load to its end.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    clock::Clock,
    driver::Driver,
    inbox::{Entrance, inbox},
    input::LinkId,
    machine::Machine,
    metrics::Metrics,
    service,
};
use crate::{
    domain::{
        Scheduler, Term, Wall,
        scheduler::{Effect, Limits},
    },
    runtime::serve::HealthReporter,
    store::{Candidate, Doubt, Leadership, StoreError},
};

/// Tasks up to which the recovery is done on the spot: some 10 ms of work, in which the runtime misses nothing, and a hop
/// to another thread is saved.
const RECOVERED_ON_THE_SPOT: usize = 4_096;
/// Longest wait for a handover.
const RESIGN_LIMIT: Duration = Duration::from_secs(1);
/// The watchdog's limit, however short the sessions are: a busy machine may take a second for nothing.
const LEAST_WATCHDOG: Duration = Duration::from_secs(2);

/// How a leadership ended.
#[derive(Debug)]
pub(super) enum Ended {
    Resigned,
    Lost,
    Doubt(Doubt),
    Load(StoreError),
    Recovery(String),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resigned => f.write_str("handed over"),
            Self::Lost => f.write_str("the leadership was lost"),
            Self::Doubt(doubt) => write!(f, "{doubt}"),
            Self::Recovery(error) => write!(f, "the tasks could not be recovered: {error}"),
            Self::Load(error) => write!(f, "the tasks could not be loaded: {error}"),
        }
    }
}

/// How many standbys have a link.
#[derive(Debug, Clone, Default)]
pub(super) struct Standbys(Arc<AtomicU32>);

impl Standbys {
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one until it is dropped.
    pub fn enter(&self) -> impl Drop + use<> {
        struct Guard(Arc<AtomicU32>);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.0.fetch_add(1, Ordering::Relaxed);
        Guard(self.0.clone())
    }
}

/// What a leader says of itself.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub address: String,
    pub lead_time: Wall,
    pub standbys: Standbys,
    /// Cancelled when it has handed over on purpose, before its links end.
    pub resigned: CancellationToken,
}

/// What this process is, to whoever opens a link.
#[derive(Debug, Clone, Default)]
pub(super) enum Standing {
    #[default]
    Standby,
    /// It has won and announced itself, and reads what there is: links wait for it.
    Loading,
    Leading(Leading),
}

/// How a link reaches the leader of this process, while it leads.
#[derive(Debug, Clone)]
pub(super) struct Leading {
    pub term: Term,
    pub inputs: Entrance,
    pub standbys: Standbys,
    /// Until when it must not be deposed by suspicion, and how long that was at the start.
    pub immune_until: Instant,
    pub immunity: Duration,
    /// As in [`About`].
    pub resigned: CancellationToken,
    links: Arc<AtomicU64>,
}

impl Leading {
    pub fn next_link(&self) -> LinkId {
        LinkId(self.links.fetch_add(1, Ordering::Relaxed))
    }
}

pub(super) struct Reign {
    address: String,
    limits: Limits,
    immunity: Duration,
    metrics: Metrics,
    machine: Machine,
}

impl Reign {
    pub fn new(
        candidate: &Candidate,
        limits: Limits,
        immunity: Duration,
        metrics: &Metrics,
        machine: &Machine,
    ) -> Self {
        Self {
            address: candidate.address.clone(),
            limits,
            immunity,
            metrics: metrics.clone(),
            machine: machine.clone(),
        }
    }

    /// Loads, recovers, announces itself to the links, drives.
    pub async fn run(
        self,
        mut leadership: Box<dyn Leadership>,
        standing: &watch::Sender<Standing>,
        health: &HealthReporter,
        shutdown: &CancellationToken,
    ) -> Ended {
        standing.send_replace(Standing::Loading);
        let clock = Clock::start(self.machine.clock.clone());
        let recovered = tokio::select! {
            recovered = recover(&mut *leadership, self.limits.clone(), clock.clone()) => recovered,
            () = shutdown.cancelled() => Err(Ended::Resigned),
        };
        let (scheduler, effects) = match recovered {
            Ok(recovered) => recovered,
            Err(ended) => {
                standing.send_replace(Standing::Standby);
                if matches!(ended, Ended::Resigned) {
                    resign(leadership).await;
                }
                return ended;
            }
        };
        let term = scheduler.term();
        let watchdog = (self.limits.takeover_grace / 2).max(LEAST_WATCHDOG);
        let (inputs, inbox) = inbox();
        let about = About {
            address: self.address,
            lead_time: clock.now().wall,
            standbys: Standbys::default(),
            resigned: CancellationToken::new(),
        };
        let handle = Leading {
            term,
            inputs,
            standbys: about.standbys.clone(),
            immune_until: Instant::now() + self.immunity,
            immunity: self.immunity,
            resigned: about.resigned.clone(),
            links: Arc::default(),
        };
        self.metrics.leads(term);
        let driver = Driver::new(scheduler, effects, clock, leadership, inbox, about, self.metrics.clone());
        standing.send_replace(Standing::Leading(handle));
        service::set_leading(health, true).await;
        let pulse = (self.machine.watchdog)(watchdog);
        let ended = driver.run(pulse, shutdown).await;
        standing.send_replace(Standing::Standby);
        service::set_leading(health, false).await;
        self.metrics.follows();
        ended
    }
}

/// Reads what is durable and makes a scheduler of it; where it is much, on a thread of its own: a million tasks take a
/// while.
async fn recover(
    leadership: &mut dyn Leadership,
    limits: Limits,
    clock: Clock,
) -> Result<(Scheduler, Vec<Effect>), Ended> {
    let start = Instant::now();
    let term = leadership.term();
    let loaded = leadership.load().await.map_err(Ended::Load)?;
    let (tasks, corrupt) = (loaded.tasks.len(), loaded.corrupt.len());
    let recover = move || {
        let (mut scheduler, effects) = Scheduler::recover(limits, term, clock.now(), loaded);
        scheduler.grant_grace(clock.now());
        (scheduler, effects)
    };
    let recovered = if tasks <= RECOVERED_ON_THE_SPOT {
        recover()
    } else {
        tokio::task::spawn_blocking(recover).await.map_err(|error| Ended::Recovery(error.to_string()))?
    };
    tracing::info!(%term, tasks, corrupt, took = ?start.elapsed(), "loaded");
    Ok(recovered)
}

/// Hands over; if it takes longer than this, the end of the session does it.
pub(super) async fn resign(leadership: Box<dyn Leadership>) {
    let _ = tokio::time::timeout(RESIGN_LIMIT, leadership.resign()).await;
}
