//! Watches: the present state first, then every change, then the end.

use std::collections::{BTreeMap, BTreeSet};

use herdsman::wire::proto::v1::{
    CancelTaskRequest, SubmitTasksRequest, Task, TaskFilter, TaskIds, TaskState, WatchTaskRequest, WatchTaskResponse,
    WatchTasksRequest, WatchTasksResponse, watch_tasks_request::Target,
};
use tokio::time::timeout;
use tonic::Streaming;

use super::{Herdsman, cases};
use crate::support::cluster::{LIMIT, ended, get, is_terminal, reaches, request, submit};

cases![
    a_watch_tells_every_state_and_ends_with_the_result,
    a_late_watch_is_told_the_end,
    a_watch_is_resumed_after_a_revision,
    a_watch_of_many_ends_when_all_have_ended,
    a_watch_by_filter_tells_what_comes_and_what_leaves,
    a_watch_by_filter_brings_results_with_the_ends_and_not_with_what_was,
    dropping_a_watch_cancels_nothing,
];

fn watch(id: &str, after_revision: u64) -> WatchTaskRequest {
    WatchTaskRequest { task_id: id.into(), after_revision }
}

async fn a_watch_tells_every_state_and_ends_with_the_result(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    // It waits for its kind's slot behind four others, so that the watch is there before it starts.
    for at in 0..4 {
        submit(tasks, request(&format!("busy-{at}"), "sleep", "1h")).await;
        reaches(tasks, &format!("busy-{at}"), TaskState::Running).await;
    }
    submit(tasks, request("short", "echo", "result")).await;
    submit(tasks, request("long", "sleep", "1h")).await;
    let mut short = tasks.watch_task(watch("short", 0)).await.unwrap().into_inner();
    let mut long = tasks.watch_task(watch("long", 0)).await.unwrap().into_inner();
    for events in [&mut short, &mut long] {
        assert_eq!(events.message().await.unwrap().unwrap().task.unwrap().state(), TaskState::Pending);
    }
    tasks.cancel_task(CancelTaskRequest { task_id: "busy-0".into() }).await.unwrap();
    let (changes, last) = told(&mut short, async |_| {}).await;
    assert_eq!((last.state(), &last.result[..]), (TaskState::Succeeded, &b"result"[..]));
    // What has ended before its worker says that it runs was never RUNNING.
    assert!((2..=3).contains(&changes), "{changes}");
    assert!(last.spec.unwrap().payload.is_empty(), "watches stay small");
    let cancel = CancelTaskRequest { task_id: "long".into() };
    let (changes, last) = told(&mut long, async |task| {
        if task.state() == TaskState::Running {
            tasks.cancel_task(cancel.clone()).await.unwrap();
        }
    })
    .await;
    assert_eq!(last.state(), TaskState::Cancelled);
    assert_eq!(changes, 3, "every change is told or counted");
}

/// Reads a watch to its end: how many changes it told or counted, and the last one.
async fn told(events: &mut Streaming<WatchTaskResponse>, mut each: impl AsyncFnMut(&Task)) -> (u32, Task) {
    let (mut changes, mut last) = (0, Task::default());
    while let Some(event) = timeout(LIMIT, events.message()).await.unwrap().unwrap() {
        let task = event.task.unwrap();
        assert!(task.revision > last.revision);
        changes += 1 + event.skipped;
        each(&task).await;
        last = task;
    }
    (changes, last)
}

async fn a_late_watch_is_told_the_end(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    submit(tasks, request("one", "echo", "result")).await;
    let done = ended(tasks, "one").await;
    for after in [0, done.revision, u64::MAX] {
        let mut events = tasks.watch_task(watch("one", after)).await.unwrap().into_inner();
        let only = timeout(LIMIT, events.message()).await.unwrap().unwrap().unwrap().task.unwrap();
        assert_eq!(only, done);
        assert!(events.message().await.unwrap().is_none());
    }
}

async fn a_watch_is_resumed_after_a_revision(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    submit(tasks, request("one", "sleep", "1h")).await;
    let running = reaches(tasks, "one", TaskState::Running).await;
    let mut events = tasks.watch_task(watch("one", running.revision)).await.unwrap().into_inner();
    tasks.cancel_task(CancelTaskRequest { task_id: "one".into() }).await.unwrap();
    let first = timeout(LIMIT, events.message()).await.unwrap().unwrap().unwrap().task.unwrap();
    assert_eq!(first.state(), TaskState::Cancelled, "what is known is not told again");
}

