//! What the store alone can do: the same tasks, by the same commits that a leader makes, with nobody else involved. No
//! cluster on this store can be faster with a node a task.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use futures::future::try_join_all;
use indicatif::ProgressBar;
use tokio::time::timeout;

use super::{
    options::Until,
    record::{histogram, micros, per_second},
    report::{Latency, OfStore},
};
use crate::{
    cli::exit::Failure,
    domain::{
        Assignment, Change, Fence, Incarnation, Outcome, Revision, Status, Submission, TaskId, TaskSpec, Wall, WorkerId,
    },
    store::{
        Candidate, Leadership, Store,
        zookeeper::{DEFAULT_CHROOT, ZooKeeperOptions, ZooKeeperStore},
    },
};

/// As a master has it by default.
const SESSION_TIMEOUT: Duration = Duration::from_secs(4);
/// Longest wait for the leadership of the bench's own tree: only another bench can hold it.
const CAMPAIGN_LIMIT: Duration = Duration::from_secs(10);
/// Changes of a commit that clears up.
const CLEARING: usize = 500;

/// Leads a tree of its own.
pub(super) struct Limit {
    // Both are needed for as long as it leads.
    _store: ZooKeeperStore,
    leadership: RefCell<Box<dyn Leadership>>,
    spec: Arc<TaskSpec>,
    worker: WorkerId,
    run: String,
    revision: Cell<Revision>,
    lives: Cell<u64>,
    now: Wall,
}

impl Limit {
    /// Becomes the leader of the tree beside the cluster's.
    pub(super) async fn open(zookeeper: &str, packing: bool, spec: TaskSpec, run: &str) -> Result<Self, Failure> {
        let servers_and_chroot = beside(zookeeper);
        let options =
            ZooKeeperOptions { servers_and_chroot: servers_and_chroot.clone(), session_timeout: SESSION_TIMEOUT };
        let store = ZooKeeperStore::connect(options).await.map_err(Failure::unable)?.packing(packing);
        // Nobody links to it; the address is there to be read by people.
        let candidate = Candidate { id: uuid::Uuid::new_v4(), address: "bench.invalid:1".to_owned() };
        let mut leadership = timeout(CAMPAIGN_LIMIT, store.campaign(&candidate))
            .await
            .map_err(|_| Failure::unable(format!("somebody else leads at {servers_and_chroot}: another bench?")))?
            .map_err(Failure::unable)?;
        let loaded = leadership.load().await.map_err(Failure::unable)?;
        let limit = Self {
            _store: store,
            revision: Cell::new(Revision::start_of(leadership.term())),
            leadership: RefCell::new(leadership),
            spec: Arc::new(spec),
            worker: "bench".parse().expect("an id"),
            run: run.to_owned(),
            lives: Cell::new(0),
            now: wall(),
        };
        // What an earlier bench left that did not get to its end.
        let swept = loaded.assignments.into_iter().map(|a| Change::Swept { task_id: a.task_id, worker: a.worker });
        let removed = loaded.tasks.into_iter().map(|task| Change::Removed { task_id: task.submission.task_id });
        limit.clear(swept.chain(removed).collect()).await?;
        Ok(limit)
    }

    /// Measures once: whole lives, `batch` a commit and so many commits at once, then the smallest commits, one by one.
    pub(super) async fn measure(
        &self,
        until: Until,
        batch: usize,
        outstanding: usize,
        latencies: u32,
        bar: &ProgressBar,
    ) -> Result<OfStore, Failure> {
        let (start, first) = (Instant::now(), self.lives.get());
        let lane = || async {
            loop {
                let done = self.lives.get() - first;
                bar.set_position(done);
                let size = match until {
                    Until::Tasks(tasks) => usize::try_from(tasks.saturating_sub(done)).unwrap_or(batch).min(batch),
                    Until::Time(time) if start.elapsed() < time => batch,
                    Until::Time(_) => 0,
                };
                if size == 0 {
                    return Ok::<_, Failure>(());
                }
                self.live(size).await?;
            }
        };
        try_join_all((0..outstanding).map(|_| lane())).await?;
        let limit_per_s = per_second(self.lives.get() - first, start.elapsed());
        Ok(OfStore { limit_per_s, create: self.smallest(latencies).await? })
    }

