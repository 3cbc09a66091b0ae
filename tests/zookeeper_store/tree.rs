//! What lies in the tree: large, wrong, or looked at.

use std::{collections::BTreeMap, ops::ControlFlow};

use herdsman::{
    domain::{Change, MAX_PAYLOAD_BYTES, TaskId},
    store::{
        Store,
        zookeeper::{Entry, ZooKeeperOptions, inspect},
    },
};
use zookeeper_client::{Acls, Client, CreateMode};

use super::{assigned, candidate, connect, connect_unpacked, find, finished, line_of, submitted, task};
use crate::support::zookeeper::{fresh_options, witness};

async fn create(client: &Client, path: &str, data: &[u8]) {
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    client.create(path, data, &options).await.unwrap_or_else(|error| panic!("{path}: {error}"));
}

/// A tree with ten good tasks, all assigned, `t0` finished, each in nodes of its own.
async fn ten_tasks(options: &ZooKeeperOptions) {
    let mut leader = connect_unpacked(options).await.campaign(&candidate(1)).await.unwrap();
    leader.load().await.unwrap();
    let ids: Vec<_> = (0..10).map(|n| format!("t{n}")).collect();
    leader.commit(ids.iter().map(|id| submitted(id, b"x")).collect()).await.unwrap();
    leader.commit(ids.iter().map(|id| assigned(id, "w1")).collect()).await.unwrap();
    leader.commit(vec![finished("t0", "w1")]).await.unwrap();
    leader.resign().await;
}

#[tokio::test]
async fn what_somebody_else_wrote_wrongly_is_set_aside_and_stops_no_leader() {
    let options = fresh_options();
    ten_tasks(&options).await;
    let client = witness(&options).await;
    line_of(&client, 0).await;
    let path = async |id: &str| find(&client, id).await.unwrap();

    client.set_data(&path("t1").await, b"\xff\xff garbage", None).await.unwrap();
    create(&client, &format!("{}/status", path("t2").await), b"\xff").await;
    create(&client, &format!("{}/notes", path("t3").await), b"").await;
    create(&client, &format!("{}/status/deep", path("t0").await), b"").await;
    client.set_data("/assign/w1/t4", b"\xff", None).await.unwrap();
    create(&client, "/assign/w1/t5/child", b"").await;
    create(&client, "/assign/w1/never-submitted", b"\xff").await;
    create(&client, "/assign/w1/UPPER", b"").await;
    create(&client, "/assign/@w", b"").await;
    create(&client, "/tasks/zz", b"").await;
    create(&client, "/queues/UPPER", b"").await;
    create(&client, "/queues/odd", b"\xff").await;
    create(&client, "/queues/odd/below", b"").await;
    create(&client, "/drains/UPPER", b"").await;
    create(&client, "/drains/odd", b"\xff").await;
    create(&client, "/drains/odd/below", b"").await;
    create(&client, "/tasks/00/@1-2", b"").await;
    let bucket = path("t6").await;
    let other = if bucket.starts_with("/tasks/00/") { "/tasks/01/t6" } else { "/tasks/00/t6" };
    create(&client, other, b"").await;
    let empty = path("t7").await;
    client.set_data(&empty, b"", None).await.unwrap();

    let store = connect(&options).await;
    let mut leader = store.campaign(&candidate(1)).await.unwrap();
    let loaded = leader.load().await.unwrap();
    let mut good: Vec<_> = loaded.tasks.iter().map(|found| found.submission.task_id.to_string()).collect();
    good.sort();
    assert_eq!(good, ["t6", "t8", "t9"]);
    let corrupt: Vec<_> = ["never-submitted", "t0", "t1", "t2", "t3", "t4", "t5", "t7"].map(task).into();
    assert_eq!(loaded.corrupt, corrupt);
    let odd: herdsman::domain::WorkerId = "odd".parse().unwrap();
    assert_eq!(loaded.drained, std::slice::from_ref(&odd), "what says nothing else says that it is drained");

    // And nothing that the leader does with the rest meets them.
    let swept: Vec<_> = loaded.assignments.iter().filter(|found| corrupt.contains(&found.task_id)).collect();
    let worker: herdsman::domain::WorkerId = "w1".parse().unwrap();
    let sweep = |id: &TaskId| Change::Swept { task_id: id.clone(), worker: worker.clone() };
    let mut changes: Vec<_> = swept.iter().map(|found| sweep(&found.task_id)).collect();
    for id in ["t6", "t8", "t9"] {
        changes.extend([finished(id, "w1"), Change::Removed { task_id: task(id) }]);
    }
    changes.extend([Change::WorkerForgotten { worker: worker.clone() }, submitted("new", b""), assigned("new", "w1")]);
    changes.push(Change::DrainSet { worker: odd, drained: false });
    leader.commit(changes).await.unwrap();
    leader.resign().await;
    let mut leader = store.campaign(&candidate(2)).await.unwrap();
    assert_eq!(leader.load().await.unwrap().drained, [], "its node cannot be removed, and says so");
    assert!(client.check_stat("/assign/w1").await.unwrap().is_some(), "it cannot be removed");
}

