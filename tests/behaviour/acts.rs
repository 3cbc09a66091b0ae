//! What may be done with tasks later: one by one, and all that match.

use herdsman::wire::proto::v1::{
    CancelTasksRequest, DeleteTaskRequest, DeleteTasksRequest, FailureReason, GetTaskRequest, ListTasksRequest,
    RetryTaskRequest, RetryTasksRequest, SubmitTaskRequest, Task, TaskFilter, TaskOutcome, TaskSpec, TaskState,
    task_outcome::Outcome,
};
use tonic::Code;

use super::{
    Herdsman,
    bad_input::{names, reason},
    cases,
};
use crate::support::cluster::{ended, get, request, spec, submit};

cases![
    a_retry_is_a_new_task_with_the_old_spec,
    only_what_has_ended_is_retried_or_deleted,
    a_deleted_task_is_gone_and_its_id_is_free,
    a_filter_cancels_what_waits_and_leaves_what_has_ended,
    a_filter_retries_what_failed_and_each_once,
    a_filter_deletes_page_by_page,
    a_filter_that_would_do_too_much_is_refused,
    a_filter_selects_by_time_and_by_reason,
];

fn retry(task_id: &str, new_task_id: &str) -> RetryTaskRequest {
    RetryTaskRequest { task_id: task_id.into(), new_task_id: new_task_id.into() }
}

fn of_kind(kind: &str) -> TaskFilter {
    TaskFilter { kinds: vec![kind.into()], ..TaskFilter::default() }
}

fn of_states(states: &[TaskState]) -> TaskFilter {
    TaskFilter { states: states.iter().map(|&state| state.into()).collect(), ..TaskFilter::default() }
}

/// Which tasks were acted on, and what the second column says of each.
fn told(outcomes: &[TaskOutcome]) -> Vec<(&str, &str)> {
    let tell = |outcome: &'_ TaskOutcome| match outcome.outcome.as_ref().expect("each has an outcome") {
        Outcome::Task(task) => task.state().as_str_name(),
        Outcome::Error(error) => panic!("{error:?}"),
    };
    outcomes.iter().map(|outcome| (outcome.task_id.as_str(), tell(outcome))).collect()
}

async fn a_retry_is_a_new_task_with_the_old_spec(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    let spec = TaskSpec { labels: [("who".to_owned(), "ada".to_owned())].into(), ..spec("echo", "once more") };
    submit(tasks, SubmitTaskRequest { task_id: "one".into(), spec: Some(spec.clone()) }).await;
    let old = ended(tasks, "one").await;
    for (request, id, of) in [
        (retry("one", ""), "one.r1", "one"),
        (retry("one.r1", ""), "one.r2", "one.r1"),
        (retry("one", "x"), "x", "one"),
    ] {
        let accepted = tasks.retry_task(request.clone()).await.unwrap().into_inner().task.unwrap();
        assert_eq!((accepted.task_id.as_str(), accepted.retry_of.as_str()), (id, of));
        ended(tasks, id).await;
        let new = get(tasks, id).await;
        assert_eq!((new.spec.as_ref(), new.result.as_ref(), new.attempt), (Some(&spec), b"once more".as_ref(), 1));
        // Said twice, it is one retry.
        let again = tasks.retry_task(request).await.unwrap().into_inner().task.unwrap();
        assert_eq!((again.revision, again.task_id.as_str()), (new.revision, id));
    }
    assert_eq!(get(tasks, "one").await.revision, old.revision, "the old one stays as it is");
    let other = tasks.retry_task(retry("x", "one")).await.unwrap_err();
    reason(&other, Code::AlreadyExists, "TASK_EXISTS");
    let itself = tasks.retry_task(retry("x", "x")).await.unwrap_err();
    names(&itself, "new_task_id");
}