    /// Tasks are submitted and assigned, finish, and are removed; the commits of a leader under load.
    async fn live(&self, size: usize) -> Result<(), Failure> {
        let tasks: Vec<_> = (0..size).map(|_| self.submission()).collect();
        let assignments: Vec<_> = tasks.iter().map(|task| self.assignment(task)).collect();
        let finished: Vec<_> =
            tasks.iter().zip(&assignments).map(|(_, assignment)| self.finished(assignment)).collect();
        let removed = removed(&tasks);
        let begun = tasks.into_iter().zip(assignments);
        let begun =
            begun.flat_map(|(task, assignment)| [Change::Submitted(task), Change::Assigned(assignment)]).collect();
        for changes in [begun, finished, removed] {
            self.commit(changes).await?;
        }
        Ok(())
    }

    /// How long the smallest commit takes that makes a node, one at a time.
    async fn smallest(&self, latencies: u32) -> Result<Latency, Failure> {
        let mut times = histogram();
        let tasks: Vec<_> = (0..latencies).map(|_| self.submission()).collect();
        let to_remove = removed(&tasks);
        for task in tasks {
            let start = Instant::now();
            self.commit(vec![Change::Submitted(task)]).await?;
            times.saturating_record(micros(start.elapsed()));
        }
        self.clear(to_remove).await?;
        Ok(Latency::of(&times))
    }

    async fn clear(&self, changes: Vec<Change>) -> Result<(), Failure> {
        for some in changes.chunks(CLEARING) {
            self.commit(some.to_vec()).await?;
        }
        Ok(())
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<(), Failure> {
        let committing = self.leadership.borrow_mut().commit(changes);
        committing.await.map_err(|doubt| Failure::unable(format!("the store: {doubt}")))
    }

    /// Gives the leadership up, so that the next bench has it at once.
    pub(super) async fn close(self) {
        self.leadership.into_inner().resign().await;
    }

    fn next_revision(&self) -> Revision {
        self.revision.set(self.revision.get().next());
        self.revision.get()
    }

    fn submission(&self) -> Submission {
        self.lives.set(self.lives.get() + 1);
        let id = format!("{}-l-{}", self.run, self.lives.get());
        Submission {
            task_id: id.parse::<TaskId>().expect("letters and digits"),
            spec: self.spec.clone(),
            create_time: self.now,
            revision: self.next_revision(),
            traceparent: None,
            retry_of: None,
        }
    }

    fn assignment(&self, task: &Submission) -> Assignment {
        Assignment {
            task_id: task.task_id.clone(),
            worker: self.worker.clone(),
            attempt: 1,
            incarnation: Incarnation([1; 16]),
            fence: Fence::from(self.next_revision()),
        }
    }

    fn finished(&self, assignment: &Assignment) -> Change {
        let status = Status {
            attempt: 1,
            revision: self.next_revision(),
            worker_deaths: 0,
            worker: Some(self.worker.clone()),
            fence: assignment.fence,
            outcome: Some(Outcome::Succeeded(Arc::from([]))),
            trials: None,
            start_time: Some(self.now),
            end_time: Some(self.now),
        };
        Change::Finished { task_id: assignment.task_id.clone(), assigned_to: Some(self.worker.clone()), status }
    }
}

/// A tree of the bench's own, next to the cluster's.
fn beside(zookeeper: &str) -> String {
    let place = zookeeper.trim().trim_end_matches('/');
    let chroot = if place.contains('/') { "" } else { DEFAULT_CHROOT };
    format!("{place}{chroot}-bench")
}

fn removed(tasks: &[Submission]) -> Vec<Change> {
    tasks.iter().map(|task| Change::Removed { task_id: task.task_id.clone() }).collect()
}

/// As a leader has it, so that records are as large.
fn wall() -> Wall {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Wall(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bench_has_a_tree_of_its_own_beside_the_clusters() {
        for (place, expected) in [
            ("zk:2181", "zk:2181/herdsman-bench"),
            ("a:1,b:2/", "a:1,b:2/herdsman-bench"),
            ("zk:2181/some/where", "zk:2181/some/where-bench"),
        ] {
            assert_eq!(beside(place), expected);
        }
    }
}
