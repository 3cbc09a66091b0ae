use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream::FuturesUnordered};
use herdsman::{
    domain::TaskState,
    wire::proto::v1::{
        SubmitTaskRequest, TaskFilter, TaskIds, WatchTaskRequest, WatchTasksRequest, WatchTasksResponse,
        task_service_client::TaskServiceClient, watch_tasks_request::Target,
    },
};
use tonic::{Code, Streaming};
use tonic_types::StatusExt;

use super::{House, LIMIT, echo, id, next, next_state, within};
use crate::support::eventually;

async fn watch_tasks(house: &House, target: Target, after_revision: u64) -> Streaming<WatchTasksResponse> {
    let request = WatchTasksRequest { target: Some(target), after_revision };
    house.tasks().await.watch_tasks(request).await.unwrap().into_inner()
}

async fn next_id(stream: &mut Streaming<WatchTasksResponse>) -> (String, u64) {
    let response = next(stream).await.unwrap().expect("the stream goes on");
    (response.task.unwrap().task_id, response.resume_revision)
}

#[tokio::test]
async fn a_resumed_watch_begins_after_what_its_client_knows() {
    let (house, _leader) = House::lead().await;
    let known = house.submit("a").await.revision;
    let mut watch = house.watch("a", known).await;
    // The first state is in when the service has asked for it; then there is a change to tell.
    eventually("the watch reaches the leader", LIMIT, async || {
        house.world().heard.iter().any(|call| matches!(call, herdsman::domain::Call::Watch { .. })).then_some(())
    })
    .await;
    house.change("a", TaskState::Running);
    assert_eq!(next_state(&mut watch).await.0, TaskState::Running);
    house.change("a", TaskState::Succeeded);
    let (state, ended) = next_state(&mut watch).await;
    assert_eq!(state, TaskState::Succeeded);
    // The end is told even to who knows it.
    let mut late = house.watch("a", ended).await;
    assert_eq!(next_state(&mut late).await, (TaskState::Succeeded, ended));
    assert!(next(&mut late).await.unwrap().is_none());
}