#[tokio::test]
async fn the_worker_of_a_task_that_cannot_be_read_can_be_forgotten() {
    let options = fresh_options();
    ten_tasks(&options).await;
    let client = witness(&options).await;
    line_of(&client, 0).await;
    let path = find(&client, "t1").await.unwrap();
    client.set_data(&path, b"\xff\xff garbage", None).await.unwrap();

    let store = connect(&options).await;
    let mut leader = store.campaign(&candidate(1)).await.unwrap();
    let loaded = leader.load().await.unwrap();
    assert_eq!(loaded.corrupt, [task("t1")]);
    // As a leader does that leaves alone what is set aside, and loses the worker.
    let mut changes: Vec<_> = (2..10).map(|n| finished(&format!("t{n}"), "w1")).collect();
    changes.extend([Change::WorkerForgotten { worker: "w1".parse().unwrap() }, submitted("new", b"")]);
    leader.commit(changes).await.unwrap();
    assert!(client.check_stat("/assign/w1/t1").await.unwrap().is_some(), "it is left alone");
    leader.commit(vec![assigned("new", "w1")]).await.unwrap();
}

#[tokio::test]
async fn thousands_of_tasks_load_with_the_largest_payloads_among_them() {
    thousands_of_tasks_load(false).await;
}

#[tokio::test]
async fn thousands_of_packed_tasks_load_with_the_largest_payloads_among_them() {
    thousands_of_tasks_load(true).await;
}

async fn thousands_of_tasks_load(packing: bool) {
    const SMALL: usize = 4_000;
    const LARGE: usize = 160;
    let options = fresh_options();
    let store = if packing { connect(&options).await } else { connect_unpacked(&options).await };
    let mut leader = store.campaign(&candidate(1)).await.unwrap();
    leader.load().await.unwrap();
    let mut commits = Vec::new();
    for first in (0..SMALL).step_by(500) {
        let ids: Vec<_> = (first..first + 500).map(|n| format!("small-{n}")).collect();
        commits.push(leader.commit(ids.iter().map(|id| submitted(id, b"x")).collect()));
        commits.push(leader.commit(ids.iter().map(|id| assigned(id, "w1")).collect()));
    }
    let payload: Vec<u8> = (0..=250).cycle().take(MAX_PAYLOAD_BYTES).collect();
    for first in (0..LARGE).step_by(5) {
        commits.push(leader.commit((first..first + 5).map(|n| submitted(&format!("large-{n}"), &payload)).collect()));
    }
    for commit in commits {
        commit.await.unwrap();
    }
    leader.resign().await;

    let mut leader = store.campaign(&candidate(1)).await.unwrap();
    let loaded = leader.load().await.unwrap();
    assert!(loaded.corrupt.is_empty());
    assert_eq!((loaded.tasks.len(), loaded.assignments.len()), (SMALL + LARGE, SMALL));
    let large = loaded.tasks.iter().filter(|found| *found.submission.spec.payload == *payload).count();
    assert_eq!(large, LARGE);
    leader.commit(vec![]).await.unwrap();
}

pub(super) async fn entries(options: &ZooKeeperOptions, path: &str) -> BTreeMap<String, Entry> {
    let mut entries = BTreeMap::new();
    let mut visit = |entry: Entry| {
        entries.insert(entry.path.clone(), entry);
        ControlFlow::Continue(())
    };
    inspect(options, path, &mut visit).await.unwrap();
    entries
}

#[tokio::test]
async fn the_tree_can_be_inspected_without_a_master() {
    let options = fresh_options();
    ten_tasks(&options).await;
    let client = witness(&options).await;
    line_of(&client, 0).await;
    let (t0, t1) = (find(&client, "t0").await.unwrap(), find(&client, "t1").await.unwrap());
    client.set_data(&t1, b"\xff", None).await.unwrap();
    create(&client, "/Ours", b"not").await;

    let all = entries(&options, "/").await;
    assert_eq!(all["/"].value, Ok("1".into()));
    assert_eq!(all["/"].what, "format");
    assert_eq!(all.values().filter(|entry| entry.what == "task").count(), 10);
    let task = &all[&t0];
    assert_eq!(task.value.as_ref().unwrap()["spec"]["kind"], "echo");
    let status = &all[&format!("{t0}/status")];
    assert_eq!(status.what, "status");
    assert_eq!(status.value.as_ref().unwrap()["state"], "TASK_STATE_SUCCEEDED");
    assert_eq!(all["/assign/w1/t9"].value.as_ref().unwrap()["attempt"], 1);
    assert!(all[&t1].value.is_err());
    assert_eq!(all["/Ours"].what, "foreign");
    assert_eq!(all.len(), 1 + 7 + 256 + 10 + 1 + 1 + 9, "{:?}", all.keys());

    let part: Vec<_> = entries(&options, &t0).await.into_keys().collect();
    assert_eq!(part, [t0.clone(), format!("{t0}/status")]);
    let mut visited = 0;
    let mut first = |_| {
        visited += 1;
        ControlFlow::Break(())
    };
    inspect(&options, "/assign", &mut first).await.unwrap();
    assert_eq!(visited, 1);
    assert!(inspect(&options, "/nothing", &mut |_| ControlFlow::Continue(())).await.is_err());
}
