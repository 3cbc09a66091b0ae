//! A worker and a leader that do not hold the same for true: about slots, and about whose attempt an id stands for.

use std::{sync::Arc, time::Duration};

use super::{
    super::Event,
    world::{World, life, worker},
};
use crate::domain::{Report, TaskState};

/// How long a worker that did not begin what it was given gets nothing.
pub const REST: Duration = Duration::from_secs(1);

#[test]
fn a_worker_that_does_not_begin_what_it_is_given_gets_nothing_for_a_while() {
    let mut world = World::new();
    world.start("w", 1);
    world.submit("a");
    world.end("w", Report::GivenBack { attempt: world.attempt("a"), started: false });
    world.submit("b");
    world.wait(REST.saturating_sub(Duration::from_millis(1)));
    assert_eq!((world.state("a"), world.state("b")), (TaskState::Pending, TaskState::Pending));
    world.start("x", 2);
    assert_eq!(world.get("a").worker, Some(worker("x")), "others are not concerned");
    world.submit("c");
    world.wait(Duration::from_millis(1));
    assert_eq!(world.get("c").worker, Some(worker("w")));
}

#[test]
fn a_hello_ends_a_worker_s_rest() {
    let mut world = World::new();
    world.start("w", 1);
    world.submit("a");
    world.end("w", Report::GivenBack { attempt: world.attempt("a"), started: false });
    world.hello("w");
    assert_eq!((world.state("a"), world.get("a").attempt), (TaskState::Assigned, 2));
}

#[test]
fn a_report_of_a_removed_task_does_not_end_the_task_that_took_its_id() {
    let mut world = World::new();
    world.start("w", 1);
    world.submit("a");
    let old = world.attempt("a");
    // The attempt does not stop before its task's retention is over.
    world.cancel("a");
    world.wait(world.limits.retain_finished);
    world.submit("a");
    let new = world.attempt("a");
    assert_eq!((new.attempt, old.attempt), (1, 1));
    let late = Report::Succeeded { attempt: old.clone(), start_time: world.now.wall, result: Arc::from(&b"old"[..]) };
    world.step(Event::Report { worker: worker("w"), incarnation: life(1), report: late });
    assert_eq!(world.state("a"), TaskState::Assigned);
    // Nor is the younger taken for one that runs, on a new link.
    assert_eq!(world.hand("w").running, [old.clone(), new.clone()].into());
    world.hello("w");
    assert!(!world.hand("w").cancelled.contains(&new));
    world.end("w", Report::Stopped { attempt: old });
    world.succeed("w", &new);
    assert_eq!(world.state("a"), TaskState::Succeeded);
}
