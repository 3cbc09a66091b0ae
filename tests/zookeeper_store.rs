//! The store on a real ZooKeeper, and what is known to go wrong there.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use herdsman::{
    domain::{
        Assignment, Change, Fence, Incarnation, Outcome, Revision, Status, Submission, TaskId, TaskSpec, Wall,
        WorkerId, WorkerOffer,
    },
    store::{
        Candidate, Leadership, Store,
        zookeeper::{ZooKeeperOptions, ZooKeeperStore},
    },
};

use crate::support::{
    eventually,
    zookeeper::{fresh_options, witness},
};

/// For anything that needs no session to expire.
const SOON: Duration = Duration::from_secs(10);

async fn connect(options: &ZooKeeperOptions) -> ZooKeeperStore {
    ZooKeeperStore::connect(options.clone()).await.expect("the server is up")
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
