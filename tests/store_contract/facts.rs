//! What a store keeps: every change that was committed, in order, whole or not at all, and nothing else.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use herdsman::{
    domain::{
        Assignment, Change, Condition, Failure, FailureReason, Incarnation, Loaded, LoadedTask, MAX_PAYLOAD_BYTES,
        MAX_RESULT_BYTES, Multiplier, Outcome, Policy, Priority, QueueName, QueueSettings, Rate, Requirement,
        RetryPolicy, Revision, Selector, Status, Submission, TaskSpec, Timeout, Timeouts, Trials, Wall,
    },
    store::{MAX_COMMIT_BYTES, MAX_COMMIT_CHANGES, Store},
};

use super::{
    LIMIT, assert_same, in_order, lead, next_term,
    samples::{assignment, ended, id, pending_again, submission, worker},
};

fn task(submission: Submission, status: Option<Status>) -> LoadedTask {
    LoadedTask { submission, status }
}

fn ids(loaded: &Loaded) -> Vec<&str> {
    loaded.tasks.iter().map(|task| task.submission.task_id.as_str()).collect()
}

pub async fn a_new_store_is_empty(store: Arc<dyn Store>) {
    let (leadership, loaded) = lead(&store).await;
    assert_same(&loaded, &Loaded::default(), "at the start");
    let (_, loaded) = next_term(&store, leadership).await;
    assert_same(&loaded, &Loaded::default(), "after a leader that did nothing");
}

/// Each operator once.
fn every_requirement() -> Selector {
    let values = |values: &[&str]| values.iter().map(|value| Box::from(*value)).collect();
    let conditions = [
        Condition::In(values(&["a", ""])),
        Condition::NotIn(values(&["Überraschung 🐑"])),
        Condition::Exists,
        Condition::DoesNotExist,
    ];
    let named = conditions.into_iter().enumerate();
    let requirements = named.map(|(at, condition)| Requirement { key: format!("key-{at}").into(), condition });
    Selector::new(requirements.collect()).expect("there are requirements")
}

pub async fn every_field_comes_back(store: Arc<dyn Store>) {
    let spec = TaskSpec {
        kind: "resize-image".parse().expect("a kind"),
        queue: Some("urgent".parse().expect("a queue")),
        payload: (0..=250).cycle().take(MAX_PAYLOAD_BYTES).collect(),
        labels: BTreeMap::from([("team/a".into(), "Überraschung 🐑".into()), ("empty".into(), String::new())]).into(),
        priority: Priority::new(0),
        at_most_once: true,
        policy: Some(Box::new(every_policy())),
        selector: Some(Arc::new(every_requirement())),
    };
    let everything = Submission {
        spec: Arc::new(spec),
        revision: Revision(u64::MAX),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        retry_of: Some(id("another")),
        ..submission("everything")
    };
    let largest = Outcome::Succeeded((0..=240).cycle().take(MAX_RESULT_BYTES).collect());
    let failure =
        |reason, message: &str, exit_status| Outcome::Failed(Failure { exit_status, ..Failure::new(reason, message) });
    let permanent = Failure { permanent: true, ..Failure::new(FailureReason::Handler, "for ever") };
    let late = |timeout| Outcome::Failed(Failure::timed_out(timeout, "late"));
    let outcomes = [
        ("largest", largest),
        ("nothing", Outcome::Succeeded([].into())),
        ("handler", failure(FailureReason::Handler, "größer als 64 KiB 🐏\n\tline two", Some(-9))),
        ("too-large", failure(FailureReason::ResultTooLarge, "", Some(0))),
        ("lost", failure(FailureReason::WorkerLost, "worker-1", None)),
        ("poisoned", failure(FailureReason::Poisoned, &"x".repeat(4096), None)),
        ("permanent", Outcome::Failed(permanent.clone())),
        ("no-start", late(Timeout::ScheduleToStart)),
        ("no-close", late(Timeout::StartToClose)),
        ("no-end", late(Timeout::ScheduleToClose)),
        ("no-word", late(Timeout::Heartbeat)),
        ("cancelled", Outcome::Cancelled),
    ];

    let (mut leadership, _) = lead(&store).await;
    let mut expected = Loaded { tasks: vec![task(everything.clone(), None)], ..Loaded::default() };
    leadership.commit(vec![Change::Submitted(everything)]).await.expect("committed");
    for (name, outcome) in outcomes {
        let status = ended(1, outcome);
        let changes = vec![
            Change::Submitted(submission(name)),
            Change::Assigned(assignment(name, "worker-1", 1)),
            Change::Finished { task_id: id(name), assigned_to: Some(worker("worker-1")), status: status.clone() },
        ];
        leadership.commit(changes).await.expect("committed");
        expected.tasks.push(task(submission(name), Some(status)));
    }
    let never_ran = Status { worker: None, start_time: None, ..ended(0, Outcome::Cancelled) };
    let cancel = Change::Finished { task_id: id("never-ran"), assigned_to: None, status: never_ran.clone() };
    leadership.commit(vec![Change::Submitted(submission("never-ran")), cancel]).await.expect("committed");
    expected.tasks.push(task(submission("never-ran"), Some(never_ran)));
    let trials = Trials { retries: 7, last_failure: Some(permanent), next_attempt_time: Some(Wall(1_800_000_000_001)) };
    let waits = Status { trials: Some(Arc::new(trials)), ..pending_again(8, "worker-1") };
    let changes = vec![
        Change::Submitted(submission("waits")),
        Change::Assigned(assignment("waits", "worker-1", 8)),
        Change::GivenBack { task_id: id("waits"), worker: worker("worker-1"), status: waits.clone() },
    ];
    leadership.commit(changes).await.expect("committed");
    expected.tasks.push(task(submission("waits"), Some(waits)));
    let assigned = Assignment { incarnation: Incarnation(*b"0123456789abcdef"), ..assignment("out", "worker-2", 3) };
    let changes = vec![Change::Submitted(submission("out")), Change::Assigned(assigned.clone())];
    leadership.commit(changes).await.expect("committed");
    expected.tasks.push(task(submission("out"), None));
    expected.assignments.push(assigned);
    expected.workers = vec![worker("worker-1"), worker("worker-2")];

    let (_, loaded) = next_term(&store, leadership).await;
    assert_same(&loaded, &in_order(expected), "after every kind of change");
}

