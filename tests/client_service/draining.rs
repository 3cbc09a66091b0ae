//! Who waits for a drain.

use herdsman::{
    domain::{Call, DrainView, WorkerState, WorkerView},
    wire::proto::v1::{WatchDrainRequest, cluster_service_client::ClusterServiceClient},
};
use tonic::Code;
use tonic_types::StatusExt;

use super::{House, LIMIT, within};
use crate::support::eventually;

/// Most streams at once.
const MAX_STREAMS: usize = 256;

fn drain(busy_slots: u32) -> DrainView {
    let worker = WorkerView {
        worker_id: "w1".parse().unwrap(),
        incarnation: None,
        state: WorkerState::Draining,
        busy_slots,
        drained: true,
        offer: None,
    };
    DrainView { worker, empty: busy_slots == 0 }
}

fn request() -> WatchDrainRequest {
    WatchDrainRequest { worker_id: "w1".into() }
}

#[tokio::test]
async fn what_is_told_once_more_is_not_told_on() {
    let (house, _leader) = House::lead().await;
    house.world().drains = [2, 2, 2, 1, 0].map(drain).into();
    let mut client = ClusterServiceClient::new(house.channel().await);
    let mut drains = client.watch_drain(request()).await.unwrap().into_inner();
    for expected in [(2, false), (1, false), (0, true)] {
        let told = within(drains.message()).await.unwrap().unwrap();
        assert_eq!((told.worker.unwrap().busy_slot_count, told.empty), expected);
    }
    assert_eq!(within(drains.message()).await.unwrap(), None);
    let asked: Vec<_> = house
        .world()
        .heard
        .iter()
        .map(|call| match call {
            Call::AwaitDrain { known_busy, .. } => *known_busy,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(asked, [None, Some(2), Some(2), Some(2), Some(1)]);
}

#[tokio::test]
async fn no_more_wait_than_may() {
    let (house, _leader) = House::lead().await;
    let mut client = ClusterServiceClient::new(house.channel().await);
    let mut open = Vec::new();
    for at in 1..=MAX_STREAMS {
        house.world().drains.push_back(drain(1));
        open.push(within(client.watch_drain(request())).await.unwrap().into_inner());
        let waits = async || (house.world().heard.len() == 2 * at).then_some(());
        eventually("it waits for more", LIMIT, waits).await;
    }
    let status = within(client.watch_drain(request())).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.get_details_error_info().unwrap().reason, "TOO_MANY_WATCHES");
}
