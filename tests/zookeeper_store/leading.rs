//! Who leads, and that nobody else writes.

use std::time::Duration;

use herdsman::store::{Leader, Store, StoreError, zookeeper::ZooKeeperOptions};

use super::{SOON, campaign, candidate, connect, find, line, line_of, offer, soon, submitted};
use crate::support::{
    eventually,
    proxy::Proxy,
    zookeeper::{fresh_chroot, fresh_options, options, shared, witness},
};

/// The longest that the servers grant, and longer than [`SOON`] waits: what happens soon has not waited for an expiry.
const NEVER_EXPIRES: Duration = Duration::from_secs(20);

pub(super) fn patient(mut options: ZooKeeperOptions) -> ZooKeeperOptions {
    options.session_timeout = NEVER_EXPIRES;
    options
}

/// The same tree, directly and through a network that can fail.
pub(super) async fn two_ways() -> (ZooKeeperOptions, ZooKeeperOptions, Proxy) {
    let chroot = fresh_chroot();
    let proxy = Proxy::start(shared().port()).await;
    let through = options(&proxy.address(), &chroot);
    (options(&shared().address(), &chroot), through, proxy)
}

#[tokio::test]
async fn ghost_election_node() {
    let (direct, through, proxy) = two_ways().await;
    connect(&direct).await.campaign(&candidate(1)).await.unwrap().resign().await;
    let client = witness(&direct).await;
    line_of(&client, 0).await;

    let store = connect(&patient(through)).await;
    let me = candidate(2);
    proxy.hold_replies_from(b"latch-");
    let first = campaign(&store, &me);
    let ghost = line_of(&client, 1).await;
    proxy.cut();
    assert!(matches!(soon("the candidacy ends", first).await.unwrap(), Err(StoreError::Lost(_))));
    assert_eq!(line(&client).await, ghost, "its node outlives it");

    // It cannot even say goodbye, and it lives for longer than this test waits.
    proxy.admit_new_sessions_only();
    let leader = soon("the ghost blocks nobody", store.campaign(&me)).await.unwrap();
    assert!(!line(&client).await.contains(&ghost[0]));
    leader.resign().await;
}

#[tokio::test]
async fn pipelined_multis_after_a_failed_one_do_not_take_effect() {
    let options = fresh_options();
    let store = connect(&options).await;
    let mut leader = store.campaign(&candidate(1)).await.unwrap();
    leader.load().await.unwrap();
    leader.commit(vec![submitted("clash", b"")]).await.unwrap();
    let client = witness(&options).await;

    let before = leader.commit(vec![submitted("before", b"")]);
    let failed = leader.commit(vec![submitted("clash", b"")]);
    let after: Vec<_> = (0..20).map(|n| leader.commit(vec![submitted(&format!("after-{n}"), b"")])).collect();
    before.await.unwrap();
    failed.await.unwrap_err();
    for commit in after {
        commit.await.unwrap_err();
    }
    assert!(leader.lost().is_cancelled());
    leader.commit(vec![submitted("much-later", b"")]).await.unwrap_err();

    line_of(&client, 0).await;
    assert!(find(&client, "before").await.is_some());
    for id in ["after-0", "after-19", "much-later"] {
        assert_eq!(find(&client, id).await, None, "{id}");
    }
}

#[tokio::test]
async fn a_deposed_leader_cannot_write() {
    let (direct, through, proxy) = two_ways().await;
    let store = connect(&patient(through)).await;
    let mut leader = store.campaign(&candidate(1)).await.unwrap();
    leader.load().await.unwrap();
    let client = witness(&direct).await;

    // It is not told that it is deposed before it has written.
    proxy.hold_replies();
    client.delete(&line(&client).await[0], None).await.unwrap();
    let commit = leader.commit(vec![submitted("late", b"")]);
    let chain = client.check_stat("/tasks").await.unwrap().unwrap().version;
    tokio::task::yield_now().await;
    proxy.release();
    soon("the commit ends", commit).await.unwrap_err();
    soon("it is told", leader.lost().cancelled_owned()).await;

    // Its session ends behind its last request.
    eventually("its session ends", SOON, async || client.check_stat("/master").await.unwrap().is_none().then_some(()))
        .await;
    assert_eq!(find(&client, "late").await, None);
    assert_eq!(client.check_stat("/tasks").await.unwrap().unwrap().version, chain);
}

