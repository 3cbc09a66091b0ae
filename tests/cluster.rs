//! Real processes, a real ZooKeeper, and what may befall them: nothing that was acknowledged is lost, and nothing runs
//! as two current attempts.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use herdsman::wire::proto::v1::{
    GetQueueRequest, PauseQueueRequest, QueueState, ResumeQueueRequest, TaskState, UpdateQueueRequest,
    WatchTaskRequest, cluster_service_client::ClusterServiceClient,
};
use tonic_types::StatusExt;

use crate::support::{
    cluster::{Cluster, LIMIT, Record, ended, get, is_terminal, reaches, request, submit, tasks, workers_are_ready},
    eventually,
    zookeeper::{Ensemble, Server, fresh_chroot, fresh_options, shared, witness},
};

/// A connect string with a tree of its own on the shared server.
fn own_tree() -> String {
    format!("{}{}", shared().address(), fresh_chroot())
}

/// Invariants over the record of what really ran: an attempt starts at most once, and the attempt that the outcome
/// belongs to did run, to its end, as the last one.
fn nothing_ran_twice(record: &Record, outcomes: &BTreeMap<String, u32>) {
    let lines = record.lines();
    let mut starts = BTreeSet::new();
    for line in lines.iter().filter(|line| line.what == "start") {
        assert!(starts.insert((line.task_id.clone(), line.attempt)), "{line:?} started twice");
    }
    for (task_id, attempt) in outcomes {
        let of_task: Vec<_> = lines.iter().filter(|line| line.task_id == *task_id).collect();
        let last = of_task.iter().filter(|line| line.what == "start").map(|line| line.attempt).max();
        assert_eq!(last, Some(*attempt), "{task_id}: the last attempt counts");
        let ended = of_task.iter().any(|line| line.what == "end" && line.attempt == *attempt);
        assert!(ended, "{task_id}: attempt {attempt} has an end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_submitted_runs_and_is_told() {
    let cluster = Cluster::start(own_tree(), 1, 1, &[]).await;
    let mut tasks = cluster.tasks().await;
    submit(&mut tasks, request("hello", "echo", "world")).await;
    let task = ended(&mut tasks, "hello").await;
    assert_eq!((task.state(), &task.result[..]), (TaskState::Succeeded, &b"world"[..]));
    assert_eq!((task.attempt, task.worker_id.as_str()), (1, "worker-0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_tasks_survive_the_death_of_the_leader_and_of_a_worker() {
    let record = Record::new("0.05");
    let handlers = record.handlers();
    let mut cluster = Cluster::start(own_tree(), 2, 3, &["--slots", "4", "--handlers", &handlers]).await;
    let mut tasks = cluster.tasks().await;
    let ids: Vec<_> = (0..500).map(|at| format!("task-{at:03}")).collect();
    for (at, id) in ids.iter().enumerate() {
        submit(&mut tasks, request(id, "record", "")).await;
        if at == 200 {
            let leader = cluster.leader().await;
            cluster.masters[leader].kill();
        }
        if at == 300 {
            cluster.workers[1].kill();
        }
    }
    let mut outcomes = BTreeMap::new();
    for id in &ids {
        let task = ended(&mut tasks, id).await;
        assert_eq!(task.state(), TaskState::Succeeded, "{task:?}");
        outcomes.insert(id.clone(), u32::try_from(task.attempt).unwrap());
    }
    nothing_ran_twice(&record, &outcomes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_of_the_leader_hands_over_and_reruns_nothing() {
    let record = Record::new("3");
    let handlers = record.handlers();
    let mut cluster = Cluster::start(own_tree(), 2, 1, &["--handlers", &handlers]).await;
    let mut tasks = cluster.tasks().await;
    submit(&mut tasks, request("long", "record", "")).await;
    reaches(&mut tasks, "long", TaskState::Running).await;
    let leader = cluster.leader().await;
    cluster.masters[leader].terminate();
    assert!(cluster.masters[leader].ended(Duration::from_secs(5)).await.success());
    submit(&mut tasks, request("next", "echo", "")).await;
    assert_eq!(ended(&mut tasks, "next").await.state(), TaskState::Succeeded);
    let long = ended(&mut tasks, "long").await;
    assert_eq!((long.state(), long.attempt), (TaskState::Succeeded, 1));
    nothing_ran_twice(&record, &BTreeMap::from([("long".to_owned(), 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_for_a_queue_holds_under_the_next_leader() {
    let mut cluster = Cluster::start(own_tree(), 2, 1, &["--slots", "4"]).await;
    let mut queues = ClusterServiceClient::connect(cluster.clients[0].url()).await.unwrap();
    let mut tasks = cluster.tasks().await;
    let update = UpdateQueueRequest { name: "default".into(), max_running: Some(1), ..UpdateQueueRequest::default() };
    queues.update_queue(update).await.unwrap();
    queues.pause_queue(PauseQueueRequest { name: "default".into() }).await.unwrap();
    for id in ["first", "second"] {
        submit(&mut tasks, request(id, "sleep", "1h")).await;
    }
    let leader = cluster.leader().await;
    cluster.masters[leader].kill();
    let get_queue = GetQueueRequest { name: "default".into() };
    let told =
        eventually("the next leader tells", LIMIT, async || queues.get_queue(get_queue.clone()).await.ok()).await;
    let told = told.into_inner().queue.unwrap();
    assert_eq!((told.state(), told.settings.unwrap().max_running), (QueueState::Paused, 1));
    assert_eq!(told.tasks.unwrap().pending, 2);
    cluster.workers_are_ready(1).await;
    queues.resume_queue(ResumeQueueRequest { name: "default".into() }).await.unwrap();
    reaches(&mut tasks, "first", TaskState::Running).await;
    assert_eq!(get(&mut tasks, "second").await.state(), TaskState::Pending);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_stopped_finishes_what_it_can_and_gives_the_rest_back() {
    let mut cluster = Cluster::start(own_tree(), 1, 1, &["--slots", "2", "--drain", "2s"]).await;
    let mut tasks = cluster.tasks().await;
    submit(&mut tasks, request("short", "sleep", "500ms")).await;
    submit(&mut tasks, request("long", "sleep", "30s")).await;
    reaches(&mut tasks, "long", TaskState::Running).await;
    reaches(&mut tasks, "short", TaskState::Running).await;
    cluster.workers[0].terminate();
    assert!(cluster.workers[0].ended(Duration::from_secs(10)).await.success());
    let short = get(&mut tasks, "short").await;
    assert_eq!((short.state(), short.attempt), (TaskState::Succeeded, 1));
    let long = get(&mut tasks, "long").await;
    assert_eq!((long.state(), long.attempt, long.worker_deaths), (TaskState::Pending, 1, 0), "given back, not lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_idle_role_ends_when_it_is_told_to() {
    let mut cluster = Cluster::start(own_tree(), 2, 1, &[]).await;
    let leader = cluster.leader().await;
    let roles = cluster.workers.iter_mut().chain(&mut cluster.clients);
    for role in roles {
        role.terminate();
        assert!(role.ended(Duration::from_secs(5)).await.success());
    }
    for master in [leader, 1 - leader] {
        cluster.masters[master].terminate();
        assert!(cluster.masters[master].ended(Duration::from_secs(5)).await.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_follows_its_task_across_a_change_of_leader() {
    let mut cluster = Cluster::start(own_tree(), 2, 1, &[]).await;
    let mut tasks = cluster.tasks().await;
    submit(&mut tasks, request("watched", "sleep", "4s")).await;
    let watch = WatchTaskRequest { task_id: "watched".into(), after_revision: 0 };
    let mut events = tasks.watch_task(watch).await.unwrap().into_inner();
    reaches(&mut tasks, "watched", TaskState::Running).await;
    let leader = cluster.leader().await;
    cluster.masters[leader].kill();
    let mut last = 0;
    let mut seen = Vec::new();
    let watching = async {
        while let Some(event) = events.message().await.expect("the same stream goes on") {
            let task = event.task.unwrap();
            assert!(task.revision > last, "revisions strictly grow: {task:?}");
            last = task.revision;
            seen.push((task.state(), task.attempt));
        }
    };
    tokio::time::timeout(LIMIT, watching).await.expect("the watch ends with its task");
    assert_eq!(seen.last(), Some(&(TaskState::Succeeded, 1)), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_is_resumed_with_its_revision_at_another_client_service() {
    let mut cluster = Cluster::start(own_tree(), 1, 1, &[]).await;
    let mut tasks_before = cluster.tasks().await;
    submit(&mut tasks_before, request("watched", "sleep", "3s")).await;
    let watch = WatchTaskRequest { task_id: "watched".into(), after_revision: 0 };
    let mut events = tasks_before.watch_task(watch).await.unwrap().into_inner();
    let mut revision = 0;
    while let Some(event) = events.message().await.unwrap() {
        let task = event.task.unwrap();
        revision = task.revision;
        if task.state() == TaskState::Running {
            break;
        }
    }
    cluster.clients[0].terminate();
    let ended = tokio::time::timeout(LIMIT, events.message()).await.unwrap();
    assert_eq!(ended.expect_err("a draining client service says so").code(), tonic::Code::Unavailable);
    let client = cluster.add_client().await;
    let mut tasks = tasks(&cluster.clients[client].url()).await;
    let watch = WatchTaskRequest { task_id: "watched".into(), after_revision: revision };
    let mut events = eventually("the watch is resumed", LIMIT, async || {
        tasks.watch_task(watch.clone()).await.ok().map(tonic::Response::into_inner)
    })
    .await;
    let first = tokio::time::timeout(LIMIT, events.message()).await.unwrap().unwrap().unwrap().task.unwrap();
    assert!(first.revision > revision && is_terminal(&first), "what is known is not told again: {first:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_zookeeper_reruns_nothing() {
    let server = Server::start();
    let record = Record::new("9");
    let handlers = record.handlers();
    let tree = format!("{}{}", server.address(), fresh_chroot());
    let cluster = Cluster::start(tree, 2, 2, &["--slots", "5", "--handlers", &handlers]).await;
    let mut tasks = cluster.tasks().await;
    let ids: Vec<_> = (0..10).map(|at| format!("task-{at}")).collect();
    for id in &ids {
        submit(&mut tasks, request(id, "record", "")).await;
    }
    for id in &ids {
        reaches(&mut tasks, id, TaskState::Running).await;
    }
    server.kill();
    // The outage is the scenario: longer than a session.
    tokio::time::sleep(Duration::from_secs(5)).await;
    server.restart();
    let mut outcomes = BTreeMap::new();
    for id in &ids {
        let task = ended(&mut tasks, id).await;
        assert_eq!((task.state(), task.attempt), (TaskState::Succeeded, 1), "{task:?}");
        outcomes.insert(id.clone(), 1);
    }
    nothing_ran_twice(&record, &outcomes);
    submit(&mut tasks, request("after", "echo", "")).await;
    assert_eq!(ended(&mut tasks, "after").await.state(), TaskState::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stood_still_is_followed_and_cannot_write_when_it_wakes() {
    let cluster = Cluster::start(own_tree(), 2, 1, &[]).await;
    let mut tasks = cluster.tasks().await;
    let leader = cluster.leader().await;
    submit(&mut tasks, request("before", "echo", "")).await;
    cluster.masters[leader].pause();
    submit(&mut tasks, request("while", "echo", "")).await;
    assert_eq!(ended(&mut tasks, "while").await.state(), TaskState::Succeeded);
    let next = cluster.leader().await;
    assert_ne!(next, leader);
    cluster.masters[leader].go_on();
    eventually("the old leader learns of it", LIMIT, async || {
        (!cluster.masters[leader].events("no longer leading").is_empty()).then_some(())
    })
    .await;
    submit(&mut tasks, request("after", "echo", "")).await;
    for id in ["before", "while", "after"] {
        let task = ended(&mut tasks, id).await;
        assert_eq!((task.state(), task.attempt), (TaskState::Succeeded, 1), "{task:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stood_still_comes_back_and_its_stale_attempt_is_stopped() {
    let record = Record::new("6");
    let handlers = record.handlers();
    let mut cluster = Cluster::start(own_tree(), 1, 1, &["--handlers", &handlers]).await;
    let mut tasks = cluster.tasks().await;
    submit(&mut tasks, request("task", "record", "")).await;
    reaches(&mut tasks, "task", TaskState::Running).await;
    cluster.workers[0].pause();
    cluster.add_worker("worker-1", &["--handlers", &handlers]).await;
    let again = eventually("the task runs elsewhere", LIMIT, async || {
        let task = get(&mut tasks, "task").await;
        (task.attempt == 2 && task.state() == TaskState::Running).then_some(task)
    })
    .await;
    assert_eq!((again.worker_id.as_str(), again.worker_deaths), ("worker-1", 1));
    cluster.workers[0].go_on();
    let task = ended(&mut tasks, "task").await;
    assert_eq!((task.state(), task.attempt, task.worker_id.as_str()), (TaskState::Succeeded, 2, "worker-1"));
    cluster.workers_are_ready(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_incarnation_of_a_worker_waits_for_the_end_of_the_first() {
    let mut cluster = Cluster::start(own_tree(), 1, 1, &[]).await;
    let mut tasks = cluster.tasks().await;
    let second = cluster.add_worker("worker-0", &[]).await;
    submit(&mut tasks, request("first", "echo", "")).await;
    ended(&mut tasks, "first").await;
    cluster.workers_are_ready(1).await;
    eventually("the second is refused", LIMIT, async || {
        let refused = cluster.masters[0].events("ending a link");
        let log = cluster.workers[second].log();
        (!refused.is_empty() || log.iter().any(|line| line.contains("INCARNATION_CONFLICT"))).then_some(())
    })
    .await;
    cluster.workers[0].kill();
    submit(&mut tasks, request("second", "echo", "")).await;
    assert_eq!(ended(&mut tasks, "second").await.state(), TaskState::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ensemble_that_loses_its_leader_and_a_cluster_that_loses_its_own_go_on() {
    let ensemble = Ensemble::start();
    let tree = format!("{}{}", ensemble.addresses(), fresh_chroot());
    let mut cluster = Cluster::start(tree, 2, 2, &[]).await;
    let mut tasks = cluster.tasks().await;
    submit(&mut tasks, request("one", "echo", "1")).await;
    assert_eq!(ended(&mut tasks, "one").await.state(), TaskState::Succeeded);
    ensemble.leader().kill();
    submit(&mut tasks, request("two", "echo", "2")).await;
    assert_eq!(ended(&mut tasks, "two").await.state(), TaskState::Succeeded);
    let leader = cluster.leader().await;
    cluster.masters[leader].kill();
    submit(&mut tasks, request("three", "echo", "3")).await;
    assert_eq!(ended(&mut tasks, "three").await.state(), TaskState::Succeeded);
    workers_are_ready(&cluster.clients[0].url(), 2).await;
    for id in ["one", "two", "three"] {
        assert_eq!(get(&mut tasks, id).await.attempt, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_somebody_else_wrote_is_set_aside_and_its_id_stays_taken() {
    let options = fresh_options();
    let mut cluster = Cluster::start(options.servers_and_chroot.clone(), 2, 1, &[]).await;
    let mut tasks = cluster.tasks().await;
    for id in ["bad", "good"] {
        submit(&mut tasks, request(id, "unheard-of", "")).await;
    }
    let witness = witness(&options).await;
    let mut path = None;
    for bucket in witness.list_children("/tasks").await.unwrap() {
        let found = format!("/tasks/{bucket}/bad");
        if witness.check_stat(&found).await.unwrap().is_some() {
            path = Some(found);
        }
    }
    witness.set_data(&path.expect("the task has a node"), b"\xff\xff not a record", None).await.unwrap();
    let leader = cluster.leader().await;
    cluster.masters[leader].kill();

    let status = eventually("the next leader refuses", LIMIT, async || {
        let refused = tasks.submit_task(request("bad", "unheard-of", "")).await.expect_err("its name is taken");
        (refused.code() == tonic::Code::AlreadyExists).then_some(refused)
    })
    .await;
    assert_eq!(status.get_details_error_info().unwrap().reason, "CORRUPT_RECORD");
    assert_eq!(get(&mut tasks, "good").await.state(), TaskState::Pending);
    submit(&mut tasks, request("more", "echo", "")).await;
    assert_eq!(ended(&mut tasks, "more").await.state(), TaskState::Succeeded);
    let next = &cluster.masters[1 - leader];
    assert!(next.log().iter().any(|line| line.contains("WARN") && line.contains("/bad")), "it is logged by its path");
    let told = cluster.told().await;
    assert_eq!(told.corrupt_record_count, 1);
}
