use std::sync::atomic::Ordering;

use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::StatusExt;

use super::{House, LIMIT, echo, next, next_state, within};
use crate::support::eventually;

async fn health(house: &House, service: &str) -> ServingStatus {
    let mut client = HealthClient::new(house.channel().await);
    let request = HealthCheckRequest { service: service.into() };
    client.check(request).await.unwrap().into_inner().status()
}

#[tokio::test]
async fn health_follows_the_link_to_the_leader() {
    let house = House::build().await;
    let names = ["", "herdsman.v1.TaskService", "herdsman.v1.ClusterService"];
    for name in names {
        assert_eq!(health(&house, name).await, ServingStatus::NotServing, "{name:?}");
    }
    let leader = house.leader(1).await;
    for name in names {
        eventually("it serves", LIMIT, async || (health(&house, name).await == ServingStatus::Serving).then_some(()))
            .await;
    }
    drop(leader);
    eventually("it does not serve", LIMIT, async || {
        (health(&house, "").await == ServingStatus::NotServing).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_service_that_stops_answers_its_calls_sends_its_watchers_away_and_says_goodbye() {
    let (house, leader) = House::lead().await;
    house.submit("a").await;
    let mut watch = house.watch("a", 0).await;
    next_state(&mut watch).await;
    leader.deaf.store(true, Ordering::SeqCst);
    let mut tasks = house.tasks().await;
    let under_way = tokio::spawn(async move { tasks.submit_task(echo("b")).await });
    let heard = house.world().heard.len();
    eventually("the submit is under way", LIMIT, async || (house.world().heard.len() > heard).then_some(())).await;
    house.shutdown.cancel();
    let status = next(&mut watch).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.get_details_error_info().unwrap().reason, "DRAINING");
    // The next leader answers what the first one did not.
    let next_leader = house.leader(2).await;
    within(under_way).await.unwrap().unwrap();
    within(house.service).await.unwrap().unwrap();
    let mut goodbyes = next_leader.goodbyes.clone();
    within(goodbyes.wait_for(|&goodbyes| goodbyes == 1)).await.unwrap();
}

#[tokio::test]
async fn an_idle_service_without_a_leader_stops() {
    let house = House::build().await;
    house.tasks().await;
    house.shutdown.cancel();
    within(house.service).await.unwrap().unwrap();
}
