//! Times that go on when whoever counts them dies, and attempts that are really stopped.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use herdsman::wire::proto::v1::{
    RetryPolicy, SubmitTaskRequest, Task, TaskSpec, TaskState, Timeout, Timeouts,
    task_service_client::TaskServiceClient,
};
use tonic::transport::Channel;

use crate::support::{
    cluster::{Cluster, LIMIT, ended, get, reaches, spec, submit, tasks, workers_are_ready},
    eventually,
    process::Role,
    zookeeper::{fresh_chroot, shared},
};

/// Longer than a takeover, so that it happens in the middle.
const WAIT: Duration = Duration::from_secs(6);

async fn send(tasks: &mut TaskServiceClient<Channel>, id: &str, spec: TaskSpec) {
    submit(tasks, SubmitTaskRequest { task_id: id.into(), spec: Some(spec) }).await;
}

/// One task that waits for its second attempt, and one that waits for its first; the times of both.
async fn two_that_wait(tasks: &mut TaskServiceClient<Channel>) -> [(&'static str, SystemTime); 2] {
    let wait = Some(WAIT.try_into().unwrap());
    let retry = Some(RetryPolicy { max_attempts: 2, initial_backoff: wait, ..RetryPolicy::default() });
    send(tasks, "tried", TaskSpec { retry, ..spec("sleep", "no time") }).await;
    send(tasks, "later", TaskSpec { delay: wait, ..spec("noop", "") }).await;
    let tried = async || Some(get(tasks, "tried").await).filter(|task| task.retries == 1);
    let tried = eventually("it has failed once", LIMIT, tried).await;
    let later = get(tasks, "later").await;
    [tried, later].map(|task| {
        assert_eq!(task.state(), TaskState::Pending, "{task:?}");
        let name = if task.task_id == "tried" { "tried" } else { "later" };
        (name, SystemTime::try_from(task.next_attempt_time.expect("it waits")).unwrap())
    })
}

async fn they_began_in_time(tasks: &mut TaskServiceClient<Channel>, waiting: [(&str, SystemTime); 2]) {
    let mut done = Vec::new();
    for (id, time) in waiting {
        let task = ended(tasks, id).await;
        let began = SystemTime::try_from(task.start_time.unwrap()).unwrap();
        // All clocks are this machine's, and are told in milliseconds.
        assert!(began + Duration::from_millis(2) >= time, "{id} began at {began:?}, and was to wait until {time:?}");
        done.push((task.state(), task.attempt, task.retries));
    }
    assert_eq!(done, [(TaskState::Failed, 2, 1), (TaskState::Succeeded, 1, 0)]);
}

fn is_alive(process: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_and_what_runs_keeps_its_time_under_a_new_leader_and_nothing_is_left_alive() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    // Both it and its child ignore SIGTERM.
    let script = format!("trap \"\" TERM; sleep 1000 & echo $! $$ > {}; wait", path("processes"));
    let file = format!("[handlers.stubborn]\nprogram = \"/bin/sh\"\nargs = [\"-c\", '{script}']\ngrace = \"300ms\"\n");
    fs::write(path("handlers.toml"), file).unwrap();
    let tree = format!("{}{}", shared().address(), fresh_chroot());
    let mut cluster = Cluster::start(tree, 2, 1, &["--handlers", &path("handlers.toml")]).await;
    let mut tasks = cluster.tasks().await;
    let timeouts = Some(Timeouts { start_to_close: Some(WAIT.try_into().unwrap()), ..Timeouts::default() });
    send(&mut tasks, "slow", TaskSpec { timeouts, ..spec("stubborn", "") }).await;
    reaches(&mut tasks, "slow", TaskState::Running).await;
    let processes = eventually("the program runs", LIMIT, async || {
        fs::read_to_string(path("processes")).ok().filter(|text| text.ends_with('\n'))
    })
    .await;
    let waiting = two_that_wait(&mut tasks).await;

    let leader = cluster.leader().await;
    cluster.masters[leader].kill();
    they_began_in_time(&mut tasks, waiting).await;
    let slow: Task = ended(&mut tasks, "slow").await;
    let failure = slow.failure.clone().expect("it took too long");
    assert_eq!((slow.state(), failure.timeout(), slow.attempt), (TaskState::Failed, Timeout::StartToClose, 1));
    let alive: Vec<_> = processes.split_whitespace().filter(|process| is_alive(process)).collect();
    assert!(alive.is_empty(), "{alive:?} of {processes:?} are left");
}

/// How a task that took too long ended, and how long after it was accepted.
async fn timed_out(tasks: &mut TaskServiceClient<Channel>, id: &str) -> (Timeout, Duration) {
    let task = ended(tasks, id).await;
    let time = |time: Option<prost_types::Timestamp>| SystemTime::try_from(time.unwrap()).unwrap();
    let (begin, end) = (time(task.create_time), time(task.end_time));
    (task.failure.expect("it took too long").timeout(), end.duration_since(begin).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_limit_and_every_date_holds_under_a_new_leader() {
    let tree = format!("{}{}", shared().address(), fresh_chroot());
    let mut cluster = Cluster::start(tree, 2, 1, &["--slots", "3"]).await;
    let mut tasks = cluster.tasks().await;
    let wait = Some(WAIT.try_into().unwrap());
    let date = SystemTime::now() + WAIT;
    let unserved = Some(Timeouts { schedule_to_start: wait, ..Timeouts::default() });
    let endless = Some(Timeouts { schedule_to_close: wait, ..Timeouts::default() });
    let silent = Some(Timeouts { heartbeat: wait, ..Timeouts::default() });
    send(&mut tasks, "unserved", TaskSpec { timeouts: unserved, ..spec("nobody-serves-this", "") }).await;
    send(&mut tasks, "endless", TaskSpec { timeouts: endless, ..spec("sleep", "1h") }).await;
    send(&mut tasks, "silent", TaskSpec { timeouts: silent, ..spec("sleep", "1h") }).await;
    send(&mut tasks, "dated", TaskSpec { not_before: Some(date.into()), ..spec("noop", "") }).await;
    reaches(&mut tasks, "endless", TaskState::Running).await;
    reaches(&mut tasks, "silent", TaskState::Running).await;

    let leader = cluster.leader().await;
    cluster.masters[leader].kill();
    let ways =
        [("unserved", Timeout::ScheduleToStart), ("endless", Timeout::ScheduleToClose), ("silent", Timeout::Heartbeat)];
    for (id, way) in ways {
        let (found, after) = timed_out(&mut tasks, id).await;
        assert_eq!(found, way, "{id}");
        // All clocks are this machine's, and are told in milliseconds.
        assert!(after + Duration::from_millis(2) >= WAIT, "{id} ended after {after:?}");
    }
    let dated = ended(&mut tasks, "dated").await;
    let began = SystemTime::try_from(dated.start_time.unwrap()).unwrap();
    assert!(began + Duration::from_millis(2) >= date, "it began at {began:?}, and was to wait until {date:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_keeps_its_time_when_everything_is_restarted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display().to_string();
    let start = async || Role::start(&["dev", "--listen", "127.0.0.1:0", "--data-dir", &path]).await;
    let mut role = start().await;
    workers_are_ready(&role.url(), 1).await;
    let waiting = two_that_wait(&mut tasks(&role.url()).await).await;
    role.kill();
    let role = start().await;
    they_began_in_time(&mut tasks(&role.url()).await, waiting).await;
}
