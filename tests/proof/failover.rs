//! How long a user waits when something dies: the distribution over many runs, on real processes and an ensemble of three.
//! No test asserts a time; `tests/failover` runs this and prints what was measured.

mod faults;
mod figures;
mod rate;

use std::time::{Duration, Instant};

use figures::Figures;
use herdsman::wire::proto::v1::{CancelTaskRequest, Task, TaskState, task_service_client::TaskServiceClient};
use tonic::transport::Channel;

use crate::support::{
    cluster::{Cluster, LIMIT, ended, request, submit, tasks},
    eventually,
    zookeeper::{Ensemble, fresh_chroot},
};

/// Of one measure; `HERDSMAN_FAILOVER_RUNS` sets another.
const RUNS: usize = 50;

const WORKER_OPTIONS: [&str; 2] = ["--slots", "8"];

/// What is measured again and again: a cluster that is whole before each run.
struct Bench {
    ensemble: Ensemble,
    cluster: Cluster,
    tasks: TaskServiceClient<Channel>,
    /// Numbers the tasks.
    next: u64,
}

impl Bench {
    async fn start() -> Self {
        let ensemble = Ensemble::start();
        let tree = format!("{}{}", ensemble.addresses(), fresh_chroot());
        let cluster = Cluster::start(tree, 3, 3, &WORKER_OPTIONS).await;
        let tasks = tasks(&cluster.clients[0].url()).await;
        let mut bench = Self { ensemble, cluster, tasks, next: 0 };
        bench.is_whole().await;
        bench
    }

    /// Submits a task and waits for its end.
    async fn one_task(&mut self) -> Task {
        let id = self.fresh_id();
        submit(&mut self.tasks, request(&id, "noop", "")).await;
        let task = ended(&mut self.tasks, &id).await;
        assert_eq!(task.state(), TaskState::Succeeded, "{task:?}");
        task
    }

    async fn cancel(&mut self, id: &str) {
        let request = CancelTaskRequest { task_id: id.into() };
        eventually("the cancel is accepted", LIMIT, async || self.tasks.cancel_task(request.clone()).await.ok()).await;
    }

    fn fresh_id(&mut self) -> String {
        self.next += 1;
        format!("task-{}", self.next)
    }

    /// Waits until everybody who was started takes part: a standby that watches nobody could not notice a death.
    async fn is_whole(&mut self) {
        let (masters, workers) = (self.cluster.masters.len(), self.cluster.workers.len());
        eventually("all masters and workers take part", LIMIT, async || {
            let told = self.cluster.told().await;
            (usize::try_from(told.standby_count) == Ok(masters - 1)).then_some(())
        })
        .await;
        self.cluster.workers_are_ready(workers).await;
        self.one_task().await;
    }
}

/// From `start` until the next task of a client has ended.
async fn next_task(bench: &mut Bench, start: Instant) -> Duration {
    bench.one_task().await;
    start.elapsed()
}

fn runs() -> usize {
    std::env::var("HERDSMAN_FAILOVER_RUNS").ok().map_or(RUNS, |runs| runs.parse().expect("a number of runs"))
}

/// Which measures, by the beginning of their names; all if it is not said.
fn wanted(name: &str) -> bool {
    std::env::var("HERDSMAN_FAILOVER_ONLY").map_or(true, |only| only.is_empty() || name.starts_with(&only))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes of measuring: run by tests/failover"]
async fn measure() {
    let mut figures = Figures::new(runs());
    for (name, what, measure) in faults::ALL {
        if wanted(name) {
            let mut bench = Bench::start().await;
            let mut waits = Vec::new();
            for _ in 0..runs() {
                let wait = measure(&mut bench).await;
                println!("{name}: {:.3} s", wait.as_secs_f64());
                waits.push(wait);
                bench.is_whole().await;
            }
            figures.add(name, what, waits);
        }
    }
    figures.publish();
}
