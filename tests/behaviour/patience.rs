//! What people expect of a task in time: it is tried again, it begins later, it ends when it takes too long.

use std::time::{Duration, SystemTime};

use herdsman::wire::proto::v1::{
    CancelTaskRequest, FailureReason, RetryPolicy, SubmitTaskRequest, Task, TaskFailure, TaskSpec, TaskState, Timeout,
    Timeouts, task_service_client::TaskServiceClient,
};
use tonic::transport::Channel;

use super::{Herdsman, cases};
use crate::support::{
    cluster::{LIMIT, ended, get, reaches, spec, submit},
    eventually,
};

cases![
    a_task_that_fails_is_tried_again_and_fails_with_its_last_failure,
    a_task_that_waits_for_another_try_shows_why_and_can_be_cancelled,
    a_delayed_task_waits_and_can_be_seen,
    an_attempt_that_takes_too_long_is_stopped_and_frees_its_slot,
    a_task_that_takes_too_long_ends_whatever_it_is_doing,
];

fn proto(duration: Duration) -> prost_types::Duration {
    duration.try_into().unwrap()
}

async fn send(tasks: &mut TaskServiceClient<Channel>, id: &str, spec: TaskSpec) -> Task {
    submit(tasks, SubmitTaskRequest { task_id: id.into(), spec: Some(spec) }).await
}

fn timed_out(task: &Task) -> Timeout {
    let failure = task.failure.as_ref().expect("it failed");
    assert_eq!((task.state(), failure.reason()), (TaskState::Failed, FailureReason::TimedOut), "{task:?}");
    failure.timeout()
}

async fn a_task_that_fails_is_tried_again_and_fails_with_its_last_failure(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    let backoff = Some(proto(Duration::from_millis(50)));
    let retry = RetryPolicy { max_attempts: 3, initial_backoff: backoff, ..RetryPolicy::default() };
    let spec = TaskSpec { retry: Some(retry), ..spec("sleep", "no time") };
    send(tasks, "a", spec.clone()).await;
    let task = ended(tasks, "a").await;
    assert_eq!(
        (task.state(), task.attempt, task.retries, task.worker_deaths),
        (TaskState::Failed, 3, 2, 0),
        "{task:?}"
    );
    let failures = [&task.failure, &task.last_failure].map(|failure| failure.as_ref().map(TaskFailure::reason));
    assert_eq!(failures, [Some(FailureReason::Handler); 2]);
    assert_eq!(get(tasks, "a").await.spec, Some(spec), "the policy comes back as it was sent");
}

async fn a_task_that_waits_for_another_try_shows_why_and_can_be_cancelled(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    let backoff = Some(proto(Duration::from_hours(1)));
    let retry = RetryPolicy { max_attempts: 2, initial_backoff: backoff, ..RetryPolicy::default() };
    send(tasks, "a", TaskSpec { retry: Some(retry), ..spec("sleep", "no time") }).await;
    let waiting =
        eventually("it has failed once", LIMIT, async || Some(get(tasks, "a").await).filter(|t| t.retries == 1));
    let waiting = waiting.await;
    assert_eq!((waiting.state(), waiting.attempt, &waiting.failure), (TaskState::Pending, 1, &None));
    assert!(waiting.last_failure.expect("it says why it waits").message.contains("no time"));
    let next = SystemTime::try_from(waiting.next_attempt_time.expect("it says until when")).unwrap();
    assert!(next > SystemTime::now() + Duration::from_mins(40), "{next:?}");
    tasks.cancel_task(CancelTaskRequest { task_id: "a".into() }).await.unwrap();
    let task = ended(tasks, "a").await;
    assert_eq!((task.state(), task.next_attempt_time), (TaskState::Cancelled, None));
}

async fn a_delayed_task_waits_and_can_be_seen(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    let start = SystemTime::now() + Duration::from_secs(1);
    let soon = send(tasks, "soon", TaskSpec { not_before: Some(start.into()), ..spec("noop", "") }).await;
    let later =
        send(tasks, "later", TaskSpec { delay: Some(proto(Duration::from_hours(1))), ..spec("noop", "") }).await;
    for task in [&soon, &later] {
        let [next, create] = [task.next_attempt_time, task.create_time].map(|time| time.expect("it is set"));
        assert!(task.state() == TaskState::Pending && next.seconds >= create.seconds, "{task:?}");
    }
    let done = ended(tasks, "soon").await;
    // The worker and the leader are on one machine, and so are their clocks.
    let began = SystemTime::try_from(done.start_time.unwrap()).unwrap();
    assert!(done.state() == TaskState::Succeeded && began + Duration::from_millis(1) >= start, "{done:?}");
    assert_eq!(get(tasks, "later").await.state(), TaskState::Pending);
}

async fn an_attempt_that_takes_too_long_is_stopped_and_frees_its_slot(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    let timeouts = Timeouts { start_to_close: Some(proto(Duration::from_millis(200))), ..Timeouts::default() };
    let backoff = Some(proto(Duration::from_millis(1)));
    let retry = RetryPolicy { max_attempts: 2, initial_backoff: backoff, ..RetryPolicy::default() };
    for at in 0..4 {
        let spec = TaskSpec { timeouts: Some(timeouts), retry: Some(retry.clone()), ..spec("sleep", "1h") };
        send(tasks, &format!("t{at}"), spec).await;
    }
    send(tasks, "next", spec("noop", "")).await;
    for at in 0..4 {
        let task = ended(tasks, &format!("t{at}")).await;
        assert_eq!((timed_out(&task), task.attempt), (Timeout::StartToClose, 2), "{task:?}");
    }
    assert_eq!(ended(tasks, "next").await.state(), TaskState::Succeeded, "there is a slot for it");
}

async fn a_task_that_takes_too_long_ends_whatever_it_is_doing(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    let limit = || Some(proto(Duration::from_secs(3)));
    let whole = Timeouts { schedule_to_close: limit(), ..Timeouts::default() };
    let wait = Timeouts { schedule_to_start: limit(), ..Timeouts::default() };
    send(tasks, "running", TaskSpec { timeouts: Some(whole), ..spec("sleep", "1h") }).await;
    send(tasks, "pending", TaskSpec { timeouts: Some(whole), ..spec("unheard-of", "") }).await;
    send(tasks, "unwanted", TaskSpec { timeouts: Some(wait), ..spec("unheard-of", "") }).await;
    send(tasks, "wanted", TaskSpec { timeouts: Some(wait), ..spec("sleep", "4s") }).await;
    reaches(tasks, "running", TaskState::Running).await;
    for id in ["running", "pending"] {
        assert_eq!(timed_out(&ended(tasks, id).await), Timeout::ScheduleToClose);
    }
    assert_eq!(timed_out(&ended(tasks, "unwanted").await), Timeout::ScheduleToStart);
    assert_eq!(ended(tasks, "wanted").await.state(), TaskState::Succeeded, "whoever was taken in time has its time");
}