fn every_policy() -> Policy {
    let millis = |millis| Some(Duration::from_millis(millis));
    Policy {
        retry: Some(RetryPolicy {
            max_attempts: 1,
            initial_backoff: millis(250),
            backoff_multiplier: Multiplier::of_thousandths(1_250),
            max_backoff: millis(86_400_001),
            final_exit_statuses: Some([1, 255].into()),
        }),
        timeouts: Some(Timeouts {
            schedule_to_start: millis(1),
            start_to_close: millis(2_001),
            schedule_to_close: millis(31_536_000_000),
            heartbeat: millis(2_000),
        }),
        not_before: Some(Wall(1_800_000_000_001)),
        delay: None,
    }
}

pub async fn pipelined_commits_happen_in_order(store: Arc<dyn Store>) {
    /// Enough to be in flight together.
    const COMMITS: usize = 32;

    let (mut leadership, _) = lead(&store).await;
    let (done, mut order) = tokio::sync::mpsc::unbounded_channel();
    // Each step needs the one before it: a store that reorders them fails or ends with another status.
    let mut steps = vec![vec![Change::Submitted(submission("a"))]];
    for attempt in 1..u32::try_from(COMMITS / 2).expect("few") {
        steps.push(vec![Change::Assigned(assignment("a", "worker-1", attempt))]);
        let (task_id, worker) = (id("a"), worker("worker-1"));
        steps.push(vec![Change::GivenBack { task_id, worker, status: pending_again(attempt, "worker-1") }]);
    }
    let count = steps.len();
    let commits: Vec<_> = steps.into_iter().map(|changes| leadership.commit(changes)).collect();
    for (number, commit) in commits.into_iter().enumerate() {
        let done = done.clone();
        tokio::spawn(async move { done.send((number, commit.await)) });
    }
    for _ in 0..count {
        let (number, result) = order.recv().await.expect("every commit answers");
        result.unwrap_or_else(|doubt| panic!("commit {number}: {doubt}"));
    }
    let (_, loaded) = next_term(&store, leadership).await;
    let last = pending_again(u32::try_from(COMMITS / 2 - 1).expect("few"), "worker-1");
    assert_eq!(loaded.tasks, vec![task(submission("a"), Some(last))]);
    assert!(loaded.assignments.is_empty(), "{:?}", loaded.assignments);
}

pub async fn a_commit_whose_answer_nobody_awaits_happens(store: Arc<dyn Store>) {
    let (mut leadership, _) = lead(&store).await;
    drop(leadership.commit(vec![Change::Submitted(submission("a"))]));
    leadership.commit(vec![Change::Submitted(submission("b"))]).await.expect("committed");
    let (_, loaded) = next_term(&store, leadership).await;
    assert_eq!(ids(&loaded), ["a", "b"]);
}