async fn only_what_has_ended_is_retried_or_deleted(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    submit(tasks, request("waits", "unheard-of", "")).await;
    submit(tasks, request("runs", "sleep", "1h")).await;
    for id in ["waits", "runs"] {
        reason(&tasks.retry_task(retry(id, "")).await.unwrap_err(), Code::FailedPrecondition, "TASK_NOT_ENDED");
        let delete = DeleteTaskRequest { task_id: id.into() };
        reason(&tasks.delete_task(delete).await.unwrap_err(), Code::FailedPrecondition, "TASK_NOT_ENDED");
    }
    reason(&tasks.retry_task(retry("nobody", "")).await.unwrap_err(), Code::NotFound, "TASK_NOT_FOUND");
    let delete = DeleteTaskRequest { task_id: "nobody".into() };
    reason(&tasks.delete_task(delete).await.unwrap_err(), Code::NotFound, "TASK_NOT_FOUND");
    let long = "x".repeat(61);
    names(&tasks.retry_task(retry(&long, "")).await.unwrap_err(), "new_task_id");
    names(&tasks.retry_task(retry("", "")).await.unwrap_err(), "task_id");
}

async fn a_deleted_task_is_gone_and_its_id_is_free(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    for payload in ["first", "second"] {
        submit(tasks, request("one", "echo", payload)).await;
        assert_eq!(ended(tasks, "one").await.result, payload.as_bytes());
        let deleted = tasks.delete_task(DeleteTaskRequest { task_id: "one".into() }).await.unwrap().into_inner();
        assert_eq!(deleted.task.unwrap().state(), TaskState::Succeeded);
        let gone = tasks.get_task(GetTaskRequest { task_id: "one".into() }).await.unwrap_err();
        reason(&gone, Code::NotFound, "TASK_NOT_FOUND");
    }
}

async fn a_filter_cancels_what_waits_and_leaves_what_has_ended(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    submit(tasks, request("done", "noop", "")).await;
    ended(tasks, "done").await;
    for id in ["a", "b"] {
        submit(tasks, request(id, "unheard-of", "")).await;
    }
    submit(tasks, request("runs", "sleep", "1h")).await;
    let filter = Some(TaskFilter { queues: vec!["default".into()], ..TaskFilter::default() });
    let reply = tasks.cancel_tasks(CancelTasksRequest { filter, ..Default::default() }).await.unwrap().into_inner();
    let cancelled = "TASK_STATE_CANCELLED";
    assert_eq!(told(&reply.outcomes), [("a", cancelled), ("b", cancelled), ("runs", cancelled)]);
    assert_eq!(get(tasks, "done").await.state(), TaskState::Succeeded);
}

async fn a_filter_retries_what_failed_and_each_once(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    for (id, payload) in [("bad", "a while"), ("good", "1ms"), ("worse", "ever")] {
        submit(tasks, request(id, "sleep", payload)).await;
        ended(tasks, id).await;
    }
    let retries = RetryTasksRequest { filter: Some(of_kind("sleep")), page_size: 1, page_token: String::new() };
    let mut seen = Vec::new();
    let mut request = retries.clone();
    loop {
        let reply = tasks.retry_tasks(request.clone()).await.unwrap().into_inner();
        for outcome in reply.outcomes {
            let Some(Outcome::Task(task)) = outcome.outcome else { panic!("{outcome:?}") };
            assert_eq!(task.retry_of, outcome.task_id);
            // It fails at once, and is not retried by the pages that follow.
            ended(tasks, &task.task_id).await;
            seen.push(task.task_id);
        }
        request.page_token = reply.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ["bad.r1", "worse.r1"]);
    let again = tasks.retry_tasks(RetryTasksRequest { page_size: 0, ..retries }).await.unwrap().into_inner();
    let failed = "TASK_STATE_FAILED";
    // The first ones have their retry already; the retries are retried in their turn.
    assert_eq!(told(&again.outcomes)[0], ("bad", failed));
}

