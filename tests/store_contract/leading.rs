//! Who leads and who is a member: one leader at a time, in the order of the line, and nobody writes after his term.

use std::{collections::BTreeSet, sync::Arc};

use herdsman::{
    domain::{Change, Incarnation, Member, Term, WorkerOffer},
    store::{Leader, Leadership, Members, Store, StoreError},
};
use tokio::{sync::watch, task::JoinHandle};

use super::{
    LIMIT, candidate, lead, lead_as,
    samples::{submission, worker},
};
use crate::support::eventually;

type Campaign = JoinHandle<Result<Box<dyn Leadership>, StoreError>>;

fn campaign(store: &Arc<dyn Store>, candidate: &herdsman::store::Candidate) -> Campaign {
    let (store, candidate) = (store.clone(), candidate.clone());
    tokio::spawn(async move { store.campaign(&candidate).await })
}

async fn won(campaign: Campaign) -> Box<dyn Leadership> {
    let result = tokio::time::timeout(LIMIT, campaign).await.expect("the campaign is won in time");
    result.expect("the campaign does not panic").expect("the campaign is won")
}

async fn until<T: Clone>(what: &str, receiver: &mut watch::Receiver<T>, mut condition: impl FnMut(&T) -> bool) {
    let changed = tokio::time::timeout(LIMIT, receiver.wait_for(|value| condition(value))).await;
    changed.unwrap_or_else(|_| panic!("not in time: {what}")).expect("the receiver lives");
}

/// Deposes as soon as the candidate is next in line.
async fn depose(store: &Arc<dyn Store>, suspect: &Leader, candidate: &herdsman::store::Candidate) {
    eventually("the suspect is deposed", LIMIT, async || {
        store.depose(suspect, candidate).await.expect("the store answers").then_some(())
    })
    .await;
}

pub async fn a_higher_term_follows_each_campaign(store: Arc<dyn Store>) {
    let mut before = Term(0);
    for round in 0..4 {
        let (leadership, _) = lead(&store).await;
        assert!(leadership.term() > before, "{} after {before}", leadership.term());
        before = leadership.term();
        if round % 2 == 0 {
            leadership.resign().await;
        }
    }
}

pub async fn a_second_candidate_waits_and_wins_when_the_first_resigns(store: Arc<dyn Store>) {
    let (mut first, _) = lead_as(&store, &candidate("first:1")).await;
    let second = campaign(&store, &candidate("second:2"));
    // While the first leads and writes, nobody else does.
    for at in 0..20 {
        first.commit(vec![Change::Submitted(submission(&format!("task-{at}")))]).await.expect("committed");
        assert!(!second.is_finished(), "two lead at the same time");
    }
    let term = first.term();
    first.resign().await;
    let mut second = won(second).await;
    assert!(second.term() > term);
    let loaded = second.load().await.expect("loads");
    assert_eq!(loaded.tasks.len(), 20);
}

pub async fn a_second_candidate_wins_when_the_first_is_dropped(store: Arc<dyn Store>) {
    let (first, _) = lead_as(&store, &candidate("first:1")).await;
    let (term, lost) = (first.term(), first.lost());
    let second = campaign(&store, &candidate("second:2"));
    drop(first);
    let second = won(second).await;
    assert!(second.term() > term);
    assert!(!second.lost().is_cancelled());
    tokio::time::timeout(LIMIT, lost.cancelled()).await.expect("the first knows that it is over");
}

pub async fn a_candidate_that_goes_away_leaves_the_line(store: Arc<dyn Store>) {
    let (first, _) = lead_as(&store, &candidate("first:1")).await;
    let gone = campaign(&store, &candidate("gone:2"));
    let third = campaign(&store, &candidate("third:3"));
    gone.abort();
    assert!(gone.await.is_err_and(|error| error.is_cancelled()), "the campaign was won before its turn");
    first.resign().await;
    won(third).await;
}

pub async fn a_deposed_leader_commits_nothing_more(store: Arc<dyn Store>) {
    let (mut first, _) = lead_as(&store, &candidate("first:1")).await;
    first.commit(vec![Change::Submitted(submission("before"))]).await.expect("committed");
    let challenger = candidate("second:2");
    let second = campaign(&store, &challenger);
    depose(&store, &Leader { address: "first:1".into(), term: first.term() }, &challenger).await;

    first.commit(vec![Change::Submitted(submission("after"))]).await.expect_err("it does not lead any more");
    first.commit(Vec::new()).await.expect_err("it does not lead any more");
    tokio::time::timeout(LIMIT, first.lost().cancelled()).await.expect("the first knows that it is over");
    let mut second = won(second).await;
    // The old one still exists, and the new one is not bothered by it.
    first.commit(vec![Change::Submitted(submission("later"))]).await.expect_err("it does not lead any more");
    let loaded = second.load().await.expect("loads");
    let found: Vec<_> = loaded.tasks.iter().map(|task| task.submission.task_id.as_str()).collect();
    assert_eq!(found, ["before"]);
    drop(first);
    second.commit(vec![Change::Submitted(submission("second"))]).await.expect("committed");
    assert!(!second.lost().is_cancelled());
}

