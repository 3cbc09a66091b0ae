//! Queues: paused, limited, weighed, listed.

use herdsman::wire::proto::v1::{
    CancelTaskRequest, GetQueueRequest, ListQueuesRequest, PauseQueueRequest, Queue, QueueState, ResumeQueueRequest,
    SubmitTaskRequest, TaskSpec, TaskState, UpdateQueueRequest, cluster_service_client::ClusterServiceClient,
    task_service_client::TaskServiceClient,
};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

use super::{Herdsman, cases};
use crate::support::cluster::{ended, get, reaches, request, spec, submit};

cases![
    a_paused_queue_starts_nothing_until_it_is_resumed,
    a_queue_runs_no_more_at_once_than_it_may,
    a_queue_starts_no_more_than_it_may,
    a_full_queue_refuses_by_name,
    queues_share_the_slots_by_weight,
    queues_are_listed_while_there_is_something_to_tell,
    settings_that_are_none_are_refused_by_name,
];

fn of(queue: &str, id: &str, kind: &str, payload: &str) -> SubmitTaskRequest {
    let spec = TaskSpec { queue: queue.into(), ..spec(kind, payload) };
    SubmitTaskRequest { task_id: id.into(), spec: Some(spec) }
}

fn nothing(name: &str) -> UpdateQueueRequest {
    UpdateQueueRequest { name: name.into(), ..UpdateQueueRequest::default() }
}

async fn update(cluster: &mut ClusterServiceClient<Channel>, update: UpdateQueueRequest) -> Queue {
    cluster.update_queue(update).await.unwrap().into_inner().queue.unwrap()
}

async fn queue(cluster: &mut ClusterServiceClient<Channel>, name: &str) -> Queue {
    cluster.get_queue(GetQueueRequest { name: name.into() }).await.unwrap().into_inner().queue.unwrap()
}

async fn cancel(tasks: &mut TaskServiceClient<Channel>, id: &str) {
    tasks.cancel_task(CancelTaskRequest { task_id: id.into() }).await.unwrap();
}

async fn a_paused_queue_starts_nothing_until_it_is_resumed(mut herdsman: Herdsman) {
    let mut cluster = herdsman.cluster_service().await;
    let tasks = &mut herdsman.tasks;
    submit(tasks, of("one", "runs", "sleep", "1h")).await;
    reaches(tasks, "runs", TaskState::Running).await;
    let pause = PauseQueueRequest { name: "one".into() };
    let paused = cluster.pause_queue(pause).await.unwrap().into_inner().queue.unwrap();
    assert_eq!(paused.state(), QueueState::Paused);
    submit(tasks, of("one", "waits", "noop", "")).await;
    submit(tasks, of("two", "elsewhere", "noop", "")).await;
    ended(tasks, "elsewhere").await;
    assert_eq!(get(tasks, "waits").await.state(), TaskState::Pending);
    assert_eq!(get(tasks, "runs").await.state(), TaskState::Running, "what runs goes on");
    let seen = queue(&mut cluster, "one").await;
    assert_eq!(seen.oldest_pending_time, get(tasks, "waits").await.create_time);
    let counts = seen.tasks.unwrap();
    assert_eq!((counts.pending, counts.running), (1, 1));
    let resume = ResumeQueueRequest { name: "one".into() };
    let resumed = cluster.resume_queue(resume).await.unwrap().into_inner().queue.unwrap();
    assert_eq!(resumed.state(), QueueState::Open);
    assert_eq!(ended(tasks, "waits").await.state(), TaskState::Succeeded);
}

async fn a_queue_runs_no_more_at_once_than_it_may(mut herdsman: Herdsman) {
    let mut cluster = herdsman.cluster_service().await;
    let tasks = &mut herdsman.tasks;
    update(&mut cluster, UpdateQueueRequest { max_running: Some(1), ..nothing("one") }).await;
    for id in ["first", "second", "third"] {
        submit(tasks, of("one", id, "sleep", "1h")).await;
    }
    reaches(tasks, "first", TaskState::Running).await;
    assert_eq!(queue(&mut cluster, "one").await.state(), QueueState::AtMaxRunning);
    assert_eq!(get(tasks, "second").await.state(), TaskState::Pending, "beside three free slots");
    cancel(tasks, "first").await;
    reaches(tasks, "second", TaskState::Running).await;
    assert_eq!(get(tasks, "third").await.state(), TaskState::Pending);
    let lifted = update(&mut cluster, UpdateQueueRequest { max_running: Some(0), ..nothing("one") }).await;
    assert_eq!((lifted.state(), lifted.settings.unwrap().max_running), (QueueState::Open, 0));
    reaches(tasks, "third", TaskState::Running).await;
}

async fn a_queue_starts_no_more_than_it_may(mut herdsman: Herdsman) {
    let mut cluster = herdsman.cluster_service().await;
    let tasks = &mut herdsman.tasks;
    let slow = UpdateQueueRequest { max_starts_per_second: Some(0.001), ..nothing("one") };
    assert_eq!(update(&mut cluster, slow).await.state(), QueueState::Open);
    for id in ["first", "second"] {
        submit(tasks, of("one", id, "noop", "")).await;
    }
    ended(tasks, "first").await;
    assert_eq!(queue(&mut cluster, "one").await.state(), QueueState::AtMaxStarts);
    assert_eq!(get(tasks, "second").await.state(), TaskState::Pending);
    let faster = UpdateQueueRequest { max_starts_per_second: Some(20.0), ..nothing("one") };
    update(&mut cluster, faster).await;
    ended(tasks, "second").await;
}

