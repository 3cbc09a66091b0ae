//! What can be done to a cluster really happens, and is over when it is undone: a fault that does nothing would prove
//! nothing.

use std::{
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use tonic::transport::Channel;

use super::{
    Cluster, hosts,
    network::{Cut, Way},
    process::Process,
};
use crate::{
    proof::evidence::{self, ProcessEvent},
    support::{
        cluster::{LIMIT, ended, request, submit, tasks, workers_are_ready},
        eventually,
    },
};

type Tasks = herdsman::wire::proto::v1::task_service_client::TaskServiceClient<Channel>;

/// Longer than a sync takes by itself; short enough that sessions, whose making is synced too, can still be had.
const SYNC_DELAY: Duration = Duration::from_millis(300);
const AN_HOUR: i64 = 3_600;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "tests/faults runs it, in namespaces of its own"]
async fn what_is_done_to_a_cluster_happens_and_is_undone() {
    let directory = std::env::var("PROOF_DIRECTORY").expect("tests/faults says where");
    let cluster = Cluster::start(Path::new(&directory)).await;
    let mut tasks = tasks(&cluster.urls()[0]).await;
    the_ensemble_has_another_leader(&cluster).await;
    a_leader_without_an_ensemble_is_followed(&cluster).await;
    a_worker_comes_back_from_a_kill(&cluster).await;
    a_paused_worker_is_given_up(&cluster).await;
    everything_stops_and_starts(&cluster).await;
    for way in [Way::Both, Way::Forth, Way::Back, Way::HalfOpen] {
        workers_are_cut_off(&cluster, way).await;
    }
    sessions_expire(&cluster).await;
    connections_are_reset(&cluster).await;
    clocks_are_wrong(&cluster).await;
    syncs_are_slow(&cluster, &mut tasks).await;
    a_disk_is_full(&cluster, &mut tasks).await;
    what_happened_is_written_down(&cluster, &evidence::Directory::new(&directory));
    for process in cluster.roles() {
        assert!(process.resident_bytes().is_some_and(|bytes| bytes > 0), "{} is measured", process.name);
    }
}

async fn the_ensemble_has_another_leader(cluster: &Cluster) {
    let ensemble = &cluster.ensemble;
    let leader = ensemble.leader().expect("it serves");
    ensemble.servers[leader].kill();
    eventually("another leads", LIMIT, async || ensemble.leader().filter(|next| *next != leader)).await;
    ensemble.servers[leader].start();
    cluster.is_ready().await;
}

async fn a_leader_without_an_ensemble_is_followed(cluster: &Cluster) {
    let (leader, term) = (cluster.leader().await, cluster.term().await);
    let cut = Cut::between(&[&cluster.masters[leader].host], &cluster.ensemble_hosts(), Way::Both);
    eventually("another term", LIMIT, async || (cluster.term().await > term).then_some(())).await;
    assert_ne!(cluster.leader().await, leader);
    drop(cut);
    cluster.is_ready().await;
}

async fn a_worker_comes_back_from_a_kill(cluster: &Cluster) {
    let worker = &cluster.workers[0];
    worker.kill();
    workers_are_ready(&cluster.urls()[0], 2).await;
    assert!(!worker.revive(), "it was killed on purpose");
    worker.start();
    workers_are_ready(&cluster.urls()[0], 3).await;
}

async fn a_paused_worker_is_given_up(cluster: &Cluster) {
    let worker = &cluster.workers[1];
    worker.pause();
    workers_are_ready(&cluster.urls()[0], 2).await;
    worker.go_on();
    workers_are_ready(&cluster.urls()[0], 3).await;
}

async fn everything_stops_and_starts(cluster: &Cluster) {
    for process in cluster.all() {
        process.stop().await;
        process.start();
        cluster.is_ready().await;
    }
}

