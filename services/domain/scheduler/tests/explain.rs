//! Why a task waits, one reason each.

use std::time::Duration;

use super::{
    super::Event,
    selectors::{exists, requiring},
    world::{World, life, spec, task, worker},
};
use crate::domain::{
    Answer, Explanation, LimitUpdate, PendingReason, Policy, QueueUpdate, Rate, Refusal, Report, RetryPolicy, TaskSpec,
    TaskState, UnavailableWorkers, WorkerState,
};

const MINUTE: Duration = Duration::from_mins(1);

fn explain(world: &World, id: &str) -> Explanation {
    match world.scheduler.explain(world.now, &task(id)) {
        Answer::Explained(explanation) => *explanation,
        other => panic!("{id}: {other:?}"),
    }
}

fn reasons(world: &World, id: &str) -> Vec<PendingReason> {
    explain(world, id).reasons
}

fn in_queue(queue: &str) -> TaskSpec {
    TaskSpec { queue: Some(queue.parse().unwrap()), ..spec("work") }
}

/// A worker with both slots taken.
fn busy(world: &mut World, id: &str, life: u8) {
    world.start(id, life);
    for at in 0..2 {
        world.submit(&format!("{id}-{at}"));
    }
}

fn unavailable(change: impl FnOnce(&mut UnavailableWorkers)) -> PendingReason {
    let mut counts = UnavailableWorkers::default();
    change(&mut counts);
    PendingReason::WorkersUnavailable(counts)
}

#[test]
fn nobody_serves_its_kind_or_its_queue_or_has_its_labels() {
    let mut world = World::new();
    world.submit("a");
    let kind = || "work".parse().unwrap();
    assert_eq!(reasons(&world, "a"), [PendingReason::KindNotServed { kind: kind(), workers: 0 }]);
    world.start("w1", 1);
    world.submit_spec("strange", spec("strange"));
    let strange = "strange".parse().unwrap();
    assert_eq!(reasons(&world, "strange"), [PendingReason::KindNotServed { kind: strange, workers: 1 }]);
    world.submit_spec("elsewhere", in_queue("elsewhere"));
    let queue = "elsewhere".parse().unwrap();
    assert_eq!(reasons(&world, "elsewhere"), [PendingReason::QueueNotServed { queue, workers: 1 }]);
    world.submit_spec("labelled", requiring(&[exists("gpu")]));
    assert_eq!(
        reasons(&world, "labelled"),
        [PendingReason::SelectorNotMatched { workers: 1, requirements: vec![(exists("gpu"), 0)] }]
    );
}

