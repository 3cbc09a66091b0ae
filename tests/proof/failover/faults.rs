//! What dies, how, and until when it matters to a user.

use std::time::{Duration, Instant};

use futures::{FutureExt, future::LocalBoxFuture};
use herdsman::wire::proto::v1::TaskState;
use tonic::Code;

use super::{Bench, WORKER_OPTIONS, next_task, rate::Load};
use crate::support::{
    cluster::{LIMIT, get, request, submit},
    eventually,
};

type Measure = for<'a> fn(&'a mut Bench) -> LocalBoxFuture<'a, Duration>;

/// Name, what is measured, how.
pub const ALL: [(&str, &str, Measure); 7] = [
    ("leader-killed", "leader kill -9 → next task of a waiting client completes", |bench| {
        leader_killed(bench).boxed_local()
    }),
    ("leader-stopped", "leader graceful stop → the same", |bench| leader_stopped(bench).boxed_local()),
    ("leader-paused", "leader paused (2 s session) → the same", |bench| leader_paused(bench).boxed_local()),
    ("worker-killed", "worker kill -9 → all its tasks running elsewhere", |bench| worker_killed(bench).boxed_local()),
    ("zookeeper-leader-killed", "ZooKeeper leader kill -9 → next OK submit", |bench| {
        zookeeper_leader_killed(bench).boxed_local()
    }),
    ("ensemble-down", "whole ensemble down 5 s → next OK submit after its return", |bench| {
        ensemble_down(bench).boxed_local()
    }),
    ("ensemble-rate", "whole ensemble down 5 s → submits at their rate from before", |bench| {
        ensemble_rate(bench).boxed_local()
    }),
];

async fn leader_killed(bench: &mut Bench) -> Duration {
    let leader = bench.cluster.leader().await;
    let start = Instant::now();
    bench.cluster.masters[leader].kill();
    let wait = next_task(bench, start).await;
    replace_master(bench, leader).await;
    // The successor came by suspicion and is immune to it for a while. One that is chosen in peace is not, so that every
    // run measures what a cluster sees that was well before.
    let immune = bench.cluster.leader().await;
    bench.is_whole().await;
    bench.cluster.masters[immune].terminate();
    bench.cluster.masters[immune].ended(LIMIT).await;
    replace_master(bench, immune).await;
    wait
}

async fn leader_stopped(bench: &mut Bench) -> Duration {
    let leader = bench.cluster.leader().await;
    let start = Instant::now();
    bench.cluster.masters[leader].terminate();
    let wait = next_task(bench, start).await;
    bench.cluster.masters[leader].ended(LIMIT).await;
    replace_master(bench, leader).await;
    wait
}

async fn leader_paused(bench: &mut Bench) -> Duration {
    let leader = bench.cluster.leader().await;
    let start = Instant::now();
    bench.cluster.masters[leader].pause();
    let wait = next_task(bench, start).await;
    bench.cluster.masters[leader].go_on();
    wait
}

async fn replace_master(bench: &mut Bench, gone: usize) {
    drop(bench.cluster.masters.swap_remove(gone));
    bench.cluster.add_master().await;
}

async fn worker_killed(bench: &mut Bench) -> Duration {
    // Four for each worker, and room for all of them on the other two.
    let ids: Vec<_> = (0..12).map(|_| bench.fresh_id()).collect();
    for id in &ids {
        submit(&mut bench.tasks, request(id, "sleep", "1h")).await;
    }
    let mut homes = Vec::new();
    for id in &ids {
        let task = eventually("it runs", LIMIT, async || {
            let task = get(&mut bench.tasks, id).await;
            (task.state() == TaskState::Running).then_some(task)
        })
        .await;
        homes.push((id.clone(), task.worker_id));
    }
    let victim = homes[0].1.clone();
    let index: usize = victim.trim_start_matches("worker-").parse().expect("workers are numbered");
    let start = Instant::now();
    bench.cluster.workers[index].kill();
    for (id, _) in homes.iter().filter(|(_, home)| *home == victim) {
        eventually("it runs elsewhere", LIMIT, async || {
            let task = get(&mut bench.tasks, id).await;
            (task.state() == TaskState::Running && task.worker_id != victim).then_some(())
        })
        .await;
    }
    let wait = start.elapsed();
    for id in &ids {
        bench.cancel(id).await;
    }
    bench.cluster.restart_worker(index, &victim, &WORKER_OPTIONS).await;
    wait
}

async fn zookeeper_leader_killed(bench: &mut Bench) -> Duration {
    let id = bench.fresh_id();
    let start = Instant::now();
    bench.ensemble.leader().kill();
    submit(&mut bench.tasks, request(&id, "noop", "")).await;
    let wait = start.elapsed();
    bench.ensemble.restart();
    wait
}

const OUTAGE: Duration = Duration::from_secs(5);

/// Counts from the moment that the ensemble serves again. While it is down every submit is refused as it should be.
async fn ensemble_down(bench: &mut Bench) -> Duration {
    for server in &bench.ensemble.servers {
        server.kill();
    }
    let down = Instant::now();
    while down.elapsed() < OUTAGE {
        let id = bench.fresh_id();
        let refused = bench.tasks.submit_task(request(&id, "noop", "")).await.expect_err("nothing can be durable");
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        let details = tonic_types::StatusExt::get_error_details(&refused);
        assert!(details.retry_info().is_some_and(|info| info.retry_delay.is_some()), "{refused:?}");
    }
    bench.ensemble.restart();
    let start = Instant::now();
    let id = bench.fresh_id();
    submit(&mut bench.tasks, request(&id, "noop", "")).await;
    start.elapsed()
}

/// Counts from the moment that the ensemble serves again to the end of the first window with the rate from before.
async fn ensemble_rate(bench: &mut Bench) -> Duration {
    let run = bench.fresh_id();
    let load = Load::start(&bench.tasks, &run);
    let before = load.rate_before().await;
    for server in &bench.ensemble.servers {
        server.kill();
    }
    tokio::time::sleep(OUTAGE).await;
    bench.ensemble.restart();
    let start = Instant::now();
    load.full_again(before).await;
    start.elapsed()
}