pub async fn only_exactly_this_leader_is_deposed_and_only_by_the_next_in_line(store: Arc<dyn Store>) {
    let (mut first, _) = lead_as(&store, &candidate("first:1")).await;
    let leader = Leader { address: "first:1".into(), term: first.term() };
    let (next, after) = (candidate("next:2"), candidate("after:3"));
    assert!(!store.depose(&leader, &next).await.expect("answers"), "deposed by somebody who is not in line");
    let waiting = campaign(&store, &next);
    let later = Leader { term: Term(leader.term.0 + 1), ..leader.clone() };
    let other = Leader { address: "other:1".into(), ..leader.clone() };
    for wrong in [later, other] {
        assert!(!store.depose(&wrong, &next).await.expect("answers"), "{wrong:?} does not lead");
    }
    assert!(!store.depose(&leader, &after).await.expect("answers"), "deposed by somebody who is not next");
    first.commit(vec![Change::Submitted(submission("a"))]).await.expect("still leads");
    depose(&store, &leader, &next).await;
    won(waiting).await;
}

pub async fn everybody_can_follow_who_leads(store: Arc<dyn Store>) {
    let mut leader = store.follow();
    until("nobody leads at first", &mut leader, Option::is_none).await;
    let (first, _) = lead_as(&store, &candidate("first:1")).await;
    let expected = Some(Leader { address: "first:1".into(), term: first.term() });
    until("the first leads", &mut leader, |leader| *leader == expected).await;
    let second = campaign(&store, &candidate("second:2"));
    first.resign().await;
    let second = won(second).await;
    let expected = Some(Leader { address: "second:2".into(), term: second.term() });
    until("the second leads", &mut leader, |leader| *leader == expected).await;
    until("a late follower sees it too", &mut store.follow(), |leader| *leader == expected).await;
    second.resign().await;
    until("nobody leads in the end", &mut leader, Option::is_none).await;
}

fn offer(worker_id: &str, incarnation: u8) -> WorkerOffer {
    WorkerOffer {
        worker_id: worker(worker_id),
        incarnation: Incarnation([incarnation; 16]),
        address: "127.0.0.1:7072".into(),
        slots: 4,
        kinds: BTreeSet::from(["echo".parse().expect("a kind")]),
        queues: BTreeSet::from(["default".parse().expect("a queue")]),
        labels: [("zone".to_owned(), "Süd".to_owned())].into(),
        version: "0.1.0".into(),
    }
}

fn members(expected: &[(&str, u8)]) -> Members {
    let member = |&(name, incarnation): &(&str, u8)| {
        (worker(name), Member { worker_id: worker(name), incarnation: Incarnation([incarnation; 16]) })
    };
    expected.iter().map(member).collect()
}

pub async fn workers_come_and_go(store: Arc<dyn Store>) {
    let early = store.register(&offer("early", 1)).await.expect("registered");
    let (leadership, _) = lead(&store).await;
    let mut seen = leadership.members();
    let mut is = async |what: &str, expected: &[(&str, u8)]| {
        let expected = members(expected);
        until(what, &mut seen, |members| *members == expected).await;
    };
    is("a worker that was there first", &[("early", 1)]).await;
    let late = store.register(&offer("late", 2)).await.expect("registered");
    is("a second worker", &[("early", 1), ("late", 2)]).await;
    assert!(!early.lost().is_cancelled());
    early.unregister().await;
    is("the first worker goes", &[("late", 2)]).await;
    drop(late);
    is("the second worker is dropped", &[]).await;
    let again = store.register(&offer("early", 3)).await.expect("registered");
    is("the first worker comes back", &[("early", 3)]).await;
    assert!(!again.lost().is_cancelled());
}

pub async fn a_new_incarnation_replaces_the_old(store: Arc<dyn Store>) {
    let (leadership, _) = lead(&store).await;
    let mut seen = leadership.members();
    let old = store.register(&offer("worker-1", 1)).await.expect("registered");
    until("the old incarnation", &mut seen, |found| *found == members(&[("worker-1", 1)])).await;
    let new = store.register(&offer("worker-1", 2)).await.expect("registered");
    until("the new incarnation", &mut seen, |found| *found == members(&[("worker-1", 2)])).await;
    old.unregister().await;
    // A third worker shows that what the old one did has been seen.
    let other = store.register(&offer("worker-2", 3)).await.expect("registered");
    until("the end of the old one changes nothing", &mut seen, |found| {
        *found == members(&[("worker-1", 2), ("worker-2", 3)])
    })
    .await;
    new.unregister().await;
    other.unregister().await;
    until("nobody is left", &mut seen, Members::is_empty).await;
}
