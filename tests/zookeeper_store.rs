//! The store on a real ZooKeeper, and what is known to go wrong there.

mod leading;
mod outage;
mod packed;
mod tree;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use herdsman::{
    domain::{
        Assignment, Change, Fence, Incarnation, Outcome, Revision, Status, Submission, TaskId, TaskSpec, Wall,
        WorkerId, WorkerOffer,
    },
    store::{
        Candidate, Leadership, Store, StoreError,
        zookeeper::{ZooKeeperOptions, ZooKeeperStore},
    },
};

use tokio::task::JoinHandle;

use crate::support::{
    eventually,
    zookeeper::{fresh_options, witness},
};

/// For anything that needs no session to expire.
const SOON: Duration = Duration::from_secs(10);

async fn connect(options: &ZooKeeperOptions) -> Arc<ZooKeeperStore> {
    Arc::new(ZooKeeperStore::connect(options.clone()).await.expect("the server is up"))
}

async fn connect_unpacked(options: &ZooKeeperOptions) -> Arc<ZooKeeperStore> {
    Arc::new(ZooKeeperStore::connect(options.clone()).await.expect("the server is up").packing(false))
}

fn candidate(port: u16) -> Candidate {
    Candidate { id: uuid::Uuid::new_v4(), address: format!("127.0.0.1:{port}") }
}

fn submitted(id: &str, payload: &[u8]) -> Change {
    Change::Submitted(Submission {
        task_id: id.parse().unwrap(),
        spec: Arc::new(TaskSpec::new("echo".parse().unwrap(), payload)),
        create_time: Wall(1_000),
        revision: Revision(7),
        traceparent: None,
        retry_of: None,
    })
}

fn assigned(id: &str, worker: &str) -> Change {
    Change::Assigned(Assignment {
        task_id: id.parse().unwrap(),
        worker: worker.parse().unwrap(),
        attempt: 1,
        incarnation: Incarnation([7; 16]),
        fence: Fence(9),
    })
}

fn succeeded(result: &[u8]) -> Status {
    Status {
        attempt: 1,
        revision: Revision(11),
        worker_deaths: 0,
        worker: Some("w1".parse().unwrap()),
        fence: Fence(9),
        outcome: Some(Outcome::Succeeded(result.into())),
        trials: None,
        start_time: Some(Wall(1_500)),
        end_time: Some(Wall(2_000)),
    }
}

fn finished(id: &str, worker: &str) -> Change {
    Change::Finished { task_id: task(id), assigned_to: Some(worker.parse().unwrap()), status: succeeded(b"done") }
}

fn task(id: &str) -> TaskId {
    id.parse().unwrap()
}

fn offer(worker: &str, incarnation: u8) -> WorkerOffer {
    WorkerOffer {
        worker_id: worker.parse().unwrap(),
        incarnation: Incarnation([incarnation; 16]),
        address: "127.0.0.1:7072".into(),
        slots: 4,
        kinds: BTreeSet::from(["echo".parse().unwrap()]),
        queues: BTreeSet::from(["default".parse().unwrap()]),
        labels: [("zone".to_owned(), "a".to_owned())].into(),
        version: "0.1.0".into(),
    }
}

/// The path of a task's node.
async fn find(client: &zookeeper_client::Client, id: &str) -> Option<String> {
    for bucket in client.list_children("/tasks").await.unwrap() {
        let path = format!("/tasks/{bucket}/{id}");
        if client.check_stat(&path).await.unwrap().is_some() {
            return Some(path);
        }
    }
    None
}

/// The nodes in the line, the leader's first.
async fn line(client: &zookeeper_client::Client) -> Vec<String> {
    let mut names = client.list_children("/election").await.unwrap();
    names.sort_by_key(|name| name.rsplit('-').next().map(str::to_owned));
    names.into_iter().map(|name| format!("/election/{name}")).collect()
}

/// Waits until so many stand in line.
async fn line_of(client: &zookeeper_client::Client, length: usize) -> Vec<String> {
    eventually(&format!("a line of {length}"), SOON, async || {
        let line = line(client).await;
        (line.len() == length).then_some(line)
    })
    .await
}

/// Stands in line in the background.
fn campaign(store: &Arc<ZooKeeperStore>, candidate: &Candidate) -> JoinHandle<Result<Box<dyn Leadership>, StoreError>> {
    let (store, candidate) = (store.clone(), candidate.clone());
    tokio::spawn(async move { store.campaign(&candidate).await })
}

/// Fails the test when it takes longer than [`SOON`].
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("not within {SOON:?}: {what}"))
}

#[tokio::test]
async fn a_leader_writes_a_whole_life_and_the_next_one_reads_it() {
    let options = fresh_options();
    let store = connect(&options).await;
    let mut leader = store.campaign(&candidate(1)).await.unwrap();
    assert_eq!(leader.term().0, 1, "the first term; 0 is none");
    assert!(leader.load().await.unwrap().tasks.is_empty());
    leader.commit(vec![submitted("a", b"x"), submitted("b", b"y"), assigned("a", "w1")]).await.unwrap();
    leader.commit(vec![finished("a", "w1"), assigned("b", "w1")]).await.unwrap();
    leader.commit(vec![]).await.unwrap();
    leader.resign().await;

    let mut next = store.campaign(&candidate(2)).await.unwrap();
    assert!(next.term().0 > 1);
    let loaded = next.load().await.unwrap();
    let a = loaded.tasks.iter().find(|found| found.submission.task_id == task("a")).unwrap();
    assert_eq!(a.status, Some(succeeded(b"done")));
    assert_eq!(loaded.tasks.len(), 2);
    assert_eq!(loaded.assignments.iter().map(|found| &found.task_id).collect::<Vec<_>>(), [&task("b")]);
    assert_eq!(loaded.workers, ["w1".parse::<WorkerId>().unwrap()]);

    let worker: WorkerId = "w1".parse().unwrap();
    next.commit(vec![
        finished("b", "w1"),
        Change::Removed { task_id: task("a") },
        Change::Removed { task_id: task("b") },
        Change::WorkerForgotten { worker },
    ])
    .await
    .unwrap();
    let client = witness(&options).await;
    assert!(client.list_children("/assign").await.unwrap().is_empty());
    for bucket in client.list_children("/tasks").await.unwrap() {
        assert!(client.list_children(&format!("/tasks/{bucket}")).await.unwrap().is_empty(), "{bucket}");
    }
}