#[tokio::test]
async fn a_leader_that_was_cut_off_is_fenced_when_its_requests_arrive_at_last() {
    let (direct, through, proxy) = two_ways().await;
    let cut_off = connect(&through).await;
    let mut old = cut_off.campaign(&candidate(1)).await.unwrap();
    old.load().await.unwrap();
    old.commit(vec![submitted("in-time", b"")]).await.unwrap();

    let store = connect(&direct).await;
    let next = campaign(&store, &candidate(2));
    proxy.hold_requests();
    let late = old.commit(vec![submitted("late", b"")]);
    soon("it steps down by itself", old.lost().cancelled_owned()).await;
    soon("the commit ends", late).await.unwrap_err();

    let mut leader = soon("the session expires", next).await.unwrap().unwrap();
    assert!(leader.term() > old.term());
    proxy.release();
    let loaded = leader.load().await.unwrap();
    leader.commit(vec![submitted("new", b"")]).await.unwrap();
    assert_eq!(loaded.tasks.len(), 1);
    assert_eq!(find(&witness(&direct).await, "late").await, None);
}

#[tokio::test]
async fn master_after_a_session_change() {
    let (direct, through, proxy) = two_ways().await;
    let (first, second) = (candidate(1), candidate(2));
    let old = connect(&through).await.campaign(&first).await.unwrap();
    let client = witness(&direct).await;
    let old_owner = client.check_stat("/master").await.unwrap().unwrap().ephemeral_owner;

    // The session of the old leader lives on: nothing of it reaches the server any more, not even its end.
    let store = connect(&direct).await;
    let next = campaign(&store, &second);
    line_of(&client, 2).await;
    proxy.hold_requests();
    let suspect = Leader { address: first.address.clone(), term: old.term() };
    assert!(store.depose(&suspect, &second).await.unwrap());
    let leader = soon("the next takes over", next).await.unwrap().unwrap();

    let owner = client.check_stat("/master").await.unwrap().unwrap().ephemeral_owner;
    let node = client.check_stat(&line(&client).await[0]).await.unwrap().unwrap();
    assert_eq!(owner, node.ephemeral_owner, "it is the new session's");
    assert_ne!(owner, old_owner);
    drop(old);
    proxy.release();
    let (data, _) = client.get_data("/master").await.unwrap();
    let data: serde_json::Value = serde_json::from_slice(&data).unwrap();
    assert_eq!(data, serde_json::json!({"host": "127.0.0.1", "port": 2, "term": leader.term().0}));
}

#[tokio::test]
async fn only_the_first_in_line_deposes_and_only_that_leader() {
    let store = connect(&patient(fresh_options())).await;
    let [a, b, c] = [1, 2, 3].map(candidate);
    let leader = store.campaign(&a).await.unwrap();
    let mut follower = store.follow();
    let suspect = soon("it is announced", follower.wait_for(Option::is_some)).await.unwrap().clone().unwrap();
    assert_eq!(suspect, Leader { address: a.address.clone(), term: leader.term() });
    assert!(!store.depose(&suspect, &b).await.unwrap(), "it is not in line");

    let second = campaign(&store, &b);
    eventually("it stands in line", SOON, async || {
        // A wrong suspicion of another term changes nothing, whoever has it.
        let other = Leader { term: herdsman::domain::Term(suspect.term.0 + 1), ..suspect.clone() };
        assert!(!store.depose(&other, &b).await.unwrap());
        assert!(!store.depose(&suspect, &c).await.unwrap(), "another is first in line");
        store.depose(&suspect, &b).await.unwrap().then_some(())
    })
    .await;
    soon("the deposed one notices", leader.lost().cancelled_owned()).await;
    let second = soon("the first in line leads", second).await.unwrap().unwrap();
    assert!(!store.depose(&suspect, &c).await.unwrap());
    let announced = soon(
        "it is announced",
        follower.wait_for(|leader| leader.as_ref().is_some_and(|leader| leader.term == second.term())),
    );
    assert_eq!(announced.await.unwrap().as_ref().unwrap().address, b.address);
}

