//! Workers out of service, whatever becomes of the leader and of their processes.

use herdsman::wire::proto::v1::{
    CancelTaskRequest, DrainWorkerRequest, ExplainTaskRequest, ListWorkersRequest, PendingReason, TaskState,
    UndrainWorkerRequest, WatchDrainRequest, Worker, WorkerState, cluster_service_client::ClusterServiceClient,
    pending_reason::Reason,
};
use tonic::transport::Channel;

use crate::support::{
    cluster::{Cluster, LIMIT, ended, get, reaches, request, submit},
    eventually,
    zookeeper::{fresh_chroot, shared},
};

async fn start() -> (Cluster, ClusterServiceClient<Channel>) {
    let tree = format!("{}{}", shared().address(), fresh_chroot());
    let cluster = Cluster::start(tree, 2, 1, &["--slots", "4"]).await;
    let service = ClusterServiceClient::connect(cluster.clients[0].url()).await.unwrap();
    (cluster, service)
}

async fn drain(service: &mut ClusterServiceClient<Channel>) {
    service.drain_worker(DrainWorkerRequest { worker_id: "worker-0".into() }).await.unwrap();
}

/// Waits until the worker is so.
async fn worker_is(service: &mut ClusterServiceClient<Channel>, is: impl Fn(&Worker) -> bool) {
    eventually("the worker is so", LIMIT, async || {
        let workers = service.list_workers(ListWorkersRequest::default()).await.ok()?.into_inner().workers;
        workers.iter().find(|worker| worker.worker_id == "worker-0").filter(|worker| is(worker)).map(|_| ())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_drain_is_told_across_a_change_of_leader() {
    let (mut cluster, mut service) = start().await;
    let mut tasks = cluster.tasks().await;
    submit(&mut tasks, request("runs", "sleep", "1h")).await;
    reaches(&mut tasks, "runs", TaskState::Running).await;
    drain(&mut service).await;
    let watch = WatchDrainRequest { worker_id: "worker-0".into() };
    let mut drains = service.watch_drain(watch).await.unwrap().into_inner();
    let first = drains.message().await.unwrap().unwrap();
    assert_eq!((first.worker.unwrap().busy_slot_count, first.empty), (1, false));
    let leader = cluster.leader().await;
    cluster.masters[leader].kill();
    reaches(&mut tasks, "runs", TaskState::Running).await;
    submit(&mut tasks, request("waits", "noop", "")).await;
    tasks.cancel_task(CancelTaskRequest { task_id: "runs".into() }).await.unwrap();
    let last = drains.message().await.unwrap().unwrap();
    assert_eq!((last.worker.unwrap().busy_slot_count, last.empty), (0, true));
    assert_eq!(drains.message().await.unwrap(), None);
    assert_eq!(get(&mut tasks, "waits").await.state(), TaskState::Pending);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_outlives_the_worker_s_process_and_every_leader() {
    let (mut cluster, mut service) = start().await;
    let mut tasks = cluster.tasks().await;
    drain(&mut service).await;
    cluster.workers[0].terminate();
    cluster.workers[0].ended(LIMIT).await;
    worker_is(&mut service, |worker| worker.drained && worker.state() == WorkerState::Disconnected).await;
    let leader = cluster.leader().await;
    cluster.masters[leader].kill();
    cluster.restart_worker(0, "worker-0", &["--slots", "4"]).await;
    worker_is(&mut service, |worker| worker.state() == WorkerState::Drained).await;
    submit(&mut tasks, request("waits", "noop", "")).await;
    let other = cluster.add_worker("worker-1", &["--slots", "1"]).await;
    assert_eq!(ended(&mut tasks, "waits").await.worker_id, "worker-1");
    cluster.workers[other].terminate();
    cluster.workers[other].ended(LIMIT).await;
    submit(&mut tasks, request("returns", "noop", "")).await;
    assert_eq!(get(&mut tasks, "returns").await.state(), TaskState::Pending);
    let explain = ExplainTaskRequest { task_id: "returns".into() };
    let explained = tasks.explain_task(explain).await.unwrap().into_inner();
    let drained = |reason: &PendingReason| matches!(&reason.reason, Some(Reason::WorkersUnavailable(it)) if it.drained_count == 1);
    assert!(explained.reasons.iter().any(drained), "{:?}", explained.reasons);
    service.undrain_worker(UndrainWorkerRequest { worker_id: "worker-0".into() }).await.unwrap();
    assert_eq!(ended(&mut tasks, "returns").await.worker_id, "worker-0");
}