async fn workers_are_cut_off(cluster: &Cluster, way: Way) {
    let (masters, workers) = (hosts(&cluster.masters), hosts(&cluster.workers));
    let cut = Cut::between(&masters, &workers[..1], way);
    workers_are_ready(&cluster.urls()[0], 2).await;
    drop(cut);
    workers_are_ready(&cluster.urls()[0], 3).await;
}

async fn sessions_expire(cluster: &Cluster) {
    let (leader, term) = (cluster.leader().await, cluster.term().await);
    assert!(cluster.expire(&cluster.masters[leader]) > 0, "a leader has a session");
    eventually("another term", LIMIT, async || (cluster.term().await > term).then_some(())).await;
    cluster.is_ready().await;
}

async fn connections_are_reset(cluster: &Cluster) {
    let leader = cluster.leader().await;
    let reset = cluster.masters[leader].host.reset(&cluster.workers[0].host);
    assert!(reset > 0, "a worker has a link to its leader");
    cluster.is_ready().await;
}

async fn clocks_are_wrong(cluster: &Cluster) {
    let master = &cluster.masters[cluster.leader().await];
    for jump in [AN_HOUR, -AN_HOUR] {
        master.set_clock_ahead(jump);
        // What makes it log.
        cluster.workers[0].kill();
        cluster.workers[0].start();
        eventually("its log has the wrong time", LIMIT, async || {
            let off = logged_last(master)? - now_seconds();
            ((off - jump).abs() < AN_HOUR / 2).then_some(())
        })
        .await;
    }
    master.set_clock_ahead(0);
    cluster.is_ready().await;
}

fn now_seconds() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
    i64::try_from(now.as_secs()).expect("it is before the end of time")
}

/// The moment of the last line of a log.
fn logged_last(process: &Process) -> Option<i64> {
    let log = process.log();
    let line = log.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty())?;
    let event: serde_json::Value = serde_json::from_slice(line).ok()?;
    let time = humantime::parse_rfc3339(event["timestamp"].as_str()?).ok()?;
    i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs()).ok()
}

async fn syncs_are_slow(cluster: &Cluster, tasks: &mut Tasks) {
    cluster.ensemble.servers.iter().for_each(|server| server.delay_syncs(SYNC_DELAY));
    let start = Instant::now();
    submit(tasks, request("slow", "work", "1")).await;
    assert!(start.elapsed() >= SYNC_DELAY, "no submit is faster than the disks");
    cluster.ensemble.servers.iter().for_each(|server| server.delay_syncs(Duration::ZERO));
    cluster.is_ready().await;
}

async fn a_disk_is_full(cluster: &Cluster, tasks: &mut Tasks) {
    let filling = async {
        for at in 0.. {
            let id = format!("filling-{at}");
            submit(tasks, request(&id, "work", &format!("1{}", " ".repeat(4_096)))).await;
            ended(tasks, &id).await;
        }
    };
    tokio::select! {
        _ = cluster.ensemble.fill_disk() => {}
        () = filling => {}
    }
    cluster.ensemble.empty_disk();
    cluster.is_ready().await;
}

fn what_happened_is_written_down(cluster: &Cluster, directory: &evidence::Directory) {
    let lives = std::fs::read_to_string(directory.processes()).expect("a file of ours");
    let lives: Vec<evidence::Process> = lives.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lives.is_sorted_by_key(|life| life.at) && lives.iter().all(|life| life.at <= cluster.clock.now()));
    for event in [ProcessEvent::Started, ProcessEvent::Paused, ProcessEvent::Resumed, ProcessEvent::Ended] {
        assert!(lives.iter().any(|life| life.event == event), "{event:?}");
    }
    cluster.ensemble.keep_transaction_logs(directory);
    for server in &cluster.ensemble.servers {
        let kept = directory.zookeeper().join(&server.name).join("version-2");
        assert!(std::fs::read_dir(kept).expect("it was made").count() > 0, "{} has transaction logs", server.name);
    }
}