#[tokio::test]
async fn a_leader_that_resigns_hands_over_at_once() {
    let options = patient(fresh_options());
    let store = connect(&options).await;
    let leader = store.campaign(&candidate(1)).await.unwrap();
    let lost = leader.lost();
    let next = campaign(&store, &candidate(2));
    line_of(&witness(&options).await, 2).await;
    leader.resign().await;
    assert!(lost.is_cancelled());
    soon("the next leads", next).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_candidate_that_is_dropped_leaves_the_line() {
    let options = patient(fresh_options());
    let store = connect(&options).await;
    let leader = store.campaign(&candidate(1)).await.unwrap();
    let waiting = campaign(&store, &candidate(2));
    let client = witness(&options).await;
    line_of(&client, 2).await;
    waiting.abort();
    line_of(&client, 1).await;
    // And so does a leader.
    drop(leader);
    line_of(&client, 0).await;
    soon("nobody is in the way", store.campaign(&candidate(3))).await.unwrap();
}

#[tokio::test]
async fn a_term_is_never_led_twice() {
    let options = fresh_options();
    let store = connect(&options).await;
    for _ in 0..3 {
        store.campaign(&candidate(1)).await.unwrap().resign().await;
    }
    // Somebody removes the line, and with it the count.
    let client = witness(&options).await;
    line_of(&client, 0).await;
    client.delete("/election", None).await.unwrap();
    let error = store.campaign(&candidate(1)).await.err().expect("a term cannot repeat");
    assert!(matches!(&error, StoreError::Broken(text) if text.contains("/election")), "{error}");
}

#[tokio::test]
async fn a_tree_of_another_format_is_not_led() {
    let options = fresh_options();
    let store = connect(&options).await;
    store.campaign(&candidate(1)).await.unwrap().resign().await;
    let client = witness(&options).await;
    client.set_data("/", b"3", None).await.unwrap();
    let error = store.campaign(&candidate(1)).await.err().expect("it must not lead");
    assert!(matches!(&error, StoreError::Format { found, known: 2 } if found == "3"), "{error}");
    assert!(line(&client).await.is_empty());
}

#[tokio::test]
async fn a_newer_incarnation_takes_the_membership_over() {
    let options = patient(fresh_options());
    let store = connect(&options).await;
    // Before the first master.
    let first = store.register(&offer("w1", 1)).await.unwrap();
    let leader = store.campaign(&candidate(1)).await.unwrap();
    let mut members = leader.members();
    let worker = "w1".parse().unwrap();
    assert_eq!(members.borrow()[&worker].incarnation.0, [1; 16], "a leader begins with the members as they are");

    let second = store.register(&offer("w1", 2)).await.unwrap();
    soon("the first is told", first.lost().cancelled_owned()).await;
    first.unregister().await;
    soon(
        "the leader is told",
        members.wait_for(|members| members.get(&worker).is_some_and(|member| member.incarnation.0 == [2; 16])),
    )
    .await
    .unwrap();
    let client = witness(&options).await;
    client.create("/workers/NOT.A.WORKER", b"", &persistent()).await.unwrap();
    client.create("/workers/odd", b"{}", &persistent()).await.unwrap();
    second.unregister().await;
    soon("nobody is left", members.wait_for(std::collections::BTreeMap::is_empty)).await.unwrap();
    assert!(!leader.lost().is_cancelled());
}

fn persistent() -> zookeeper_client::CreateOptions<'static> {
    zookeeper_client::CreateMode::Persistent.with_acls(zookeeper_client::Acls::anyone_all())
}

#[tokio::test]
async fn a_leader_whose_announcement_was_tampered_with_leads_again() {
    let options = fresh_options();
    let store = connect(&options).await;
    let client = witness(&options).await;
    for tamper in ["delete", "overwrite"] {
        let leader = store.campaign(&candidate(1)).await.unwrap();
        let (term, lost) = (leader.term(), leader.lost());
        if tamper == "delete" {
            client.delete("/master", None).await.unwrap();
        } else {
            let other = format!("{{\"host\":\"127.0.0.1\",\"port\":1,\"term\":{}}}", term.0 + 99_999);
            client.set_data("/master", other.as_bytes(), None).await.unwrap();
        }
        soon(tamper, lost.cancelled()).await;
        drop(leader);
        let next = soon("somebody leads again", store.campaign(&candidate(1))).await.unwrap();
        let (data, _) = client.get_data("/master").await.unwrap();
        let announced: serde_json::Value = serde_json::from_slice(&data).unwrap();
        assert_eq!(announced["term"], next.term().0, "{tamper}");
        next.resign().await;
    }
}

#[tokio::test]
async fn a_foreign_child_below_the_announcement_stops_no_leader() {
    let options = fresh_options();
    let store = connect(&options).await;
    store.campaign(&candidate(1)).await.unwrap().resign().await;
    let client = witness(&options).await;
    let foreign = zookeeper_client::CreateMode::Persistent.with_acls(zookeeper_client::Acls::anyone_all());
    client.create("/master", b"junk", &foreign).await.unwrap();
    client.create("/master/x", b"", &foreign).await.unwrap();
    soon("somebody leads", store.campaign(&candidate(1))).await.unwrap().resign().await;
}

#[tokio::test]
async fn a_candidate_that_waited_does_not_lead_a_tree_of_another_format() {
    let options = fresh_options();
    let store = connect(&options).await;
    let leader = store.campaign(&candidate(1)).await.unwrap();
    let client = witness(&options).await;
    let waiting = campaign(&store, &candidate(2));
    line_of(&client, 2).await;
    client.set_data("/", b"3", None).await.unwrap();
    leader.resign().await;
    let refused = soon("the candidacy ends", waiting).await.unwrap();
    assert!(matches!(refused, Err(StoreError::Format { .. })), "{:?}", refused.err());
}

#[tokio::test]
async fn a_worker_whose_membership_was_overwritten_is_told_so() {
    let options = fresh_options();
    let store = connect(&options).await;
    let registration = store.register(&offer("w", 1)).await.unwrap();
    witness(&options).await.set_data("/workers/w", b"{junk", None).await.unwrap();
    soon("it registers again", registration.lost().cancelled()).await;
}
