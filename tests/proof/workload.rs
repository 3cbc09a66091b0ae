//! What clients do meanwhile: submits, repeated ones among them, cancels, gets, and watches, by generated clients through
//! every client service. Everything they ask and are told is written down at once.

mod load;
mod voice;
pub mod watchers;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Semaphore;

pub use self::load::run as run_load;
use self::voice::{Voice, spec};
use crate::{
    proof::{
        cluster::{Cluster, sights::children},
        evidence::{Directory, State},
    },
    support::eventually,
};

/// How long a task takes that must outlive an outage of ZooKeeper, its end and a new election included.
const LONG_TASK: Duration = Duration::from_secs(15);
/// Such tasks at once: they leave slots for others.
const LONG_TASKS: usize = 20;
/// A poisonous task that has not ended by then is stuck: three workers have to die, be started and be found whole.
const POISON_LIMIT: Duration = Duration::from_mins(2);
const START_LIMIT: Duration = Duration::from_mins(1);
/// Calls that are on their way at once. Past it, clients hold back as any do whose pool is empty.
const MOST_CALLS: usize = 300;

/// How many calls ended how.
#[derive(Debug, Default)]
pub struct Counts {
    /// Submits of new tasks that were accepted.
    pub acknowledged: AtomicU64,
    pub ok: AtomicU64,
    pub refused: AtomicU64,
    /// No answer, or one that says that it is not known.
    pub unknown: AtomicU64,
    /// Unknown, and told when to try again.
    pub told_to_retry: AtomicU64,
}

/// The same, at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    pub acknowledged: u64,
    pub ok: u64,
    pub refused: u64,
    pub unknown: u64,
    pub told_to_retry: u64,
}

impl Counts {
    pub fn tally(&self) -> Tally {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Tally {
            acknowledged: read(&self.acknowledged),
            ok: read(&self.ok),
            refused: read(&self.refused),
            unknown: read(&self.unknown),
            told_to_retry: read(&self.told_to_retry),
        }
    }
}

/// The clients of a run.
pub struct Workload {
    /// One of each client service.
    voices: Vec<Voice>,
    calls: Arc<Semaphore>,
    numbers: AtomicU64,
}

impl Workload {
    pub fn new(cluster: &Cluster, directory: &Path) -> Self {
        let voices = Voice::of_each(cluster, &Directory::new(directory));
        Self { voices, calls: Arc::new(Semaphore::new(MOST_CALLS)), numbers: AtomicU64::default() }
    }

    pub fn tally(&self) -> Tally {
        self.voices[0].counts.tally()
    }

    fn new_id(&self, prefix: &str) -> String {
        format!("{prefix}-{:07}", self.numbers.fetch_add(1, Ordering::Relaxed))
    }

    /// Waits until every call has ended.
    pub async fn calls_have_ended(&self) {
        let all = u32::try_from(MOST_CALLS).expect("it is small");
        drop(self.calls.acquire_many(all).await.expect("nobody closes it"));
    }

    /// Submits a task that kills its worker, waits until three workers have died of it and it is given up, and until those
    /// have ended that were there when they died: suspects run one at a time on a worker, so they stand in a line.
    pub async fn poison(&self) -> String {
        let id = self.new_id("poison");
        self.voices[0].submit_until_known(&id, &spec("poison", "")).await;
        let ended = eventually("the poison is found out", POISON_LIMIT, async || {
            self.voices[0].get(&id).await.filter(|told| told.state.is_terminal())
        })
        .await;
        assert_eq!(ended.state, State::Failed, "{ended:?}");
        assert_eq!(ended.failure.as_deref(), Some("FAILURE_REASON_POISONED"), "{ended:?}");
        eventually("the suspects are cleared", POISON_LIMIT, async || {
            self.voices[0].open().await.filter(|open| open.iter().all(|task| task.worker_deaths == 0)).map(drop)
        })
        .await;
        id
    }

    /// Submits tasks that take long, and waits until they run.
    pub async fn submit_long(&self) -> Vec<String> {
        let payload = LONG_TASK.as_millis().to_string();
        let ids: Vec<_> = (0..LONG_TASKS).map(|_| self.new_id("long")).collect();
        for id in &ids {
            self.voices[0].submit_until_known(id, &spec("work", &payload)).await;
        }
        let mut running = BTreeSet::new();
        eventually("the long tasks run", START_LIMIT, async || {
            running.extend(children().into_iter().filter(|child| child.attempt == 1).map(|child| child.task));
            ids.iter().all(|id| running.contains(id)).then_some(())
        })
        .await;
        ids
    }

    /// Waits until every task that was submitted has ended.
    pub async fn everything_has_ended(&self, limit: Duration) {
        eventually("everything has ended", limit, async || self.voices[0].open().await.filter(Vec::is_empty).map(drop))
            .await;
    }
}
