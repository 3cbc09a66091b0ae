//! The lives of tasks, from the submit to the end.

use herdsman::wire::proto::v1::{
    CancelTaskRequest, FailureReason, SubmitTaskRequest, SubmitTasksRequest, Task, TaskSpec, TaskState,
    submit_task_outcome::Outcome,
};
use tonic::Code;
use tonic_types::StatusExt;

use super::{Herdsman, cases};
use crate::support::cluster::{ended, get, reaches, request, spec, submit};

cases![
    a_task_succeeds_with_the_result_of_its_handler,
    a_task_fails_with_the_words_of_its_handler,
    a_submit_without_an_id_gets_one,
    a_kind_that_nobody_serves_stays_pending,
    a_cancel_ends_a_task_in_every_state_but_the_ended,
    a_cancelled_slot_is_free_again,
    a_batch_of_a_thousand_ends,
    the_higher_priority_runs_first,
];

async fn a_task_succeeds_with_the_result_of_its_handler(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    let labels = [("colour".to_owned(), "blue".to_owned())].into();
    let spec = TaskSpec { labels, priority: Some(7), ..spec("echo", "h\u{e9}llo\0world") };
    let request = SubmitTaskRequest { task_id: "one".into(), spec: Some(spec.clone()) };
    let accepted = submit(tasks, request).await;
    assert_eq!((accepted.state(), accepted.attempt), (TaskState::Pending, 0));
    ended(tasks, "one").await;
    let task = get(tasks, "one").await;
    assert_eq!((task.state(), task.spec.as_ref()), (TaskState::Succeeded, Some(&spec)));
    assert_eq!(task.result, spec.payload);
    assert_eq!(task.attempt, 1);
    assert!(task.fence > accepted.revision && task.revision > task.fence, "{task:?}");
    let times = [task.create_time, task.start_time, task.end_time].map(|time| time.expect("every time is set"));
    assert!(times.is_sorted_by_key(|time| (time.seconds, time.nanos)), "{times:?}");
}

async fn a_task_fails_with_the_words_of_its_handler(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    submit(tasks, request("one", "sleep", "a while")).await;
    let task = ended(tasks, "one").await;
    let failure = task.failure.clone().expect("a failed task says why");
    assert_eq!((task.state(), failure.reason()), (TaskState::Failed, FailureReason::Handler));
    assert!(failure.message.contains("a while"), "{failure:?}");
}

async fn a_submit_without_an_id_gets_one(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(submit(tasks, request("", "noop", "")).await.task_id);
    }
    assert!(ids.is_sorted() && ids[0] != ids[2], "minted ids sort by time: {ids:?}");
    for id in ids {
        assert_eq!(ended(tasks, &id).await.state(), TaskState::Succeeded);
    }
}

async fn a_kind_that_nobody_serves_stays_pending(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    submit(tasks, request("strange", "unheard-of", "")).await;
    submit(tasks, request("usual", "echo", "")).await;
    ended(tasks, "usual").await;
    assert_eq!(get(tasks, "strange").await.state(), TaskState::Pending);
}

async fn a_cancel_ends_a_task_in_every_state_but_the_ended(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    submit(tasks, request("pending", "unheard-of", "")).await;
    submit(tasks, request("running", "sleep", "1h")).await;
    submit(tasks, request("succeeded", "noop", "")).await;
    reaches(tasks, "running", TaskState::Running).await;
    ended(tasks, "succeeded").await;
    let cancel = |id: &str| CancelTaskRequest { task_id: id.into() };
    for id in ["pending", "running", "running"] {
        let task: Task = tasks.cancel_task(cancel(id)).await.unwrap().into_inner().task.unwrap();
        assert_eq!(task.state(), TaskState::Cancelled, "{id}");
        assert_eq!(ended(tasks, id).await.state(), TaskState::Cancelled);
    }
    let status = tasks.cancel_task(cancel("succeeded")).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.get_details_error_info().unwrap().reason, "TASK_ENDED");
}

async fn a_cancelled_slot_is_free_again(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    for at in 0..4 {
        submit(tasks, request(&format!("busy-{at}"), "sleep", "1h")).await;
        reaches(tasks, &format!("busy-{at}"), TaskState::Running).await;
    }
    submit(tasks, request("next", "noop", "")).await;
    assert_eq!(get(tasks, "next").await.state(), TaskState::Pending);
    tasks.cancel_task(CancelTaskRequest { task_id: "busy-2".into() }).await.unwrap();
    assert_eq!(ended(tasks, "next").await.state(), TaskState::Succeeded);
}

async fn a_batch_of_a_thousand_ends(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    let requests = (0..1_000).map(|at| request(&format!("t{at:03}"), "echo", &at.to_string())).collect();
    let outcomes = tasks.submit_tasks(SubmitTasksRequest { requests }).await.unwrap().into_inner().outcomes;
    assert!(outcomes.iter().all(|outcome| matches!(outcome.outcome, Some(Outcome::Task(_)))), "{outcomes:?}");
    for at in [0, 1, 499, 998, 999] {
        assert_eq!(&ended(tasks, &format!("t{at:03}")).await.result[..], at.to_string().as_bytes());
    }
}

async fn the_higher_priority_runs_first(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    for at in 0..4 {
        submit(tasks, request(&format!("busy-{at}"), "sleep", "1h")).await;
        reaches(tasks, &format!("busy-{at}"), TaskState::Running).await;
    }
    for (id, priority) in [("low", 0), ("high", 9), ("middle", 4)] {
        let spec = TaskSpec { priority: Some(priority), ..spec("noop", "") };
        submit(tasks, SubmitTaskRequest { task_id: id.into(), spec: Some(spec) }).await;
    }
    tasks.cancel_task(CancelTaskRequest { task_id: "busy-0".into() }).await.unwrap();
    let mut fences = Vec::new();
    for id in ["high", "middle", "low"] {
        fences.push(ended(tasks, id).await.fence);
    }
    assert!(fences.is_sorted(), "assigned in the order of priority: {fences:?}");
}
