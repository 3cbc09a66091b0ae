//! Workers out of service.

use std::time::Duration;

use super::world::{World, worker};
use crate::domain::{
    Answer, AttemptId, DrainView, MAX_DRAINED_WORKERS, Refusal, Report, TaskState, WorkerQuery, WorkerState,
    WorkerView, scheduler::Note,
};

fn drain(world: &mut World, id: &str) -> WorkerView {
    match world.set_drained(id, true) {
        Some(Answer::Worker(view)) => *view,
        other => panic!("{other:?}"),
    }
}

fn undrain(world: &mut World, id: &str) -> WorkerView {
    match world.set_drained(id, false) {
        Some(Answer::Worker(view)) => *view,
        other => panic!("{other:?}"),
    }
}

fn of(world: &World, id: &str) -> DrainView {
    world.scheduler.drain(&worker(id))
}

fn emptied(world: &World) -> usize {
    world.notes.iter().filter(|note| matches!(note, Note::Emptied { .. })).count()
}

#[test]
fn a_drained_worker_keeps_what_it_has_gets_nothing_new_and_says_when_it_is_empty() {
    let mut world = World::new();
    world.start("w1", 1);
    world.submit("runs");
    let drained = drain(&mut world, "w1");
    assert_eq!((drained.state, drained.drained, drained.busy_slots), (WorkerState::Draining, true, 1));
    world.submit("waits");
    assert_eq!((world.state("runs"), world.state("waits")), (TaskState::Assigned, TaskState::Pending));
    assert!(!of(&world, "w1").empty && emptied(&world) == 0);
    let attempt = world.attempt("runs");
    world.succeed("w1", &attempt);
    assert_eq!((world.state("runs"), world.state("waits")), (TaskState::Succeeded, TaskState::Pending));
    assert!(of(&world, "w1").empty && of(&world, "w1").worker.state == WorkerState::Drained);
    assert_eq!(emptied(&world), 1);
    assert_eq!(undrain(&mut world, "w1").state, WorkerState::Ready);
    assert_eq!(world.state("waits"), TaskState::Assigned, "at once");
}

#[test]
fn a_drain_said_twice_is_one_and_a_worker_that_nobody_knows_cannot_be_drained() {
    let mut world = World::new();
    world.start("w1", 1);
    assert_eq!(world.set_drained("w2", true), Some(Answer::Refused(Refusal::WorkerNotFound)));
    assert_eq!(drain(&mut world, "w1"), drain(&mut world, "w1"));
    undrain(&mut world, "w1");
    assert_eq!(undrain(&mut world, "w1").state, WorkerState::Ready);
    assert_eq!(undrain(&mut world, "w2").incarnation, None, "as it is of one that was put back and has gone");
}

#[test]
fn a_drain_outlives_the_worker_and_the_leader() {
    let mut world = World::new();
    world.start("w1", 1);
    drain(&mut world, "w1");
    world.kill("w1");
    world.wait(Duration::from_secs(3));
    let listed = world.scheduler.workers(&WorkerQuery::default()).workers;
    let seen: Vec<_> = listed.iter().map(|view| (view.worker_id.as_str(), view.state, view.drained)).collect();
    assert_eq!(seen, [("w1", WorkerState::Disconnected, true)], "it is not forgotten");
    world.take_over();
    world.start("w1", 2);
    world.submit("waits");
    assert_eq!(world.state("waits"), TaskState::Pending);
    assert_eq!(of(&world, "w1").worker.state, WorkerState::Drained);
    world.kill("w1");
    world.wait(Duration::from_secs(3));
    assert_eq!(undrain(&mut world, "w1").state, WorkerState::Disconnected);
    assert!(world.scheduler.workers(&WorkerQuery::default()).workers.is_empty());
    world.start("w1", 3);
    assert_eq!(world.state("waits"), TaskState::Assigned);
}

#[test]
fn a_lost_drained_worker_is_empty() {
    let mut world = World::new();
    world.start("w1", 1);
    world.submit("a");
    drain(&mut world, "w1");
    world.kill("w1");
    assert!(!of(&world, "w1").empty, "it may come back");
    world.wait(Duration::from_secs(3));
    assert!(of(&world, "w1").empty && world.state("a") == TaskState::Pending);
}

#[test]
fn an_attempt_that_is_still_stopping_keeps_a_worker_from_being_empty_under_a_new_leader_too() {
    let mut world = World::new();
    world.start("w1", 1);
    world.submit("a");
    drain(&mut world, "w1");
    let attempt = world.attempt("a");
    world.cancel("a");
    assert_eq!((of(&world, "w1").worker.busy_slots, of(&world, "w1").empty), (1, false));
    world.take_over();
    assert!(!of(&world, "w1").empty, "the new leader has not heard of it");
    world.hello("w1");
    assert_eq!((of(&world, "w1").worker.busy_slots, of(&world, "w1").empty), (1, false));
    world.end("w1", Report::Stopped { attempt });
    assert!(of(&world, "w1").empty);
}

#[test]
fn a_new_leader_takes_a_drained_worker_that_stays_away_for_empty_after_the_grace() {
    let mut world = World::new();
    world.start("w1", 1);
    drain(&mut world, "w1");
    world.kill("w1");
    world.take_over();
    assert!(!of(&world, "w1").empty);
    world.wait(world.limits.takeover_grace);
    assert!(of(&world, "w1").empty);
    assert!(!world.notes.iter().any(|note| matches!(note, Note::WorkerLost { .. })), "{:?}", world.notes);
}

/// A new leader that has not heard of the worker, which still stops this attempt.
fn stopping_unheard(world: &mut World) -> AttemptId {
    world.start("w1", 1);
    world.submit("a");
    let attempt = world.attempt("a");
    world.cancel("a");
    world.take_over();
    attempt
}

#[test]
fn a_worker_that_is_drained_before_it_has_said_hello_to_a_new_leader_is_not_empty_yet() {
    let mut world = World::new();
    let attempt = stopping_unheard(&mut world);
    assert_eq!(drain(&mut world, "w1").busy_slots, 0, "as far as the leader knows");
    assert!(!of(&world, "w1").empty && emptied(&world) == 0);
    world.hello("w1");
    assert_eq!((of(&world, "w1").worker.busy_slots, of(&world, "w1").empty), (1, false));
    world.end("w1", Report::Stopped { attempt });
    assert!(of(&world, "w1").empty && emptied(&world) == 1);
}

#[test]
fn a_drain_that_is_taken_back_and_set_again_within_the_grace_waits_as_the_first_one_did() {
    let mut world = World::new();
    stopping_unheard(&mut world);
    drain(&mut world, "w1");
    undrain(&mut world, "w1");
    drain(&mut world, "w1");
    assert!(!of(&world, "w1").empty && emptied(&world) == 0);
    world.wait(world.limits.takeover_grace);
    assert!(of(&world, "w1").empty && emptied(&world) == 1, "it had the time for a hello");
    undrain(&mut world, "w1");
    drain(&mut world, "w1");
    assert!(of(&world, "w1").empty, "the grace is over");
}

#[test]
fn no_more_workers_are_drained_than_may_be() {
    let mut world = World::new();
    world.start("w1", 1);
    world.ahead.drained = (0..MAX_DRAINED_WORKERS).map(|at| worker(&format!("away-{at}"))).collect();
    world.disk = world.ahead.clone();
    world.take_over();
    assert_eq!(world.set_drained("w1", true), Some(Answer::Refused(Refusal::TooManyDrained)));
    undrain(&mut world, "away-7");
    assert!(drain(&mut world, "w1").drained);
}