#[tokio::test]
async fn an_unknown_task_cannot_be_watched() {
    let (house, _leader) = House::lead().await;
    house.submit("a").await;
    let mut one = house.watch("nobody", 0).await;
    let status = next(&mut one).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.get_details_error_info().unwrap().metadata["task_id"], "nobody");
    let ids = TaskIds { task_ids: vec!["a".into(), "nobody".into()] };
    let mut many = watch_tasks(&house, Target::Ids(ids), 0).await;
    assert_eq!(many.by_ref().try_collect::<Vec<_>>().await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_watch_of_many_ids_ends_when_all_have_ended() {
    let (house, _leader) = House::lead().await;
    let names: Vec<_> = (0..100).map(|at| format!("t{at:03}")).collect();
    for name in &names {
        house.world().submit(&id(name), &std::sync::Arc::new(spec()));
    }
    let mut watch = watch_tasks(&house, Target::Ids(TaskIds { task_ids: names.clone() }), 0).await;
    for _ in &names {
        next_id(&mut watch).await;
    }
    for name in &names {
        house.change(name, TaskState::Succeeded);
    }
    let ends: Vec<_> = within(watch.try_collect()).await.unwrap();
    assert_eq!(ends.len(), names.len());
    assert!(
        ends.windows(2).all(|pair| pair[0].task.as_ref().unwrap().revision < pair[1].task.as_ref().unwrap().revision)
    );
    assert!(ends.iter().all(|end| end.task.as_ref().unwrap().result == "hello"));
}

#[tokio::test]
async fn a_watch_by_filter_is_resumed_by_its_revision() {
    let (house, _leader) = House::lead().await;
    house.submit("a").await;
    house.submit("b").await;
    let mut watch = watch_tasks(&house, Target::Filter(TaskFilter::default()), 0).await;
    let (first, before_all) = next_id(&mut watch).await;
    let (second, resume) = next_id(&mut watch).await;
    assert_eq!((first.as_str(), second.as_str(), before_all), ("a", "b", 0));
    assert!(resume > 0);
    house.change("a", TaskState::Running);
    let (changed, resume) = next_id(&mut watch).await;
    assert_eq!(changed, "a");
    drop(watch);
    house.change("b", TaskState::Running);
    let mut resumed = watch_tasks(&house, Target::Filter(TaskFilter::default()), resume).await;
    assert_eq!(next_id(&mut resumed).await.0, "b");
}

#[tokio::test]
async fn a_slow_reader_is_told_the_end_and_how_much_it_missed() {
    const CHANGES: u32 = 3_000;
    let (house, _leader) = House::lead().await;
    let mut request = echo("a");
    // Large enough that no buffer on the way holds all the changes.
    let labels = (0..16).map(|at| (format!("l{at}"), "x".repeat(255)));
    request.spec.as_mut().unwrap().labels = labels.collect();
    submit(&house, request).await;
    let mut watch = house.watch("a", 0).await;
    assert_eq!(next_state(&mut watch).await.0, TaskState::Pending);
    for change in 1..CHANGES {
        house.change("a", if change % 2 == 0 { TaskState::Pending } else { TaskState::Running });
    }
    house.change("a", TaskState::Succeeded);
    // All of them are here when somebody who reads has been told the end.
    let mut reader = house.watch("a", 0).await;
    while next_state(&mut reader).await.0 != TaskState::Succeeded {}
    let told: Vec<_> = within(watch.try_collect()).await.unwrap();
    let skipped: u32 = told.iter().map(|update| update.skipped).sum();
    let told_count = u32::try_from(told.len()).unwrap();
    assert_eq!(told_count + skipped, CHANGES);
    assert!(skipped > CHANGES / 2, "{skipped} skipped, {told_count} told");
    assert_eq!(told.last().unwrap().task.as_ref().unwrap().result, "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_watchers_of_one_task_are_all_told_its_end() {
    const WATCHERS: usize = 10_000;
    const CONNECTIONS: usize = 4;
    let (house, _leader) = House::lead().await;
    house.submit("a").await;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(TaskServiceClient::new(house.channel().await));
    }
    let opening: FuturesUnordered<_> = (0..WATCHERS)
        .map(|at| {
            let mut client = clients[at % CONNECTIONS].clone();
            async move {
                let request = WatchTaskRequest { task_id: "a".into(), after_revision: 0 };
                let mut watch = client.watch_task(request).await.unwrap().into_inner();
                assert_eq!(next_state(&mut watch).await.0, TaskState::Pending);
                watch
            }
        })
        .collect();
    let watches: Vec<_> = within(opening.collect()).await;
    house.change("a", TaskState::Succeeded);
    for mut watch in watches {
        assert_eq!(next_state(&mut watch).await.0, TaskState::Succeeded);
        assert!(next(&mut watch).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_age_and_can_be_resumed() {
    let house = House::build_with(|options| options.max_watch_age = Duration::from_millis(200)).await;
    let _leader = house.leader(1).await;
    house.submit("a").await;
    let mut watch = house.watch("a", 0).await;
    let (_, known) = next_state(&mut watch).await;
    assert!(next(&mut watch).await.unwrap().is_none());
    house.change("a", TaskState::Succeeded);
    assert_eq!(next_state(&mut house.watch("a", known).await).await.0, TaskState::Succeeded);
}

#[tokio::test]
async fn there_are_no_more_streams_than_allowed() {
    let house = House::build_with(|options| options.max_watches = 1).await;
    let _leader = house.leader(1).await;
    house.submit("a").await;
    let first = house.watch("a", 0).await;
    let mut tasks = house.tasks().await;
    let request = WatchTaskRequest { task_id: "a".into(), after_revision: 0 };
    assert_eq!(tasks.watch_task(request.clone()).await.unwrap_err().code(), Code::ResourceExhausted);
    drop(first);
    eventually("the place is free again", LIMIT, async || tasks.watch_task(request.clone()).await.ok()).await;
}

fn spec() -> herdsman::domain::TaskSpec {
    herdsman::domain::TaskSpec::new("echo".parse().unwrap(), b"hello")
}

async fn submit(house: &House, request: SubmitTaskRequest) {
    house.tasks().await.submit_task(request).await.unwrap();
}
