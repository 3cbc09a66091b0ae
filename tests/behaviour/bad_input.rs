//! Bad input gets a clear error that names the field, and changes nothing.

use herdsman::wire::proto::v1::{
    CancelTaskRequest, ExitStatuses, GetTaskRequest, ListTasksRequest, RetryPolicy, SubmitTaskRequest,
    SubmitTasksRequest, TaskFilter, TaskIds, TaskSpec, TaskState, Timeouts, WatchTaskRequest, WatchTasksRequest,
    submit_task_outcome::Outcome, watch_tasks_request::Target,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{Herdsman, cases};
use crate::support::cluster::{ended, request, spec, submit};

cases![
    ids_that_are_none_are_refused_by_name,
    specs_that_are_none_are_refused_by_name,
    listings_that_are_none_are_refused_by_name,
    what_does_not_exist_is_not_found,
    one_id_with_two_specs_is_refused,
    batches_tell_each_item_its_own_fate,
];

const NO_IDS: [&str; 7] =
    ["../x", "Upper", "a/b", "a\0b", ".a", "ä", "x123456789x123456789x123456789x123456789x123456789x123456789x123"];

#[track_caller]
pub(super) fn names(status: &Status, field: &str) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let violations = status.get_details_bad_request().expect("a BadRequest").field_violations;
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert_eq!(violations[0].field, field, "{violations:?}");
    assert!(!violations[0].description.is_empty());
}

#[track_caller]
pub(super) fn reason(status: &Status, code: Code, reason: &str) {
    assert_eq!(status.code(), code, "{status:?}");
    let info = status.get_details_error_info().expect("an ErrorInfo");
    assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "herdsman"));
}

async fn ids_that_are_none_are_refused_by_name(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    for id in NO_IDS {
        names(&tasks.submit_task(request(id, "echo", "")).await.unwrap_err(), "task_id");
    }
    for id in NO_IDS.into_iter().chain([""]) {
        let task_id = id.to_owned();
        names(&tasks.get_task(GetTaskRequest { task_id: task_id.clone() }).await.unwrap_err(), "task_id");
        names(&tasks.cancel_task(CancelTaskRequest { task_id: task_id.clone() }).await.unwrap_err(), "task_id");
        let watch = WatchTaskRequest { task_id: task_id.clone(), after_revision: 0 };
        names(&tasks.watch_task(watch).await.unwrap_err(), "task_id");
        let target = Some(Target::Ids(TaskIds { task_ids: vec!["good".into(), task_id] }));
        let status = tasks.watch_tasks(WatchTasksRequest { target, after_revision: 0 }).await.unwrap_err();
        names(&status, "ids.task_ids[1]");
    }
}

async fn specs_that_are_none_are_refused_by_name(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    let good = || spec("echo", "");
    let label = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();
    let bad = [
        (TaskSpec { kind: String::new(), ..good() }, "spec.kind"),
        (TaskSpec { kind: "No Kind".into(), ..good() }, "spec.kind"),
        (TaskSpec { queue: "No Queue".into(), ..good() }, "spec.queue"),
        (TaskSpec { payload: vec![0; 64 * 1024 + 1].into(), ..good() }, "spec.payload"),
        (TaskSpec { priority: Some(10), ..good() }, "spec.priority"),
        (TaskSpec { priority: Some(-1), ..good() }, "spec.priority"),
        (TaskSpec { labels: label("", "x"), ..good() }, "spec.labels"),
        (TaskSpec { labels: label("k", &"x".repeat(256)), ..good() }, "spec.labels"),
    ];
    for (spec, field) in bad {
        let request = SubmitTaskRequest { task_id: String::new(), spec: Some(spec) };
        names(&tasks.submit_task(request).await.unwrap_err(), field);
    }
    names(&tasks.submit_task(SubmitTaskRequest::default()).await.unwrap_err(), "spec");
    for (spec, field) in bad_policies() {
        let request = SubmitTaskRequest { task_id: String::new(), spec: Some(spec) };
        names(&tasks.submit_task(request).await.unwrap_err(), field);
    }
    let largest = TaskSpec { payload: vec![7; 64 * 1024].into(), ..good() };
    let request = SubmitTaskRequest { task_id: "largest".into(), spec: Some(largest) };
    submit(tasks, request).await;
    assert_eq!(ended(tasks, "largest").await.result.len(), 64 * 1024);
}