async fn a_filter_deletes_page_by_page(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    let ids: Vec<_> = (0..25).map(|at| format!("t{at:02}")).collect();
    for id in &ids {
        submit(tasks, request(id, "noop", "")).await;
    }
    for id in &ids {
        ended(tasks, id).await;
    }
    submit(tasks, request("waits", "unheard-of", "")).await;
    let filter = Some(TaskFilter { queues: vec!["default".into()], ..TaskFilter::default() });
    let mut request = DeleteTasksRequest { filter, page_size: 7, page_token: String::new() };
    let mut deleted = Vec::new();
    loop {
        let reply = tasks.delete_tasks(request.clone()).await.unwrap().into_inner();
        deleted.extend(reply.outcomes.into_iter().map(|outcome| outcome.task_id));
        request.page_token = reply.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(deleted, ids);
    let left = tasks.list_tasks(ListTasksRequest::default()).await.unwrap().into_inner().tasks;
    assert_eq!(left.iter().map(|task| task.task_id.as_str()).collect::<Vec<_>>(), ["waits"]);
}

async fn a_filter_that_would_do_too_much_is_refused(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    for filter in [None, Some(TaskFilter::default())] {
        let cancel = CancelTasksRequest { filter: filter.clone(), ..Default::default() };
        names(&tasks.cancel_tasks(cancel).await.unwrap_err(), "filter");
        let retry = RetryTasksRequest { filter: filter.clone(), ..Default::default() };
        names(&tasks.retry_tasks(retry).await.unwrap_err(), "filter");
        let delete = DeleteTasksRequest { filter, ..Default::default() };
        names(&tasks.delete_tasks(delete).await.unwrap_err(), "filter");
    }
    let cancel = CancelTasksRequest { filter: Some(of_states(&[TaskState::Succeeded])), ..Default::default() };
    names(&tasks.cancel_tasks(cancel).await.unwrap_err(), "filter.states");
    let delete = DeleteTasksRequest { filter: Some(of_states(&[TaskState::Running])), ..Default::default() };
    names(&tasks.delete_tasks(delete).await.unwrap_err(), "filter.states");
    for page_token in ["x", "x.y", "12.y", "."] {
        let filter = Some(of_states(&[TaskState::Failed]));
        let retry = RetryTasksRequest { filter, page_token: page_token.into(), page_size: 0 };
        names(&tasks.retry_tasks(retry).await.unwrap_err(), "page_token");
    }
}

async fn a_filter_selects_by_time_and_by_reason(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    submit(tasks, request("waits", "unheard-of", "")).await;
    submit(tasks, request("good", "noop", "")).await;
    ended(tasks, "good").await;
    submit(tasks, request("bad", "sleep", "a while")).await;
    let bad = ended(tasks, "bad").await;
    let at = |time: Option<prost_types::Timestamp>| time.expect("it is set");
    let after = |time: prost_types::Timestamp| prost_types::Timestamp { seconds: time.seconds + 1, ..time };
    let all = TaskFilter::default;
    let of = |reason: FailureReason| vec![reason.into()];
    let filters = [
        (TaskFilter { failure_reasons: of(FailureReason::Handler), ..all() }, vec!["bad"]),
        (TaskFilter { failure_reasons: of(FailureReason::Poisoned), ..all() }, vec![]),
        (TaskFilter { end_time_until: Some(after(at(bad.end_time))), ..all() }, vec!["bad", "good"]),
        (TaskFilter { end_time_from: Some(after(at(bad.end_time))), ..all() }, vec![]),
        (TaskFilter { create_time_from: Some(at(bad.create_time)), ..all() }, vec!["bad"]),
        (TaskFilter { create_time_until: Some(at(bad.create_time)), ..all() }, vec!["good", "waits"]),
    ];
    for (filter, expected) in filters {
        let request = ListTasksRequest { filter: Some(filter.clone()), ..Default::default() };
        let listed: Vec<Task> = tasks.list_tasks(request).await.unwrap().into_inner().tasks;
        assert_eq!(listed.iter().map(|task| task.task_id.as_str()).collect::<Vec<_>>(), expected, "{filter:?}");
    }
    let (from, until) = (bad.end_time, bad.create_time);
    let backwards = TaskFilter { create_time_from: from, create_time_until: until, ..all() };
    let request = ListTasksRequest { filter: Some(backwards), ..Default::default() };
    names(&tasks.list_tasks(request).await.unwrap_err(), "filter.create_time_until");
}
