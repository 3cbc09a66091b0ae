//! What every store promises: the same cases over the embedded file, over memory and over a real ZooKeeper. The cases
//! know the trait only.

mod facts;
mod killed;
mod leading;
mod model;
mod samples;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use herdsman::{
    domain::{Loaded, LoadedTask, WorkerOffer},
    store::{
        Candidate, Leader, Leadership, Registration, Store, StoreError, embedded::EmbeddedStore,
        zookeeper::ZooKeeperStore,
    },
};
use tokio::sync::watch;
use uuid::Uuid;

use crate::support::zookeeper::{fresh_options, shared};

/// How long anything may take before a test gives up on it.
const LIMIT: Duration = Duration::from_secs(30);

/// A store, and what has to live as long as it.
struct Bench {
    store: Arc<dyn Store>,
    _holds: Box<dyn Send>,
}

impl Bench {
    fn embedded() -> Self {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let store = EmbeddedStore::open(directory.path()).expect("opens a new store");
        Self { store: Arc::new(store), _holds: Box::new(directory) }
    }

    async fn zookeeper(packing: bool) -> Self {
        let store = ZooKeeperStore::connect(fresh_options()).await.expect("the shared server is up");
        Self { store: Arc::new(store.packing(packing)), _holds: Box::new(shared()) }
    }

    /// Each leader packs or does not, by turns, as in a cluster whose masters are told differently.
    async fn zookeeper_by_turns() -> Self {
        let options = fresh_options();
        let mut stores = Vec::new();
        for packing in [true, false] {
            stores.push(
                ZooKeeperStore::connect(options.clone()).await.expect("the shared server is up").packing(packing),
            );
        }
        Self { store: Arc::new(ByTurns { stores, turn: AtomicUsize::new(0) }), _holds: Box::new(shared()) }
    }

    fn in_memory() -> Self {
        let store = EmbeddedStore::in_memory().expect("opens a store in memory");
        Self { store: Arc::new(store), _holds: Box::new(()) }
    }
}

/// Several ways to one tree, of which each campaign takes the next.
struct ByTurns {
    stores: Vec<ZooKeeperStore>,
    turn: AtomicUsize,
}

#[async_trait::async_trait]
impl Store for ByTurns {
    async fn campaign(&self, candidate: &Candidate) -> Result<Box<dyn Leadership>, StoreError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.stores[turn % self.stores.len()].campaign(candidate).await
    }

    fn follow(&self) -> watch::Receiver<Option<Leader>> {
        self.stores[0].follow()
    }

    async fn register(&self, offer: &WorkerOffer) -> Result<Box<dyn Registration>, StoreError> {
        self.stores[0].register(offer).await
    }

    async fn depose(&self, suspect: &Leader, candidate: &Candidate) -> Result<bool, StoreError> {
        self.stores[0].depose(suspect, candidate).await
    }

    fn session_timeout(&self) -> Duration {
        self.stores[0].session_timeout()
    }
}

/// Every case for every store, each with a name of its own.
macro_rules! over {
    ($store:ident, $bench:expr; $($file:ident::{$($case:ident),* $(,)?}),* $(,)?) => {
        mod $store {
            use super::{Bench, LIMIT, $($file),*};

            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let bench = $bench;
                    let case = $file::$case(bench.store.clone());
                    tokio::time::timeout(4 * LIMIT, case).await.expect("the case ends");
                }
            )*)*
        }
    };
}

macro_rules! over_every_store {
    ($($cases:tt)*) => {
        over!(embedded, Bench::embedded(); $($cases)*);
        over!(in_memory, Bench::in_memory(); $($cases)*);
        over!(zookeeper, Bench::zookeeper(false).await; $($cases)*);
        over!(zookeeper_packed, Bench::zookeeper(true).await; $($cases)*);
        over!(zookeeper_by_turns, Bench::zookeeper_by_turns().await; $($cases)*);
    };
}

over_every_store! {
    leading::{
        a_higher_term_follows_each_campaign,
        a_second_candidate_waits_and_wins_when_the_first_resigns,
        a_second_candidate_wins_when_the_first_is_dropped,
        a_candidate_that_goes_away_leaves_the_line,
        a_deposed_leader_commits_nothing_more,
        only_exactly_this_leader_is_deposed_and_only_by_the_next_in_line,
        everybody_can_follow_who_leads,
        workers_come_and_go,
        a_new_incarnation_replaces_the_old,
    },
    facts::{
        a_new_store_is_empty,
        every_field_comes_back,
        pipelined_commits_happen_in_order,
        a_commit_whose_answer_nobody_awaits_happens,
        an_empty_commit_waits_for_those_before,
        a_whole_life_leaves_nothing_behind,
        given_back_twice_then_finished,
        an_assignment_without_a_live_task_is_swept,
        a_worker_is_remembered_until_it_is_forgotten,
        a_worker_without_assignments_is_forgotten_too,
        what_holds_for_a_queue_comes_back_until_it_is_the_default,
        a_drained_worker_stays_so_until_it_is_put_back,
        a_commit_that_does_not_fit_changes_nothing_and_ends_the_leadership,
        the_commit_with_the_most_changes_passes,
        the_largest_commit_passes,
    },
    model::{any_life_of_many_tasks_is_loaded_as_it_was},
}

fn candidate(address: &str) -> Candidate {
    Candidate { id: Uuid::new_v4(), address: address.into() }
}

/// Wins an election that nobody else stands for, or waits until the others are gone.
async fn lead(store: &Arc<dyn Store>) -> (Box<dyn Leadership>, Loaded) {
    lead_as(store, &candidate("127.0.0.1:7071")).await
}

async fn lead_as(store: &Arc<dyn Store>, candidate: &Candidate) -> (Box<dyn Leadership>, Loaded) {
    let campaign = tokio::time::timeout(LIMIT, store.campaign(candidate)).await;
    let mut leadership = campaign.expect("the line moves").expect("the campaign is won");
    let loaded = leadership.load().await.expect("a new leader reads everything");
    (leadership, in_order(loaded))
}

/// What the next leader finds.
async fn next_term(store: &Arc<dyn Store>, leadership: Box<dyn Leadership>) -> (Box<dyn Leadership>, Loaded) {
    leadership.resign().await;
    lead(store).await
}

/// What is loaded has no order; comparing needs one.
fn in_order(mut loaded: Loaded) -> Loaded {
    loaded.tasks.sort_by(|a, b| a.submission.task_id.cmp(&b.submission.task_id));
    loaded.assignments.sort_by(|a, b| (&a.task_id, &a.worker).cmp(&(&b.task_id, &b.worker)));
    loaded.workers.sort();
    loaded.corrupt.sort();
    loaded.queues.sort_by(|a, b| a.0.cmp(&b.0));
    loaded.drained.sort();
    loaded
}

fn assert_same(found: &Loaded, expected: &Loaded, when: &str) {
    let lone = |task: &LoadedTask| task.submission.task_id.clone();
    let ids = |loaded: &Loaded| loaded.tasks.iter().map(lone).collect::<Vec<_>>();
    assert_eq!(ids(found), ids(expected), "ids of the tasks, {when}");
    assert_eq!(found.tasks, expected.tasks, "tasks, {when}");
    assert_eq!(found.assignments, expected.assignments, "assignments, {when}");
    assert_eq!(found.workers, expected.workers, "workers, {when}");
    assert_eq!(found.queues, expected.queues, "queues, {when}");
    assert_eq!(found.drained, expected.drained, "drained workers, {when}");
    assert_eq!(found.corrupt, expected.corrupt, "what was set aside, {when}");
}
