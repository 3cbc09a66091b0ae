//! What has its turn when: takeovers, retention, stops, commits that go together.

use std::collections::VecDeque;

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
    let hello =
        WorkerHello { offer: offer(1), running: vec![], reports: vec![], draining: false, term: Term(0), beside: None };
    let link = Handle::new(LinkId(1), to, CancellationToken::new());
    let mut leader = Leader::over(limits, loaded, vec![Input::WorkerHello { hello: Box::new(hello), link }]);
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
            trials: None,
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

/// Has every commit in flight that may be, offers many submits, and then a report; gives how many tasks were submitted in
/// each commit from the next one to the one with the end that was reported.
async fn submits_before_an_end(leader: &mut Leader) -> Vec<usize> {
    let mut worker = leader.welcomed(1, 1).await;
    leader.members.send_replace(Members::from([(
        "w".parse().unwrap(),
        Member { worker_id: "w".parse().unwrap(), incarnation: Incarnation([1; 16]) },
    )]));
    let _client = leader.client(2).await;
    leader.call(2, 0, submit("first")).await;
    let attempt = loop {
        leader.commit().await;
        let order = timeout(Duration::from_millis(1), worker.recv()).await;
        if let Ok(Some(Ok(LeaderToWorker::Order(Order::Assign { attempt, .. })))) = order {
            break attempt;
        }
    };
    let mut held = Vec::new();
    for at in 0..MAX_IN_FLIGHT as u64 {
        leader.call(2, 1 + at, submit(&format!("held-{at}"))).await;
        held.push(leader.issued().await);
    }
    for at in 0..8_000 {
        leader.call(2, 100 + at, submit(&format!("more-{at}"))).await;
    }
    // The driver has taken what it takes.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let report = Report::Succeeded { attempt, start_time: Wall(1), result: Arc::from([]) };
    let (worker, incarnation) = ("w".parse().unwrap(), Incarnation([1; 16]));
    leader.put(Input::Report { link: LinkId(1), worker, incarnation, report }).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    for commit in held {
        commit.end.send(Ok(())).unwrap();
    }
    let mut submitted = Vec::new();
    loop {
        let changes = leader.commit().await;
        submitted.push(changes.iter().filter(|change| matches!(change, Change::Submitted(_))).count());
        if changes.iter().any(|change| matches!(change, Change::Finished { .. })) {
            return submitted;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_does_not_wait_for_all_the_submits_that_came_before_it() {
    let mut leader = Leader::start();
    let submitted = submits_before_an_end(&mut leader).await;
    assert!(submitted.len() <= 2, "the end waited for commits of {submitted:?} submits");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_behind_takes_few_submits_between_the_reports() {
    let waits = |at: u32| LoadedTask { submission: submission(&format!("t{at}")), status: None };
    let loaded = Loaded { tasks: (0..5_000).map(waits).collect(), ..Loaded::default() };
    let mut leader = Leader::over(Limits::default(), loaded, Vec::new());
    let submitted = submits_before_an_end(&mut leader).await;
    assert!(submitted.iter().sum::<usize>() <= 512, "the end waited for {submitted:?} submits");
}

#[tokio::test(start_paused = true)]
async fn what_has_been_kept_long_enough_goes_as_fast_as_it_came_while_the_leader_is_busy() {
    const KEPT: u32 = 10_000;
    const MINUTE: Duration = Duration::from_mins(1);
    let status = Status {
        attempt: 1,
        revision: Revision(2),
        worker_deaths: 0,
        worker: None,
        fence: Fence(1),
        outcome: Some(Outcome::Cancelled),
        trials: None,
        start_time: None,
        end_time: Some(Wall(2)),
    };
    let ended = |at: u32| {
        let status = Status { revision: Revision((2 + at).into()), ..status.clone() };
        LoadedTask { submission: submission(&format!("t{at}")), status: Some(status) }
    };
    let limits = Limits { retain_finished: MINUTE, ..Limits::default() };
    let loaded = Loaded { tasks: (0..KEPT).map(ended).collect(), ..Loaded::default() };
    let mut leader = Leader::over(limits, loaded, Vec::new());
    let mut client = leader.client(1).await;
    let start = Instant::now();
    tokio::time::sleep(Duration::from_millis(59_990)).await;
    let (mut removed, mut in_flight, mut call) = (0, VecDeque::new(), 0);
    while removed < KEPT as usize {
        // There is always something on its way, as every commit takes five milliseconds and something new comes in each.
        call += 1;
        leader.call(1, call, submit(&format!("new-{call}"))).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        while let Ok(issued) = leader.commits.try_recv() {
            removed += issued.changes.iter().filter(|change| matches!(change, Change::Removed { .. })).count();
            in_flight.push_back((Instant::now(), issued));
        }
        while in_flight.front().is_some_and(|(at, _)| at.elapsed() >= Duration::from_millis(5)) {
            in_flight.pop_front().unwrap().1.end.send(Ok(())).unwrap();
        }
        while client.try_recv().is_ok() {}
        assert!(start.elapsed() < MINUTE + Duration::from_millis(400), "{removed} are gone");
    }
}