pub async fn an_empty_commit_waits_for_those_before(store: Arc<dyn Store>) {
    let (mut leadership, _) = lead(&store).await;
    leadership.commit(Vec::new()).await.expect("holds at the start");
    let first = leadership.commit(vec![Change::Submitted(submission("a"))]);
    let barrier = leadership.commit(Vec::new());
    let second = leadership.commit(vec![Change::Submitted(submission("b"))]);
    barrier.await.expect("the leadership holds");
    // The barrier answered, so this one is durable; it has only to say so.
    tokio::time::timeout(LIMIT, first).await.expect("answers").expect("committed");
    second.await.expect("committed");
    let (_, loaded) = next_term(&store, leadership).await;
    assert_eq!(ids(&loaded), ["a", "b"]);
}

pub async fn a_whole_life_leaves_nothing_behind(store: Arc<dyn Store>) {
    let (mut leadership, _) = lead(&store).await;
    let status = ended(1, Outcome::Succeeded(b"done".as_slice().into()));
    for change in [
        Change::Submitted(submission("a")),
        Change::Assigned(assignment("a", "worker-1", 1)),
        Change::Finished { task_id: id("a"), assigned_to: Some(worker("worker-1")), status: status.clone() },
        Change::Removed { task_id: id("a") },
        Change::WorkerForgotten { worker: worker("worker-1") },
    ] {
        leadership.commit(vec![change]).await.expect("committed");
    }
    let (mut leadership, loaded) = next_term(&store, leadership).await;
    assert_same(&loaded, &Loaded::default(), "after a life in many commits");

    // The id is free again, and the whole life fits into one commit.
    let life = vec![
        Change::Submitted(submission("a")),
        Change::Assigned(assignment("a", "worker-1", 1)),
        Change::Finished { task_id: id("a"), assigned_to: Some(worker("worker-1")), status },
        Change::Removed { task_id: id("a") },
        Change::WorkerForgotten { worker: worker("worker-1") },
    ];
    leadership.commit(life).await.expect("committed");
    let (_, loaded) = next_term(&store, leadership).await;
    assert_same(&loaded, &Loaded::default(), "after a life in one commit");
}

pub async fn given_back_twice_then_finished(store: Arc<dyn Store>) {
    let (mut leadership, _) = lead(&store).await;
    leadership.commit(vec![Change::Submitted(submission("a"))]).await.expect("committed");
    for (attempt, name) in [(1, "worker-1"), (2, "worker-2")] {
        leadership.commit(vec![Change::Assigned(assignment("a", name, attempt))]).await.expect("committed");
        let status = pending_again(attempt, name);
        let back = Change::GivenBack { task_id: id("a"), worker: worker(name), status: status.clone() };
        leadership.commit(vec![back]).await.expect("committed");
        // The status survives a change of leaders, and the new one can set it again.
        let (next, loaded) = next_term(&store, leadership).await;
        assert_eq!(loaded.tasks, vec![task(submission("a"), Some(status))]);
        assert!(loaded.assignments.is_empty(), "{:?}", loaded.assignments);
        leadership = next;
    }
    let status = ended(3, Outcome::Succeeded(b"at last".as_slice().into()));
    let finish = Change::Finished { task_id: id("a"), assigned_to: Some(worker("worker-1")), status: status.clone() };
    leadership.commit(vec![Change::Assigned(assignment("a", "worker-1", 3)), finish]).await.expect("committed");
    let (mut leadership, loaded) = next_term(&store, leadership).await;
    assert_eq!(loaded.tasks, vec![task(submission("a"), Some(status))]);
    leadership.commit(vec![Change::Removed { task_id: id("a") }]).await.expect("committed");
    let (_, loaded) = next_term(&store, leadership).await;
    assert!(loaded.tasks.is_empty(), "{:?}", loaded.tasks);
}

pub async fn an_assignment_without_a_live_task_is_swept(store: Arc<dyn Store>) {
    let (mut leadership, _) = lead(&store).await;
    let status = ended(1, Outcome::Cancelled);
    let changes = vec![
        Change::Submitted(submission("a")),
        Change::Assigned(assignment("a", "worker-1", 1)),
        Change::Finished { task_id: id("a"), assigned_to: None, status },
        Change::Removed { task_id: id("a") },
    ];
    leadership.commit(changes).await.expect("committed");
    let (mut leadership, loaded) = next_term(&store, leadership).await;
    assert!(loaded.tasks.is_empty(), "{:?}", loaded.tasks);
    assert_eq!(loaded.assignments, vec![assignment("a", "worker-1", 1)]);
    let sweep = Change::Swept { task_id: id("a"), worker: worker("worker-1") };
    leadership.commit(vec![sweep]).await.expect("committed");
    let (_, loaded) = next_term(&store, leadership).await;
    assert!(loaded.assignments.is_empty(), "{:?}", loaded.assignments);
}

