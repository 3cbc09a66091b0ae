//! ZooKeeper itself goes away, or was never there.

use std::{sync::Arc, time::Duration};

use herdsman::{
    domain::Term,
    store::{
        Leadership, Store, StoreError,
        zookeeper::{ZooKeeperOptions, ZooKeeperStore},
    },
};
use tokio::sync::watch;

use super::{Candidate, SOON, candidate, connect, leading::patient, offer, soon, submitted};
use crate::support::{
    eventually,
    zookeeper::{Ensemble, Server, fresh_chroot, options, shared},
};

/// What the program promises for a ZooKeeper that cannot be reached.
const PROMISE: Duration = Duration::from_secs(10);
/// For an ensemble to elect a leader and serve again, on a busy machine.
const ELECTION_LIMIT: Duration = Duration::from_mins(1);

/// Stands in line again until it leads, as a master does.
async fn campaign_until_it_leads(store: &Arc<ZooKeeperStore>, candidate: &Candidate) -> Box<dyn Leadership> {
    eventually("it leads", ELECTION_LIMIT, async || store.campaign(candidate).await.ok()).await
}

async fn leads(leader: &mut watch::Receiver<Option<herdsman::store::Leader>>, term: Term) {
    let led = leader.wait_for(|leader| leader.as_ref().is_some_and(|leader| leader.term == term));
    soon("the follower sees it", led).await.unwrap();
}

async fn refusal(options: ZooKeeperOptions) -> String {
    let connected = tokio::time::timeout(PROMISE, ZooKeeperStore::connect(options)).await.expect("in time");
    match connected.err().expect("nobody is there") {
        StoreError::Unreachable(text) => text,
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn an_unreachable_zookeeper_is_told_in_one_line_and_in_time() {
    let text = refusal(options("127.0.0.1:1,127.0.0.1:2", "/x")).await;
    assert!(text.contains("127.0.0.1:1 (connection refused)") && text.contains("127.0.0.1:2 ("), "{text}");
    assert!(!text.contains('\n'), "{text}");
    let text = refusal(options("no-such-host.invalid:2181", "")).await;
    assert!(text.contains("no-such-host.invalid:2181 (no such host)"), "{text}");

    let server = Server::start();
    server.pause();
    let text =
        refusal(ZooKeeperOptions { session_timeout: Duration::from_secs(30), ..options(&server.address(), "/x") });
    let text = text.await;
    assert!(text.contains(&format!("{} (accepts connections", server.address())), "{text}");
    server.resume();
}

#[tokio::test]
async fn options_that_cannot_be_used_are_refused_with_the_reason() {
    for text in ["", "zk:port", "127.0.0.1:2181/a//b"] {
        let error = ZooKeeperStore::connect(options(text, "")).await.err().expect("it is refused").to_string();
        assert!(error.contains(&format!("{text:?}")), "{error}");
    }
    let error = connect(&options(&shared().address(), &fresh_chroot())).await;
    let bad = Candidate { address: "nowhere".into(), ..candidate(1) };
    assert!(matches!(error.campaign(&bad).await.err(), Some(StoreError::Broken(_))));
}

#[tokio::test]
async fn a_commit_without_an_answer_is_in_doubt() {
    let server = Server::start();
    let store = connect(&options(&server.address(), &fresh_chroot())).await;
    let mut leader = store.campaign(&candidate(1)).await.unwrap();
    leader.load().await.unwrap();
    server.pause();
    let commits: Vec<_> = (0..3).map(|n| leader.commit(vec![submitted(&format!("t{n}"), b"")])).collect();
    for commit in commits {
        soon("it is not waited for for ever", commit).await.unwrap_err();
    }
    soon("the leadership is over", leader.lost().cancelled_owned()).await;
    server.resume();
}

#[tokio::test]
async fn followers_and_members_survive_a_restart_of_zookeeper() {
    let server = Server::start();
    let store = connect(&options(&server.address(), &fresh_chroot())).await;
    let me = candidate(1);
    let mut follower = store.follow();
    assert_eq!(*follower.borrow(), None);
    let old = store.campaign(&me).await.unwrap();
    let registration = store.register(&offer("w1", 1)).await.unwrap();
    leads(&mut follower, old.term()).await;

    server.kill();
    soon("the leader steps down", old.lost().cancelled_owned()).await;
    soon("the worker knows", registration.lost().cancelled_owned()).await;
    assert_eq!(follower.borrow().as_ref().map(|leader| leader.term), Some(old.term()), "an outage is no news");
    server.restart();

    drop((old, registration));
    let leader = campaign_until_it_leads(&store, &me).await;
    leads(&mut follower, leader.term()).await;
    let _registration = eventually("it registers", SOON, async || store.register(&offer("w1", 1)).await.ok()).await;
    soon("the worker is back", leader.members().wait_for(|members| members.len() == 1)).await.unwrap();
    leader.resign().await;
    soon("nobody leads", follower.wait_for(Option::is_none)).await.unwrap();
}

#[tokio::test]
async fn a_leader_that_lost_its_connection_steps_down_though_its_session_lives() {
    let server = Server::start();
    let place = options(&server.address(), &fresh_chroot());
    let store = connect(&patient(place)).await;
    let leader = store.campaign(&candidate(1)).await.unwrap();
    server.kill();
    server.restart();
    soon("the leader steps down", leader.lost().cancelled_owned()).await;
}

#[tokio::test]
async fn what_was_committed_survives_the_leader_of_the_ensemble() {
    let ensemble = Ensemble::start();
    let store = connect(&options(&ensemble.addresses(), &fresh_chroot())).await;
    let me = candidate(1);
    let mut leader = store.campaign(&me).await.unwrap();
    leader.load().await.unwrap();

    let mut committed = 0;
    let mut killed = false;
    for n in 0.. {
        if n == 50 {
            ensemble.leader().kill();
            killed = true;
        }
        match leader.commit(vec![submitted(&format!("t{n}"), b"")]).await {
            Ok(()) => committed = n + 1,
            Err(_) => break,
        }
        assert!(n < 100_000, "the death of the ensemble's leader cuts every session's connection");
    }
    assert!(killed && committed >= 50);
    drop(leader);

    let mut leader = campaign_until_it_leads(&store, &me).await;
    let loaded = leader.load().await.unwrap();
    let found = loaded.tasks.len();
    assert!(found == committed || found == committed + 1, "{found} of {committed}, the last one in doubt");
    leader.commit(vec![submitted("after", b"")]).await.unwrap();
}