/// Times that are none, or that contradict each other.
fn bad_policies() -> Vec<(TaskSpec, &'static str)> {
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let retry = || RetryPolicy { max_attempts: 3, ..RetryPolicy::default() };
    let retried = |retry| TaskSpec { retry: Some(retry), ..spec("echo", "") };
    let timed = |timeouts| TaskSpec { timeouts: Some(timeouts), ..spec("echo", "") };
    let year = 365 * 24 * 60 * 60;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let now = i64::try_from(now).unwrap();
    let whole = |seconds_| Timeouts { schedule_to_close: seconds(seconds_), ..Timeouts::default() };
    let statuses = |statuses| Some(ExitStatuses { statuses });
    let mut bad = vec![
        (retried(RetryPolicy::default()), "spec.retry.max_attempts"),
        (retried(RetryPolicy { max_attempts: -1, ..retry() }), "spec.retry.max_attempts"),
        (retried(RetryPolicy { max_attempts: 10_001, ..retry() }), "spec.retry.max_attempts"),
        (TaskSpec { at_most_once: true, ..retried(retry()) }, "spec.retry.max_attempts"),
        (retried(RetryPolicy { initial_backoff: seconds(0), ..retry() }), "spec.retry.initial_backoff"),
        (retried(RetryPolicy { max_backoff: seconds(-1), ..retry() }), "spec.retry.max_backoff"),
        (
            retried(RetryPolicy { initial_backoff: seconds(2), max_backoff: seconds(1), ..retry() }),
            "spec.retry.max_backoff",
        ),
        (
            retried(RetryPolicy { final_exit_statuses: statuses(vec![1, 0]), ..retry() }),
            "spec.retry.final_exit_statuses.statuses[1]",
        ),
        (TaskSpec { delay: seconds(0), ..spec("echo", "") }, "spec.delay"),
        (TaskSpec { delay: seconds(year + 1), ..spec("echo", "") }, "spec.delay"),
        (TaskSpec { delay: seconds(1), not_before: at(now), ..spec("echo", "") }, "spec.delay"),
        (TaskSpec { delay: seconds(9), ..timed(whole(9)) }, "spec.delay"),
        (TaskSpec { not_before: at(now + year + 60), ..spec("echo", "") }, "spec.not_before"),
        (TaskSpec { not_before: at(now + 60), ..timed(whole(9)) }, "spec.not_before"),
        (TaskSpec { not_before: at(-1), ..spec("echo", "") }, "spec.not_before"),
        (timed(whole(-1)), "spec.timeouts.schedule_to_close"),
        (timed(Timeouts { start_to_close: seconds(10), ..whole(9) }), "spec.timeouts.start_to_close"),
        (timed(Timeouts { schedule_to_start: seconds(10), ..whole(9) }), "spec.timeouts.schedule_to_start"),
        (timed(Timeouts { heartbeat: seconds(10), ..whole(9) }), "spec.timeouts.heartbeat"),
        (
            timed(Timeouts { heartbeat: seconds(2), start_to_close: seconds(1), ..Timeouts::default() }),
            "spec.timeouts.heartbeat",
        ),
    ];
    for factor in [0.5, 100.5, f64::NAN, f64::INFINITY] {
        let retry = RetryPolicy { backoff_multiplier: Some(factor), ..retry() };
        bad.push((retried(retry), "spec.retry.backoff_multiplier"));
    }
    bad
}

