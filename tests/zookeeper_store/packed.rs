//! Tasks that share nodes: who may lead such a tree, what a commit that nobody answered leaves of them, and how they look.

use herdsman::{
    domain::{Change, Loaded},
    store::{Store, zookeeper::ZooKeeperOptions},
};

use super::{
    SOON, assigned, campaign, candidate, connect, connect_unpacked, find, finished,
    leading::{patient, two_ways},
    line, line_of, soon, submitted, succeeded, task,
    tree::entries,
};
use crate::support::{
    eventually,
    zookeeper::{fresh_options, witness},
};

const IDS: [&str; 4] = ["a", "b", "c", "d"];

async fn format_of(options: &ZooKeeperOptions) -> String {
    let (data, _) = witness(options).await.get_data("/").await.unwrap();
    String::from_utf8(data).unwrap()
}

fn ids(loaded: &Loaded) -> Vec<String> {
    let mut ids: Vec<_> = loaded.tasks.iter().map(|found| found.submission.task_id.to_string()).collect();
    ids.sort();
    ids
}

/// The packed nodes of tasks and statuses.
async fn packs(options: &ZooKeeperOptions) -> Vec<String> {
    let packed = |path: &String| path.starts_with("/tasks/") && path.contains('@');
    entries(options, "/tasks").await.into_keys().filter(packed).collect()
}

#[tokio::test]
async fn a_tree_without_packs_is_raised_by_the_first_leader_that_packs_and_loads_as_it_was() {
    let options = fresh_options();
    let mut leader = connect_unpacked(&options).await.campaign(&candidate(1)).await.unwrap();
    leader.load().await.unwrap();
    leader.commit(IDS.map(|id| submitted(id, b"x")).into()).await.unwrap();
    leader.commit(vec![assigned("a", "w1"), assigned("b", "w1")]).await.unwrap();
    leader.commit(vec![finished("a", "w1")]).await.unwrap();
    leader.resign().await;
    assert_eq!(format_of(&options).await, "1", "who knows no packs may still lead it");
    assert!(packs(&options).await.is_empty());

    let mut leader = connect(&options).await.campaign(&candidate(1)).await.unwrap();
    assert_eq!(format_of(&options).await, "2", "before anything is packed");
    let loaded = leader.load().await.unwrap();
    assert_eq!(ids(&loaded), IDS);
    assert_eq!(loaded.assignments.iter().map(|found| &found.task_id).collect::<Vec<_>>(), [&task("b")]);
    leader.commit(vec![submitted("e", b"x"), submitted("f", b"x"), finished("b", "w1")]).await.unwrap();
    leader.resign().await;
    assert_eq!(packs(&options).await.len(), 1);

    // Packing may be switched off again: what is packed is read, and nobody lowers the number.
    let mut leader = connect_unpacked(&options).await.campaign(&candidate(1)).await.unwrap();
    let loaded = leader.load().await.unwrap();
    assert_eq!(ids(&loaded), ["a", "b", "c", "d", "e", "f"]);
    let ended = |id: &str| Change::Finished { task_id: task(id), assigned_to: None, status: succeeded(b"") };
    leader.commit(["c", "d", "e", "f"].map(ended).into()).await.unwrap();
    leader.commit(["a", "b", "c", "d", "e", "f"].map(|id| Change::Removed { task_id: task(id) }).into()).await.unwrap();
    leader.resign().await;
    assert_eq!(format_of(&options).await, "2");
    assert!(packs(&options).await.is_empty());
}

#[tokio::test]
async fn a_packed_commit_of_a_deposed_leader_changes_nothing() {
    let (direct, through, proxy) = two_ways().await;
    let store = connect(&patient(through)).await;
    let mut leader = store.campaign(&candidate(1)).await.unwrap();
    leader.load().await.unwrap();
    leader.commit(IDS.map(|id| submitted(id, b"x")).into()).await.unwrap();
    let client = witness(&direct).await;
    let before = packs(&direct).await;

    proxy.hold_replies();
    client.delete(&line(&client).await[0], None).await.unwrap();
    let late = leader.commit(["e", "f"].map(|id| submitted(id, b"x")).into());
    let removal = leader.commit(IDS.map(|id| Change::Removed { task_id: task(id) }).into());
    proxy.release();
    soon("the commit ends", late).await.unwrap_err();
    soon("the one behind it too", removal).await.unwrap_err();
    let gone = async || client.check_stat("/master").await.unwrap().is_none().then_some(());
    eventually("its session ends", SOON, gone).await;
    assert_eq!(packs(&direct).await, before);
}