pub async fn a_worker_is_remembered_until_it_is_forgotten(store: Arc<dyn Store>) {
    let (mut leadership, _) = lead(&store).await;
    let changes = vec![
        Change::Submitted(submission("a")),
        Change::Assigned(assignment("a", "worker-1", 1)),
        Change::GivenBack { task_id: id("a"), worker: worker("worker-1"), status: pending_again(1, "worker-1") },
    ];
    leadership.commit(changes).await.expect("committed");
    let (mut leadership, loaded) = next_term(&store, leadership).await;
    assert_eq!(loaded.workers, vec![worker("worker-1")]);

    let forgotten = || Change::WorkerForgotten { worker: worker("worker-1") };
    leadership.commit(vec![forgotten()]).await.expect("committed");
    // It may come back in the same term.
    leadership.commit(vec![Change::Assigned(assignment("a", "worker-1", 2))]).await.expect("committed");
    let (mut leadership, loaded) = next_term(&store, leadership).await;
    assert_eq!(loaded.workers, vec![worker("worker-1")]);
    assert_eq!(loaded.assignments, vec![assignment("a", "worker-1", 2)]);

    let back = Change::GivenBack { task_id: id("a"), worker: worker("worker-1"), status: pending_again(2, "worker-1") };
    leadership.commit(vec![back, forgotten()]).await.expect("committed");
    let (_, loaded) = next_term(&store, leadership).await;
    assert!(loaded.workers.is_empty(), "{:?}", loaded.workers);
}

pub async fn a_worker_without_assignments_is_forgotten_too(store: Arc<dyn Store>) {
    let (mut leadership, _) = lead(&store).await;
    let forget = Change::WorkerForgotten { worker: worker("never-seen") };
    leadership.commit(vec![forget, Change::Submitted(submission("a"))]).await.expect("committed");
    let (_, loaded) = next_term(&store, leadership).await;
    assert_eq!(ids(&loaded), ["a"]);
}

pub async fn what_holds_for_a_queue_comes_back_until_it_is_the_default(store: Arc<dyn Store>) {
    let name = |text: &str| text.parse::<QueueName>().expect("a name");
    let set =
        |queue: &str, settings: &QueueSettings| Change::QueueSet { queue: name(queue), settings: settings.clone() };
    let everything = QueueSettings {
        paused: true,
        weight: 1_000,
        max_running: Some(u32::MAX),
        max_starts: Rate::from_thousandths(Rate::MAX_THOUSANDTHS),
        max_pending: Some(1),
    };
    let light = QueueSettings { weight: 2, ..QueueSettings::default() };
    let (mut leadership, _) = lead(&store).await;
    leadership.commit(vec![set("a", &everything), set("b", &light), set("c", &light)]).await.expect("committed");
    // Set again, taken back, never set, and taken back and set in one commit.
    let defaults = QueueSettings::default();
    let changes = vec![
        set("a", &light),
        set("a", &everything),
        set("b", &defaults),
        set("never-set", &defaults),
        set("c", &defaults),
        set("c", &everything),
        Change::Submitted(submission("beside")),
    ];
    leadership.commit(changes).await.expect("committed");
    let (mut leadership, loaded) = next_term(&store, leadership).await;
    let expected = vec![(name("a"), everything.clone()), (name("c"), everything)];
    assert_eq!((&loaded.queues, ids(&loaded)), (&expected, vec!["beside"]));
    // The next leader may take back what it found.
    leadership.commit(vec![set("a", &defaults), set("c", &light)]).await.expect("committed");
    let (_, loaded) = next_term(&store, leadership).await;
    assert_eq!(loaded.queues, [(name("c"), light)]);
}

pub async fn a_drained_worker_stays_so_until_it_is_put_back(store: Arc<dyn Store>) {
    let set = |id: &str, drained| Change::DrainSet { worker: worker(id), drained };
    let (mut leadership, _) = lead(&store).await;
    leadership.commit(vec![set("w1", true), set("w2", true), set("w3", true)]).await.expect("committed");
    // Said again, taken back, never said, and taken back and said again in one commit.
    let changes = vec![
        set("w1", true),
        set("w2", false),
        set("w4", false),
        set("w3", false),
        set("w3", true),
        Change::WorkerForgotten { worker: worker("w1") },
        Change::Submitted(submission("beside")),
    ];
    leadership.commit(changes).await.expect("committed");
    let (mut leadership, loaded) = next_term(&store, leadership).await;
    assert_eq!((&loaded.drained, ids(&loaded)), (&vec![worker("w1"), worker("w3")], vec!["beside"]));
    // The next leader may take back what it found.
    leadership.commit(vec![set("w1", false), set("w4", true)]).await.expect("committed");
    let (_, loaded) = next_term(&store, leadership).await;
    assert_eq!(loaded.drained, [worker("w3"), worker("w4")]);
}