async fn listings_that_are_none_are_refused_by_name(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    let list = |page_size, states: Vec<i32>, page_token: &str| ListTasksRequest {
        filter: Some(TaskFilter { states, ..TaskFilter::default() }),
        page_size,
        page_token: page_token.to_owned(),
    };
    names(&tasks.list_tasks(list(-1, vec![], "")).await.unwrap_err(), "page_size");
    names(&tasks.list_tasks(list(0, vec![1, 99], "")).await.unwrap_err(), "filter.states[1]");
    names(&tasks.list_tasks(list(0, vec![0], "")).await.unwrap_err(), "filter.states[0]");
    names(&tasks.list_tasks(list(0, vec![], "no token")).await.unwrap_err(), "page_token");
    for id in ["a", "b"] {
        submit(tasks, request(id, "echo", "")).await;
    }
    let token = tasks.list_tasks(list(1, vec![], "")).await.unwrap().into_inner().next_page_token;
    let other_filter = list(1, vec![TaskState::Failed.into()], &token);
    names(&tasks.list_tasks(other_filter).await.unwrap_err(), "page_token");
    let many = TaskIds { task_ids: (0..1_001).map(|at| format!("t{at}")).collect() };
    let watch = |target| WatchTasksRequest { target, after_revision: 0 };
    names(&tasks.watch_tasks(watch(Some(Target::Ids(many)))).await.unwrap_err(), "ids.task_ids");
    names(&tasks.watch_tasks(watch(Some(Target::Ids(TaskIds::default())))).await.unwrap_err(), "ids.task_ids");
    names(&tasks.watch_tasks(watch(None)).await.unwrap_err(), "target");
}

async fn what_does_not_exist_is_not_found(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    let task_id = || "nobody".to_owned();
    let not_found = |status: Status| reason(&status, Code::NotFound, "TASK_NOT_FOUND");
    not_found(tasks.get_task(GetTaskRequest { task_id: task_id() }).await.unwrap_err());
    not_found(tasks.cancel_task(CancelTaskRequest { task_id: task_id() }).await.unwrap_err());
    let watch = WatchTaskRequest { task_id: task_id(), after_revision: 0 };
    not_found(match tasks.watch_task(watch).await {
        Ok(events) => events.into_inner().message().await.unwrap_err(),
        Err(status) => status,
    });
}

async fn one_id_with_two_specs_is_refused(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    submit(tasks, request("one", "echo", "first")).await;
    let status = tasks.submit_task(request("one", "echo", "second")).await.unwrap_err();
    reason(&status, Code::AlreadyExists, "TASK_EXISTS");
    let again = submit(tasks, request("one", "echo", "first")).await;
    assert_eq!(again.task_id, "one");
    assert_eq!(&ended(tasks, "one").await.result[..], b"first");
}

async fn batches_tell_each_item_its_own_fate(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    let requests = vec![
        request("good", "echo", ""),
        request("No Id", "echo", ""),
        request("good", "echo", "other"),
        request("also-good", "", ""),
        request("", "echo", "minted"),
    ];
    let outcomes = tasks.submit_tasks(SubmitTasksRequest { requests }).await.unwrap().into_inner().outcomes;
    let told: Vec<_> = outcomes
        .into_iter()
        .map(|outcome| match outcome.outcome.unwrap() {
            Outcome::Task(task) => (Code::Ok, String::new(), task.task_id.is_empty()),
            Outcome::Error(error) => (Code::from(error.code), error.field, error.task_id.is_empty()),
        })
        .collect();
    let codes: Vec<_> = told.iter().map(|(code, ..)| *code).collect();
    assert_eq!(codes, [Code::Ok, Code::InvalidArgument, Code::AlreadyExists, Code::InvalidArgument, Code::Ok]);
    assert!(told[1].1.ends_with("task_id") && told[3].1.ends_with("spec.kind"), "{told:?}");
    assert!(told.iter().all(|(.., without_id)| !without_id), "{told:?}");
    let requests = (0..1_001).map(|at| request(&format!("t{at}"), "echo", "")).collect();
    names(&tasks.submit_tasks(SubmitTasksRequest { requests }).await.unwrap_err(), "requests");
    names(&tasks.submit_tasks(SubmitTasksRequest::default()).await.unwrap_err(), "requests");
}