async fn a_full_queue_refuses_by_name(mut herdsman: Herdsman) {
    let mut cluster = herdsman.cluster_service().await;
    let tasks = &mut herdsman.tasks;
    update(&mut cluster, UpdateQueueRequest { max_pending: Some(2), ..nothing("one") }).await;
    cluster.pause_queue(PauseQueueRequest { name: "one".into() }).await.unwrap();
    for id in ["first", "second"] {
        submit(tasks, of("one", id, "noop", "")).await;
    }
    let status = tasks.submit_task(of("one", "third", "noop", "")).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let info = status.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.metadata["queue"].as_str()), ("QUEUE_FULL", "one"));
    assert_eq!(info.metadata["task_id"], "third");
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    submit(tasks, of("one", "first", "noop", "")).await;
    submit(tasks, request("elsewhere", "noop", "")).await;
    cluster.resume_queue(ResumeQueueRequest { name: "one".into() }).await.unwrap();
    ended(tasks, "second").await;
    submit(tasks, of("one", "third", "noop", "")).await;
    ended(tasks, "third").await;
}

async fn queues_share_the_slots_by_weight(mut herdsman: Herdsman) {
    let mut cluster = herdsman.cluster_service().await;
    let tasks = &mut herdsman.tasks;
    for at in 0..4 {
        submit(tasks, request(&format!("busy-{at}"), "sleep", "1h")).await;
        reaches(tasks, &format!("busy-{at}"), TaskState::Running).await;
    }
    update(&mut cluster, UpdateQueueRequest { weight: Some(3), ..nothing("two") }).await;
    for at in 0..12 {
        submit(tasks, of("one", &format!("one-{at}"), "noop", "")).await;
        submit(tasks, of("two", &format!("two-{at}"), "noop", "")).await;
    }
    cancel(tasks, "busy-0").await;
    let mut fences = Vec::new();
    for queue in ["one", "two"] {
        for at in 0..12 {
            fences.push((ended(tasks, &format!("{queue}-{at}")).await.fence, queue));
        }
    }
    fences.sort_unstable();
    let order: Vec<_> = fences.iter().map(|(_, queue)| *queue).collect();
    // While both wait, three of four are of the heavier one.
    for part in order[..16].chunks(4) {
        assert_eq!(part.iter().filter(|queue| **queue == "two").count(), 3, "{order:?}");
    }
}

async fn queues_are_listed_while_there_is_something_to_tell(mut herdsman: Herdsman) {
    let mut cluster = herdsman.cluster_service().await;
    let tasks = &mut herdsman.tasks;
    submit(tasks, of("one", "done", "noop", "")).await;
    submit(tasks, of("nobody-serves-it", "waits", "noop", "")).await;
    ended(tasks, "done").await;
    update(&mut cluster, UpdateQueueRequest { weight: Some(7), ..nothing("empty") }).await;
    let (mut queues, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = cluster.list_queues(ListQueuesRequest { page_size: 2, page_token }).await.unwrap().into_inner();
        assert!(page.queues.len() <= 2);
        queues.extend(page.queues);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let names: Vec<_> = queues.iter().map(|queue| queue.name.as_str()).collect();
    assert_eq!(names, ["empty", "nobody-serves-it", "one"]);
    let counts: Vec<_> = queues.iter().map(|queue| queue.tasks.unwrap()).collect();
    assert_eq!((counts[1].pending, counts[2].pending, counts[2].succeeded), (1, 0, 1));
    let weights: Vec<_> = queues.iter().map(|queue| queue.settings.unwrap().weight).collect();
    assert_eq!(weights, [7, 1, 1]);
    assert_eq!(queue(&mut cluster, "unheard-of").await.state(), QueueState::Open, "every name is a queue");
}

async fn settings_that_are_none_are_refused_by_name(herdsman: Herdsman) {
    let mut cluster = herdsman.cluster_service().await;
    let names = |status: &Status, field: &str| {
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations.iter().map(|violation| violation.field.as_str()).collect::<Vec<_>>(), [field]);
    };
    for (field, update) in [
        ("weight", UpdateQueueRequest { weight: Some(0), ..nothing("one") }),
        ("weight", UpdateQueueRequest { weight: Some(1_001), ..nothing("one") }),
        ("max_running", UpdateQueueRequest { max_running: Some(-1), ..nothing("one") }),
        ("max_starts_per_second", UpdateQueueRequest { max_starts_per_second: Some(-0.5), ..nothing("one") }),
        ("max_pending", UpdateQueueRequest { max_pending: Some(-1), ..nothing("one") }),
        ("name", nothing("")),
        ("name", nothing("Upper")),
    ] {
        names(&cluster.update_queue(update).await.unwrap_err(), field);
    }
    names(&cluster.pause_queue(PauseQueueRequest { name: "a/b".into() }).await.unwrap_err(), "name");
    names(&cluster.resume_queue(ResumeQueueRequest::default()).await.unwrap_err(), "name");
    names(&cluster.get_queue(GetQueueRequest::default()).await.unwrap_err(), "name");
    let strange = ListQueuesRequest { page_size: 1, page_token: "no token".into() };
    names(&cluster.list_queues(strange).await.unwrap_err(), "page_token");
    names(
        &cluster.list_queues(ListQueuesRequest { page_size: -1, ..Default::default() }).await.unwrap_err(),
        "page_size",
    );
    assert_eq!(queue(&mut cluster, "one").await.settings.unwrap().weight, 1, "nothing was changed");
}