fn by_ids(ids: &[String]) -> WatchTasksRequest {
    WatchTasksRequest { target: Some(Target::Ids(TaskIds { task_ids: ids.to_vec() })), after_revision: 0 }
}

async fn a_watch_of_many_ends_when_all_have_ended(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    let ids: Vec<_> = (0..200).map(|at| format!("t{at:03}")).collect();
    let requests = ids.iter().map(|id| request(id, "echo", id)).collect();
    tasks.submit_tasks(SubmitTasksRequest { requests }).await.unwrap();
    let mut events = tasks.watch_tasks(by_ids(&ids)).await.unwrap().into_inner();
    let (mut revisions, mut done) = (BTreeMap::new(), BTreeSet::new());
    while let Some(event) = timeout(LIMIT, events.message()).await.unwrap().unwrap() {
        let task = event.task.unwrap();
        let before = revisions.insert(task.task_id.clone(), task.revision);
        assert!(before.is_none_or(|before| before < task.revision), "{task:?}");
        if is_terminal(&task) {
            assert_eq!(&task.result[..], task.task_id.as_bytes());
            done.insert(task.task_id);
        }
    }
    assert_eq!(done.len(), ids.len());
}

async fn next(events: &mut Streaming<WatchTasksResponse>) -> (String, TaskState, u64) {
    let event = timeout(LIMIT, events.message()).await.unwrap().unwrap().unwrap();
    let task = event.task.unwrap();
    (task.task_id.clone(), task.state(), event.resume_revision)
}

async fn a_watch_by_filter_tells_what_comes_and_what_leaves(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    submit(tasks, request("before", "unheard-of", "")).await;
    submit(tasks, request("other", "noop", "")).await;
    let filter = TaskFilter {
        kinds: vec!["unheard-of".into()],
        states: vec![TaskState::Pending.into()],
        ..TaskFilter::default()
    };
    let request_after =
        |after_revision| WatchTasksRequest { target: Some(Target::Filter(filter.clone())), after_revision };
    let mut events = tasks.watch_tasks(request_after(0)).await.unwrap().into_inner();
    let (id, state, _) = next(&mut events).await;
    assert_eq!((id.as_str(), state), ("before", TaskState::Pending));
    submit(tasks, request("after", "unheard-of", "")).await;
    assert_eq!(next(&mut events).await.0, "after");
    tasks.cancel_task(CancelTaskRequest { task_id: "before".into() }).await.unwrap();
    let (id, state, resume) = next(&mut events).await;
    assert_eq!((id.as_str(), state), ("before", TaskState::Cancelled), "what leaves the filter is told once more");

    drop(events);
    submit(tasks, request("meanwhile", "unheard-of", "")).await;
    let mut events = tasks.watch_tasks(request_after(resume)).await.unwrap().into_inner();
    assert_eq!(next(&mut events).await.0, "meanwhile", "a resumed watch tells what came meanwhile, and nothing twice");
}

async fn a_watch_by_filter_brings_results_with_the_ends_and_not_with_what_was(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    submit(tasks, request("was", "echo", "result")).await;
    ended(tasks, "was").await;
    let filter =
        TaskFilter { kinds: vec!["echo".into()], states: vec![TaskState::Succeeded.into()], ..TaskFilter::default() };
    let request_all = WatchTasksRequest { target: Some(Target::Filter(filter)), after_revision: 0 };
    let mut events = tasks.watch_tasks(request_all).await.unwrap().into_inner();
    for (id, result) in [("was", ""), ("ends", "result")] {
        if id == "ends" {
            submit(tasks, request(id, "echo", "result")).await;
        }
        let event = timeout(LIMIT, events.message()).await.unwrap().unwrap().unwrap();
        let task = event.task.unwrap();
        assert_eq!((task.task_id.as_str(), &task.result[..]), (id, result.as_bytes()));
        assert!(task.spec.unwrap().payload.is_empty());
    }
}

async fn dropping_a_watch_cancels_nothing(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    submit(tasks, request("one", "sleep", "1h")).await;
    reaches(tasks, "one", TaskState::Running).await;
    let events = tasks.watch_task(watch("one", 0)).await.unwrap();
    drop(events);
    submit(tasks, request("two", "noop", "")).await;
    ended(tasks, "two").await;
    assert_eq!(get(tasks, "one").await.state(), TaskState::Running);
}
