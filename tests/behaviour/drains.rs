//! Workers out of service and back.

use herdsman::wire::proto::v1::{
    CancelTaskRequest, DrainWorkerRequest, ListWorkersRequest, TaskState, UndrainWorkerRequest, WatchDrainRequest,
    WatchDrainResponse, Worker, WorkerState, cluster_service_client::ClusterServiceClient,
};
use tonic::{Code, Status, Streaming, transport::Channel};
use tonic_types::StatusExt;

use super::{Herdsman, cases};
use crate::support::cluster::{ended, get, reaches, request, submit};

cases![
    a_drained_worker_gets_nothing_new_and_says_when_it_is_empty,
    whoever_waits_for_a_drain_is_told_that_it_was_taken_back,
    a_worker_that_nobody_knows_cannot_be_drained,
];

type Cluster = ClusterServiceClient<Channel>;

async fn the_worker(cluster: &mut Cluster) -> Worker {
    let listed = cluster.list_workers(ListWorkersRequest::default()).await.unwrap().into_inner().workers;
    listed.into_iter().next().expect("there is one")
}

async fn drain(cluster: &mut Cluster, id: &str) -> Worker {
    let request = DrainWorkerRequest { worker_id: id.into() };
    cluster.drain_worker(request).await.unwrap().into_inner().worker.unwrap()
}

async fn undrain(cluster: &mut Cluster, id: &str) -> Worker {
    let request = UndrainWorkerRequest { worker_id: id.into() };
    cluster.undrain_worker(request).await.unwrap().into_inner().worker.unwrap()
}

async fn watch(cluster: &mut Cluster, id: &str) -> Streaming<WatchDrainResponse> {
    cluster.watch_drain(WatchDrainRequest { worker_id: id.into() }).await.unwrap().into_inner()
}

/// How many attempts it holds, and whether that is all there is to tell.
fn told(response: &WatchDrainResponse) -> (i32, bool) {
    (response.worker.as_ref().unwrap().busy_slot_count, response.empty)
}

async fn a_drained_worker_gets_nothing_new_and_says_when_it_is_empty(mut herdsman: Herdsman) {
    let mut cluster = herdsman.cluster_service().await;
    let tasks = &mut herdsman.tasks;
    for id in ["first", "second"] {
        submit(tasks, request(id, "sleep", "1h")).await;
        reaches(tasks, id, TaskState::Running).await;
    }
    let id = the_worker(&mut cluster).await.worker_id;
    for _ in 0..2 {
        let worker = drain(&mut cluster, &id).await;
        assert_eq!((worker.state(), worker.drained, worker.busy_slot_count), (WorkerState::Draining, true, 2));
    }
    let mut drains = watch(&mut cluster, &id).await;
    assert_eq!(told(&drains.message().await.unwrap().unwrap()), (2, false));
    submit(tasks, request("waits", "noop", "")).await;
    for (id, left) in [("first", (1, false)), ("second", (0, true))] {
        assert_eq!(get(tasks, id).await.state(), TaskState::Running, "it goes on");
        tasks.cancel_task(CancelTaskRequest { task_id: id.into() }).await.unwrap();
        assert_eq!(told(&drains.message().await.unwrap().unwrap()), left);
    }
    assert_eq!(drains.message().await.unwrap(), None, "there is nothing more to come");
    let worker = the_worker(&mut cluster).await;
    assert_eq!((worker.state(), worker.drained), (WorkerState::Drained, true));
    assert_eq!(told(&watch(&mut cluster, &id).await.message().await.unwrap().unwrap()), (0, true), "at once");
    assert_eq!(get(tasks, "waits").await.state(), TaskState::Pending, "beside four free slots");
    let worker = undrain(&mut cluster, &id).await;
    assert_eq!((worker.state(), worker.drained), (WorkerState::Ready, false));
    assert_eq!(ended(tasks, "waits").await.state(), TaskState::Succeeded);
    assert!(!undrain(&mut cluster, &id).await.drained, "once more");
}

async fn whoever_waits_for_a_drain_is_told_that_it_was_taken_back(mut herdsman: Herdsman) {
    let mut cluster = herdsman.cluster_service().await;
    let tasks = &mut herdsman.tasks;
    submit(tasks, request("runs", "sleep", "1h")).await;
    reaches(tasks, "runs", TaskState::Running).await;
    let id = the_worker(&mut cluster).await.worker_id;
    drain(&mut cluster, &id).await;
    let mut drains = [watch(&mut cluster, &id).await, watch(&mut cluster, &id).await];
    for stream in &mut drains {
        assert_eq!(told(&stream.message().await.unwrap().unwrap()), (1, false));
    }
    undrain(&mut cluster, &id).await;
    for stream in &mut drains {
        let last = stream.message().await.unwrap().unwrap();
        assert_eq!((told(&last), last.worker.unwrap().drained), ((1, false), false));
        assert_eq!(stream.message().await.unwrap(), None);
    }
}

async fn a_worker_that_nobody_knows_cannot_be_drained(herdsman: Herdsman) {
    let mut cluster = herdsman.cluster_service().await;
    let not_found = |status: &Status| {
        assert_eq!(status.code(), Code::NotFound, "{status:?}");
        assert_eq!(status.get_details_error_info().unwrap().reason, "WORKER_NOT_FOUND");
    };
    let unknown = "no-such-worker";
    not_found(&cluster.drain_worker(DrainWorkerRequest { worker_id: unknown.into() }).await.unwrap_err());
    not_found(&cluster.watch_drain(WatchDrainRequest { worker_id: unknown.into() }).await.unwrap_err());
    assert_eq!(undrain(&mut cluster, unknown).await.state(), WorkerState::Disconnected, "it is not drained");
    let names = |status: &Status| {
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations.iter().map(|violation| violation.field.as_str()).collect::<Vec<_>>(), ["worker_id"]);
    };
    names(&cluster.drain_worker(DrainWorkerRequest::default()).await.unwrap_err());
    names(&cluster.undrain_worker(UndrainWorkerRequest { worker_id: "Upper".into() }).await.unwrap_err());
    names(&cluster.watch_drain(WatchDrainRequest { worker_id: "a/b".into() }).await.unwrap_err());
}
