//! Why a task waits, and what became of it.

use herdsman::wire::proto::v1::{
    CancelTaskRequest, DrainWorkerRequest, ExplainTaskRequest, ExplainTaskResponse, ListWorkersRequest,
    PauseQueueRequest, RetryPolicy, SubmitTaskRequest, TaskSpec, TaskState, pending_reason::Reason,
    task_service_client::TaskServiceClient,
};
use tonic::{Code, transport::Channel};
use tonic_types::StatusExt;

use super::{Herdsman, cases};
use crate::support::cluster::{ended, reaches, request, spec, submit};

cases![
    everything_that_keeps_a_task_is_told,
    a_task_that_waits_for_its_time_says_when,
    a_task_that_does_not_wait_says_where_it_is,
];

type Tasks = TaskServiceClient<Channel>;

async fn explain(tasks: &mut Tasks, id: &str) -> ExplainTaskResponse {
    tasks.explain_task(ExplainTaskRequest { task_id: id.into() }).await.unwrap().into_inner()
}

async fn reasons(tasks: &mut Tasks, id: &str) -> Vec<Reason> {
    let explained = explain(tasks, id).await;
    assert_eq!(explained.task.unwrap().state(), TaskState::Pending);
    explained.reasons.into_iter().map(|reason| reason.reason.expect("a reason of this version")).collect()
}

async fn everything_that_keeps_a_task_is_told(mut herdsman: Herdsman) {
    let mut cluster = herdsman.cluster_service().await;
    let tasks = &mut herdsman.tasks;
    submit(tasks, request("strange", "unheard-of", "")).await;
    let told = reasons(tasks, "strange").await;
    assert!(
        matches!(&told[..], [Reason::KindNotServed(it)] if it.kind == "unheard-of" && it.worker_count == 1),
        "{told:?}"
    );
    let elsewhere = TaskSpec { queue: "elsewhere".into(), ..spec("noop", "") };
    submit(tasks, SubmitTaskRequest { task_id: "elsewhere".into(), spec: Some(elsewhere) }).await;
    let told = reasons(tasks, "elsewhere").await;
    assert!(matches!(&told[..], [Reason::QueueNotServed(it)] if it.queue == "elsewhere"), "{told:?}");

    for at in 0..4 {
        submit(tasks, request(&format!("busy-{at}"), "sleep", "1h")).await;
        reaches(tasks, &format!("busy-{at}"), TaskState::Running).await;
    }
    submit(tasks, request("waits", "noop", "")).await;
    let told = reasons(tasks, "waits").await;
    let busy = |reason: &Reason| matches!(reason, Reason::SlotsBusy(it) if (it.worker_count, it.slot_count) == (1, 4));
    assert!(told.len() == 1 && busy(&told[0]), "{told:?}");
    cluster.pause_queue(PauseQueueRequest { name: "default".into() }).await.unwrap();
    let told = reasons(tasks, "waits").await;
    assert!(matches!(&told[0], Reason::QueuePaused(it) if it.queue == "default") && busy(&told[1]), "{told:?}");
    let listed = cluster.list_workers(ListWorkersRequest::default()).await.unwrap().into_inner().workers;
    let worker_id = listed[0].worker_id.clone();
    cluster.drain_worker(DrainWorkerRequest { worker_id }).await.unwrap();
    let told = reasons(tasks, "waits").await;
    assert!(matches!(&told[1], Reason::WorkersUnavailable(it) if it.drained_count == 1), "{told:?}");
}

async fn a_task_that_waits_for_its_time_says_when(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    let hour = prost_types::Duration { seconds: 3_600, nanos: 0 };
    let later = TaskSpec { delay: Some(hour), ..spec("noop", "") };
    let accepted = submit(tasks, SubmitTaskRequest { task_id: "later".into(), spec: Some(later) }).await;
    let told = reasons(tasks, "later").await;
    let [Reason::NotBefore(it)] = &told[..] else { panic!("{told:?}") };
    let apart = it.start_time.unwrap().seconds - accepted.create_time.unwrap().seconds;
    assert!((3_598..=3_602).contains(&apart), "{told:?}");
    let retry = RetryPolicy { max_attempts: 2, initial_backoff: Some(hour), ..RetryPolicy::default() };
    let again = TaskSpec { retry: Some(retry), ..spec("sleep", "not a time") };
    submit(tasks, SubmitTaskRequest { task_id: "again".into(), spec: Some(again) }).await;
    let waits = reaches_retry(tasks, "again").await;
    let Reason::BackingOff(it) = &waits[0] else { panic!("{waits:?}") };
    assert!(it.failed_attempt_count == 1 && it.retry_time.is_some(), "{waits:?}");
}

/// Waits until the task's first attempt has failed.
async fn reaches_retry(tasks: &mut Tasks, id: &str) -> Vec<Reason> {
    let failed = async || {
        let explained = tasks.clone().explain_task(ExplainTaskRequest { task_id: id.into() }).await.ok()?.into_inner();
        let first = explained.reasons.first()?.reason.clone();
        matches!(first, Some(Reason::BackingOff(_))).then_some(())
    };
    crate::support::eventually("its first attempt has failed", crate::support::cluster::LIMIT, failed).await;
    reasons(tasks, id).await
}

async fn a_task_that_does_not_wait_says_where_it_is(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    submit(tasks, request("runs", "sleep", "1h")).await;
    reaches(tasks, "runs", TaskState::Running).await;
    let told = explain(tasks, "runs").await;
    let task = told.task.unwrap();
    assert!(told.reasons.is_empty() && told.worker.unwrap().worker_id == task.worker_id, "{task:?}");
    assert!(task.start_time.is_some() && task.attempt == 1, "{task:?}");
    tasks.cancel_task(CancelTaskRequest { task_id: "runs".into() }).await.unwrap();
    ended(tasks, "runs").await;
    let told = explain(tasks, "runs").await;
    assert_eq!((told.task.unwrap().state(), told.reasons, told.worker), (TaskState::Cancelled, vec![], None));
    let status = tasks.explain_task(ExplainTaskRequest { task_id: "unknown".into() }).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.get_details_error_info().unwrap().metadata["task_id"], "unknown");
    let status = tasks.explain_task(ExplainTaskRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}