#[test]
fn each_requirement_says_of_how_many_workers_it_holds_by_itself() {
    let mut world = World::new();
    for (id, life, label) in [("w1", 1, "gpu"), ("w2", 2, "ssd"), ("w3", 3, "ssd")] {
        world.label(id, [(label.to_owned(), "yes".to_owned())].into());
        world.start(id, life);
    }
    world.submit_spec("both", requiring(&[exists("gpu"), exists("ssd")]));
    let requirements = vec![(exists("gpu"), 1), (exists("ssd"), 2)];
    assert_eq!(reasons(&world, "both"), [PendingReason::SelectorNotMatched { workers: 3, requirements }]);
    world.label("w3", [("gpu", "a"), ("ssd", "b")].map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    world.hello("w3");
    assert_eq!((world.state("both"), reasons(&world, "both")), (TaskState::Assigned, vec![]));
}

#[test]
fn every_slot_is_busy() {
    let mut world = World::new();
    busy(&mut world, "w1", 1);
    busy(&mut world, "w2", 2);
    for id in ["a", "b"] {
        world.submit(id);
    }
    assert_eq!(reasons(&world, "b"), [PendingReason::SlotsBusy { workers: 2, slots: 4, pending: 2 }]);
}

#[test]
fn workers_that_get_nothing_new_are_counted_once_each_by_why() {
    let mut world = World::new();
    for (id, life) in [("drained", 1), ("stopping", 2), ("unregistered", 3), ("away", 4)] {
        busy(&mut world, id, life);
    }
    world.set_drained("drained", true);
    world.step(Event::Draining { worker: worker("stopping"), incarnation: life(2) });
    world.cut("away");
    let members = ["drained", "stopping", "away"]
        .map(|id| crate::domain::Member { worker_id: worker(id), incarnation: world.hand(id).incarnation });
    world.step(Event::Members(members.into()));
    world.submit("a");
    let expected = unavailable(|counts| {
        *counts = UnavailableWorkers { drained: 1, stopping: 1, unregistered: 1, resting: 0, disconnected: 1 };
    });
    assert_eq!(reasons(&world, "a"), [expected]);
}

#[test]
fn a_worker_rests_that_did_not_begin_what_it_was_given() {
    let mut world = World::new();
    world.start("w1", 1);
    world.submit("a");
    let attempt = world.attempt("a");
    world.end("w1", Report::GivenBack { attempt, started: false });
    assert_eq!(reasons(&world, "a"), [unavailable(|counts| counts.resting = 1)]);
    world.wait(Duration::from_secs(1));
    assert_eq!((world.state("a"), reasons(&world, "a")), (TaskState::Assigned, vec![]));
}

#[test]
fn a_worker_that_a_new_leader_has_not_heard_of_may_serve_it() {
    let mut world = World::new();
    world.start("w1", 1);
    world.submit("runs");
    world.submit_spec("waits", spec("strange"));
    world.take_over();
    let nobody = PendingReason::KindNotServed { kind: "strange".parse().unwrap(), workers: 0 };
    assert_eq!(reasons(&world, "waits"), [nobody, unavailable(|counts| counts.disconnected = 1)]);
}

#[test]
fn its_queue_is_paused_and_at_its_limits_all_at_once() {
    let mut world = World::new();
    world.start("w1", 1);
    world.submit_spec("runs", in_queue("other"));
    let rate = Rate::from_thousandths(500).unwrap();
    let update = QueueUpdate {
        paused: Some(true),
        max_running: LimitUpdate::To(1),
        max_starts: LimitUpdate::To(rate),
        ..QueueUpdate::default()
    };
    world.update("other", &update);
    world.submit_spec("waits", in_queue("other"));
    let queue = || "other".parse().unwrap();
    let paused = PendingReason::QueuePaused { queue: queue() };
    let at_max_running = PendingReason::QueueAtMaxRunning { queue: queue(), max_running: 1, running: 1 };
    assert_eq!(reasons(&world, "waits"), [paused, at_max_running.clone()]);
    world.update("other", &QueueUpdate { paused: Some(false), ..QueueUpdate::default() });
    assert_eq!(reasons(&world, "waits"), [at_max_running]);
    world.update("other", &QueueUpdate { max_running: LimitUpdate::To(2), ..QueueUpdate::default() });
    world.submit_spec("next", in_queue("other"));
    let attempt = world.attempt("runs");
    world.succeed("w1", &attempt);
    let next_start = world.now.wall.after(Duration::from_secs(2));
    assert_eq!(
        reasons(&world, "next"),
        [PendingReason::QueueAtMaxStarts { queue: queue(), max_starts: rate, next_start }]
    );
}

#[test]
fn a_task_waits_for_its_time_and_for_its_next_try() {
    let mut world = World::new();
    world.start("w1", 1);
    let retry = RetryPolicy {
        max_attempts: 3,
        initial_backoff: Some(MINUTE),
        backoff_multiplier: None,
        max_backoff: None,
        final_exit_statuses: None,
    };
    let policy = Policy { retry: Some(retry), delay: Some(MINUTE), ..Policy::default() };
    world.submit_spec("a", TaskSpec { policy: Some(Box::new(policy)), ..spec("work") });
    let start = world.now.wall.after(MINUTE);
    assert_eq!(reasons(&world, "a"), [PendingReason::NotBefore { start }]);
    world.wait(MINUTE);
    assert_eq!((world.state("a"), reasons(&world, "a")), (TaskState::Assigned, vec![]));
    let attempt = world.attempt("a");
    world.fail("w1", &attempt);
    let retry = world.get("a").trials.as_ref().unwrap().next_attempt_time.unwrap();
    assert_eq!(reasons(&world, "a"), [PendingReason::BackingOff { retry, failed_attempts: 1 }]);
    world.kill("w1");
    world.wait(Duration::from_secs(3));
    world.update("default", &QueueUpdate { paused: Some(true), ..QueueUpdate::default() });
    let paused = PendingReason::QueuePaused { queue: "default".parse().unwrap() };
    let nobody = PendingReason::KindNotServed { kind: "work".parse().unwrap(), workers: 0 };
    assert_eq!(reasons(&world, "a"), [PendingReason::BackingOff { retry, failed_attempts: 1 }, paused, nobody]);
}

#[test]
fn one_that_workers_died_of_runs_beside_no_other() {
    let mut world = World::new();
    for id in ["a", "b"] {
        world.submit(id);
    }
    for life in [1, 3] {
        world.start("w", life);
        world.kill("w");
        world.wait(Duration::from_secs(3));
    }
    world.start("x", 2);
    assert_eq!(reasons(&world, "b"), [PendingReason::KeptApart { worker_deaths: 2, workers: 1 }]);
}

#[test]
fn a_task_that_runs_or_has_ended_says_where_it_is() {
    let mut world = World::new();
    world.start("w1", 1);
    world.submit("a");
    let view = explain(&world, "a").worker.unwrap();
    assert_eq!((view.incarnation, view.state), (Some(life(1)), WorkerState::Ready));
    world.cut("w1");
    assert_eq!(explain(&world, "a").worker.unwrap().state, WorkerState::Disconnected);
    world.hello("w1");
    let attempt = world.attempt("a");
    world.succeed("w1", &attempt);
    let explanation = explain(&world, "a");
    assert_eq!((explanation.task.state, explanation.reasons, explanation.worker), (TaskState::Succeeded, vec![], None));
    let unknown = world.scheduler.explain(world.now, &task("unknown"));
    assert_eq!(unknown, Answer::Refused(Refusal::TaskNotFound));
}