pub async fn a_commit_that_does_not_fit_changes_nothing_and_ends_the_leadership(store: Arc<dyn Store>) {
    let (mut leadership, _) = lead(&store).await;
    leadership.commit(vec![Change::Submitted(submission("taken"))]).await.expect("committed");
    let unfit = leadership.commit(vec![
        Change::Submitted(submission("b")),
        Change::Submitted(submission("taken")),
        Change::Submitted(submission("c")),
    ]);
    // Already on its way when the other fails: it would fit, but must not overtake.
    let successor = leadership.commit(vec![Change::Submitted(submission("d"))]);
    unfit.await.expect_err("the id is taken");
    successor.await.expect_err("the one before failed");
    leadership.commit(vec![Change::Submitted(submission("e"))]).await.expect_err("the leadership is over");
    leadership.commit(Vec::new()).await.expect_err("the leadership is over");
    tokio::time::timeout(LIMIT, leadership.lost().cancelled()).await.expect("the leadership is lost");
    drop(leadership);
    let (_, loaded) = lead(&store).await;
    assert_eq!(ids(&loaded), ["taken"]);
}

pub async fn the_commit_with_the_most_changes_passes(store: Arc<dyn Store>) {
    let names: Vec<_> = (0..MAX_COMMIT_CHANGES).map(|at| format!("task-{at:04}")).collect();
    let submits = names.iter().map(|name| Change::Submitted(submission(name)));
    let assigns = names.iter().map(|name| Change::Assigned(assignment(name, "worker-1", 1)));
    let backs = names.iter().map(|name| {
        let status = Status { worker_deaths: 1, ..pending_again(1, "worker-1") };
        Change::GivenBack { task_id: id(name), worker: worker("worker-1"), status }
    });
    let (mut leadership, _) = lead(&store).await;
    let commits = [submits.collect(), assigns.collect(), backs.collect()].map(|changes| leadership.commit(changes));
    for commit in commits {
        commit.await.expect("committed");
    }
    let (mut leadership, loaded) = next_term(&store, leadership).await;
    assert_eq!(ids(&loaded), names);
    assert!(loaded.tasks.iter().all(|task| task.status == Some(pending_again(1, "worker-1"))));
    let ends = names.iter().map(|name| Change::Finished {
        task_id: id(name),
        assigned_to: None,
        status: ended(1, Outcome::Cancelled),
    });
    let removes = names.iter().map(|name| Change::Removed { task_id: id(name) });
    for commit in [ends.collect(), removes.collect()].map(|changes| leadership.commit(changes)) {
        commit.await.expect("committed");
    }
    let (_, loaded) = next_term(&store, leadership).await;
    assert!(loaded.tasks.is_empty(), "{} tasks are left", loaded.tasks.len());
}

pub async fn the_largest_commit_passes(store: Arc<dyn Store>) {
    let large = |at: usize| {
        let spec = TaskSpec::new("echo".parse().expect("a kind"), &vec![b'x'; MAX_PAYLOAD_BYTES]);
        Submission { spec: Arc::new(spec), ..submission(&format!("large-{at:02}")) }
    };
    let mut expected = Vec::new();
    let mut bytes = 0;
    for at in 0.. {
        let change = Change::Submitted(large(at));
        if bytes + change.bytes() > MAX_COMMIT_BYTES {
            break;
        }
        bytes += change.bytes();
        expected.push(large(at));
    }
    let (mut leadership, _) = lead(&store).await;
    let changes = expected.iter().cloned().map(Change::Submitted).collect();
    leadership.commit(changes).await.expect("committed");
    let result = Outcome::Succeeded(vec![b'y'; MAX_RESULT_BYTES].into());
    let finish = |submission: &Submission| Change::Finished {
        task_id: submission.task_id.clone(),
        assigned_to: None,
        status: ended(1, result.clone()),
    };
    leadership.commit(expected.iter().map(finish).collect()).await.expect("committed");
    let (_, loaded) = next_term(&store, leadership).await;
    let expected: Vec<_> =
        expected.into_iter().map(|submission| task(submission, Some(ended(1, result.clone())))).collect();
    assert!(loaded.tasks == expected, "the large tasks do not come back as they were");
}
