//! What has its turn when: takeovers, retention, stops, commits that go together.

use super::*;
use crate::master::outbox::MAX_IN_FLIGHT;

#[tokio::test]
async fn a_hello_that_waits_in_the_queue_came_in_time() {
    let limits = Limits { takeover_grace: Duration::ZERO, ..Limits::default() };
    let assignment = Assignment {
        task_id: id("a"),
        worker: "w".parse().unwrap(),
        attempt: 1,
        incarnation: Incarnation([1; 16]),
        fence: Fence(2),
    };
    let loaded = Loaded {
        tasks: vec![LoadedTask { submission: submission("a"), status: None }],
        assignments: vec![assignment],
        workers: vec!["w".parse().unwrap()],
        ..Loaded::default()
    };
    let (to, mut worker) = mpsc::channel(64);
    let hello = WorkerHello { offer: offer(1), running: vec![], reports: vec![], draining: false, term: Term(0) };
    let link = Handle::new(LinkId(1), to, CancellationToken::new());
    let mut leader = Leader::over(limits, loaded, vec![Input::WorkerHello { hello, link }]);
    assert!(leader.commit().await.is_empty(), "nothing is given back; the welcome is fenced");
    assert_eq!(receive(&mut worker).await, LeaderToWorker::Welcome(Term(7)));
    let LeaderToWorker::Order(Order::Assign { attempt, .. }) = receive(&mut worker).await else { panic!() };
    assert_eq!(attempt.attempt, 1, "the same attempt is sent again");
}

#[tokio::test(start_paused = true)]
async fn retention_never_holds_up_what_people_wait_for() {
    let ended = |at: u32| LoadedTask {
        submission: submission(&format!("t{at}")),
        status: Some(Status {
            attempt: 0,
            revision: Revision(2),
            worker_deaths: 0,
            worker: None,
            fence: Fence(0),
            outcome: Some(Outcome::Cancelled),
            start_time: None,
            end_time: Some(Wall(1)),
        }),
    };
    let loaded = Loaded { tasks: (0..20_000).map(ended).collect(), ..Loaded::default() };
    let mut leader = Leader::over(Limits::default(), loaded, Vec::new());
    let mut client = leader.client(1).await;
    // A new leader removes nothing before.
    tokio::time::sleep(Duration::from_mins(1)).await;
    let removals = leader.issued().await;
    leader.call(1, 1, submit("a")).await;
    removals.end.send(Ok(())).unwrap();
    let mut commits = 1;
    loop {
        commits += 1;
        if leader.commit().await.iter().any(|change| matches!(change, Change::Submitted(_))) {
            break;
        }
    }
    assert!(commits <= 5, "the submit waited for {commits} commits of removals");
    assert!(matches!(reply(&mut client, 1).await, Answer::Task(_)));
}

#[tokio::test]
async fn a_graceful_stop_commits_answers_and_hands_over() {
    let mut leader = Leader::start();
    let mut client = leader.client(1).await;
    leader.call(1, 1, submit("a")).await;
    let commit = leader.issued().await;
    leader.shutdown.cancel();
    commit.end.send(Ok(())).unwrap();
    assert!(matches!(reply(&mut client, 1).await, Answer::Task(_)));
    assert_eq!(receive(&mut client).await, LeaderToClient::Goodbye);
    assert!(matches!(timeout(LIMIT, leader.driving).await.unwrap().unwrap(), Ended::Resigned));
    assert!(*leader.resigned.lock().unwrap());
}

#[tokio::test]
async fn what_waits_is_committed_together_when_commits_are_in_flight() {
    let mut leader = Leader::start();
    let mut client = leader.client(1).await;
    let mut held = Vec::new();
    let most = MAX_IN_FLIGHT as u64;
    for at in 0..most {
        leader.call(1, at, submit(&format!("first-{at}"))).await;
        held.push(leader.issued().await);
    }
    for at in most..most + 32 {
        leader.call(1, at, submit(&format!("next-{at}"))).await;
    }
    assert!(timeout(Duration::from_millis(50), leader.commits.recv()).await.is_err(), "no more are in flight");
    for commit in held {
        commit.end.send(Ok(())).unwrap();
    }
    let mut commits = 0;
    let mut changes = 0;
    while changes < 32 {
        changes += leader.commit().await.len();
        commits += 1;
    }
    assert_eq!(changes, 32);
    assert!(commits <= 2, "{commits} commits for what could go together");
    for at in 0..most + 32 {
        reply(&mut client, at).await;
    }
}
