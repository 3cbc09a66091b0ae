use std::{sync::atomic::Ordering, time::Duration};

use herdsman::{
    domain::{Call, TaskState},
    wire::proto::v1::TaskState as ProtoState,
};

use super::{House, LIMIT, echo, next, next_state, within};
use crate::support::eventually;

fn submits(house: &House) -> Vec<(String, Duration)> {
    let submit = |call: &Call| match call {
        Call::Submit { task_id, time_left, .. } => Some((task_id.to_string(), *time_left)),
        _ => None,
    };
    house.world().heard.iter().filter_map(submit).collect()
}

#[tokio::test]
async fn an_unanswered_submit_is_asked_again_at_the_next_leader_and_answered_once() {
    let (house, first) = House::lead().await;
    first.deaf.store(true, Ordering::SeqCst);
    let mut tasks = house.tasks().await;
    let submit = tokio::spawn(async move { tasks.submit_task(echo("")).await });
    eventually("the submit reaches the first leader", LIMIT, async || submits(&house).first().map(|_| ())).await;
    drop(first);
    let _second = house.leader(2).await;
    let task = within(submit).await.unwrap().unwrap().into_inner().task.unwrap();
    let heard = submits(&house);
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[0].0, heard[1].0);
    assert_eq!(heard[0].0, task.task_id);
    assert!(heard[1].1 < heard[0].1, "the time left counts down: {heard:?}");
    assert_eq!(house.world().tasks.len(), 1);
}

#[tokio::test]
async fn a_call_whose_caller_has_gone_is_not_asked_again() {
    let (house, first) = House::lead().await;
    first.deaf.store(true, Ordering::SeqCst);
    let mut tasks = house.tasks().await;
    let submit = tokio::spawn(async move { tasks.submit_task(echo("gone")).await });
    eventually("the submit reaches the first leader", LIMIT, async || submits(&house).first().map(|_| ())).await;
    submit.abort();
    eventually("the service knows that it has gone", LIMIT, async || {
        house.metrics().await.contains("herdsman_client_link_outstanding_calls 0").then_some(())
    })
    .await;
    drop(first);
    let _second = house.leader(2).await;
    house.submit("stays").await;
    let heard: Vec<_> = submits(&house).into_iter().map(|(id, _)| id).collect();
    assert_eq!(heard, ["gone", "stays"]);
}

#[tokio::test]
async fn a_watch_follows_its_task_across_leaders_and_misses_no_end() {
    let (house, first) = House::lead().await;
    house.submit("a").await;
    let mut watch = house.watch("a", 0).await;
    let (state, pending) = next_state(&mut watch).await;
    assert_eq!(state, TaskState::Pending);
    house.change("a", TaskState::Running);
    let (state, running) = next_state(&mut watch).await;
    assert_eq!((state, running > pending), (TaskState::Running, true));
    drop(first);
    // Nobody is told of this.
    house.change("a", TaskState::Pending);
    let _second = house.leader(2).await;
    let (state, again) = next_state(&mut watch).await;
    assert_eq!((state, again > running), (TaskState::Pending, true));
    house.change("a", TaskState::Succeeded);
    let last = next(&mut watch).await.unwrap().unwrap().task.unwrap();
    assert_eq!((last.state(), last.result.as_ref()), (ProtoState::Succeeded, b"hello".as_slice()));
    assert!(next(&mut watch).await.unwrap().is_none());
}

#[tokio::test]
async fn a_leader_of_a_lower_term_is_dropped() {
    let (house, first) = House::lead().await;
    let third = house.leader(3).await;
    house.submit("a").await;
    drop((first, third));
    // The store says term 4, but the process at that address leads an older one.
    let mut stale = house.leader(2).await;
    let mut claimed = stale.leader();
    claimed.term = herdsman::domain::Term(4);
    house.known_leader.send_replace(Some(claimed));
    within(stale.hellos.wait_for(|&hellos| hellos > 0)).await.unwrap();
    let mut tasks = house.tasks().await;
    let submit = tokio::spawn(async move { tasks.submit_task(echo("b")).await });
    let heard_before = house.world().heard.len();
    within(stale.hellos.wait_for(|&hellos| hellos > 1)).await.unwrap();
    assert_eq!(house.world().heard.len(), heard_before);
    let _fourth = house.leader(4).await;
    within(submit).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_leader_of_a_higher_term_is_followed_at_once_though_the_old_one_still_talks() {
    let (house, old) = House::lead().await;
    house.submit("a").await;
    old.deaf.store(true, Ordering::SeqCst);
    let _new = house.leader(2).await;
    within(house.submit("b")).await;
    let mut ends = old.ends.clone();
    within(ends.wait_for(|&ends| ends == 1)).await.unwrap();
}