#[tokio::test]
async fn a_late_packed_write_is_refused_once_another_leads() {
    let (direct, through, proxy) = two_ways().await;
    let mut old = connect(&through).await.campaign(&candidate(1)).await.unwrap();
    old.load().await.unwrap();
    old.commit(IDS.map(|id| submitted(id, b"x")).into()).await.unwrap();
    old.commit(IDS.map(|id| assigned(id, "w1")).into()).await.unwrap();

    let store = connect(&direct).await;
    let next = campaign(&store, &candidate(2));
    proxy.hold_requests();
    let late = old.commit(IDS.map(|id| finished(id, "w1")).into());
    soon("it steps down by itself", old.lost().cancelled_owned()).await;
    soon("the commit ends", late).await.unwrap_err();
    let mut leader = soon("the session expires", next).await.unwrap().unwrap();
    let loaded = leader.load().await.unwrap();
    assert_eq!((ids(&loaded), loaded.assignments.len()), (IDS.map(str::to_owned).to_vec(), 4));
    // It arrives in the middle of what the next one does with the same packs.
    proxy.release();
    leader.commit(vec![finished("a", "w1"), finished("b", "w1")]).await.unwrap();
    leader.commit(vec![Change::Removed { task_id: task("a") }]).await.unwrap();
    leader.resign().await;
    let loaded = soon("another", store.campaign(&candidate(3))).await.unwrap().load().await.unwrap();
    assert_eq!(ids(&loaded), ["b", "c", "d"]);
    assert_eq!(loaded.assignments.len(), 2);
}

#[tokio::test]
async fn a_packed_commit_that_nobody_answered_is_there_whole_and_those_behind_it_in_order() {
    let (direct, through, proxy) = two_ways().await;
    let mut old = connect(&through).await.campaign(&candidate(1)).await.unwrap();
    old.load().await.unwrap();
    proxy.hold_replies();
    // All three happen, and none is answered.
    let commits = [
        old.commit(IDS.map(|id| submitted(id, b"x")).into()),
        old.commit(IDS.map(|id| assigned(id, "w1")).into()),
        old.commit(vec![finished("a", "w1"), finished("b", "w1")]),
    ];
    for commit in commits {
        soon("it is in doubt", commit).await.unwrap_err();
    }
    proxy.release();
    let mut leader = soon("another leads", connect(&direct).await.campaign(&candidate(2))).await.unwrap();
    let loaded = leader.load().await.unwrap();
    assert_eq!(ids(&loaded), IDS);
    assert_eq!(loaded.tasks.iter().filter(|found| found.status == Some(succeeded(b"done"))).count(), 2);
    assert_eq!(loaded.assignments.len(), 2);
    leader.commit(vec![finished("c", "w1"), finished("d", "w1")]).await.unwrap();
    leader.commit(IDS.map(|id| Change::Removed { task_id: task(id) }).into()).await.unwrap();
    leader.commit(vec![Change::WorkerForgotten { worker: "w1".parse().unwrap() }]).await.unwrap();
    assert!(packs(&direct).await.is_empty());
}

#[tokio::test]
async fn packed_nodes_can_be_inspected_and_a_damaged_one_is_said_to_be() {
    let options = fresh_options();
    let mut leader = connect(&options).await.campaign(&candidate(1)).await.unwrap();
    leader.load().await.unwrap();
    leader.commit(IDS.map(|id| submitted(id, b"x")).into()).await.unwrap();
    leader.commit(IDS.map(|id| assigned(id, "w1")).into()).await.unwrap();
    leader.commit(vec![finished("a", "w1"), finished("b", "w1")]).await.unwrap();
    leader.commit(vec![Change::Removed { task_id: task("a") }]).await.unwrap();
    leader.resign().await;
    let client = witness(&options).await;
    line_of(&client, 0).await;
    assert_eq!(find(&client, "a").await, None);

    let all = entries(&options, "/").await;
    let of = |what: &str| {
        let these = all.values().filter(|entry| entry.what == what);
        these.map(|entry| entry.value.clone().unwrap()).collect::<Vec<_>>()
    };
    let tasks = of("tasks");
    assert_eq!(tasks.len(), 1);
    assert_eq!(tasks[0]["tasks"][3]["taskId"], "d");
    assert_eq!(of("assignments")[0]["entries"][1]["assignment"]["attempt"], 1);
    let statuses = of("statuses");
    assert_eq!(statuses[0]["entries"][1]["status"]["state"], "TASK_STATE_SUCCEEDED");
    assert_eq!(statuses[1]["entries"][0]["removedFrom"].as_str().map(|name| name.starts_with('@')), Some(true));

    let path = all.values().find(|entry| entry.what == "tasks").unwrap().path.clone();
    client.set_data(&path, b"\xff garbage", None).await.unwrap();
    assert!(entries(&options, &path).await[&path].value.is_err());
}
