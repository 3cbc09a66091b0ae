//! How far an attempt is: told to whoever watches, written down nowhere.

use std::time::Duration;

use super::world::World;
use crate::domain::{Fence, Fraction, Progress, Report, TaskState};

/// A world with a task that runs.
fn running() -> World {
    let mut world = World::new();
    world.start("w", 1);
    world.submit("a");
    world.started("w");
    world
}

fn fraction(world: &World) -> Option<f64> {
    world.get("a").progress?.fraction.map(Fraction::get)
}

#[test]
fn progress_is_pushed_with_a_revision_of_its_own_and_not_written_down() {
    let mut world = running();
    let before = world.get("a");
    world.progress("w", &world.attempt("a"), 0.5);
    let after = world.get("a");
    assert!(after.revision > before.revision);
    assert_eq!((after.state, fraction(&world)), (TaskState::Running, Some(0.5)));
    assert_eq!(world.seen[&after.id], after, "it was pushed");
    assert!(world.disk.statuses.is_empty(), "nothing is written down");
}

#[test]
fn what_was_said_already_and_what_says_nothing_is_no_change() {
    let mut world = running();
    world.progress("w", &world.attempt("a"), 0.5);
    let before = world.get("a");
    world.progress("w", &world.attempt("a"), 0.5);
    world.claim("w", Report::Progress { attempt: world.attempt("a"), progress: None });
    assert_eq!(world.get("a"), before);
}

#[test]
fn progress_of_an_attempt_that_is_not_current_changes_nothing() {
    let mut world = running();
    let before = world.get("a");
    let current = world.attempt("a");
    for attempt in [
        crate::domain::AttemptId { attempt: 2, ..current.clone() },
        crate::domain::AttemptId { fence: Fence(current.fence.0 + 1), ..current.clone() },
        crate::domain::AttemptId { task_id: "other".parse().unwrap(), ..current.clone() },
    ] {
        world.claim("w", Report::Progress { attempt, progress: Some(Progress::new(0.9).into()) });
    }
    assert_eq!(world.get("a"), before);
    world.cancel("a");
    world.progress("w", &current, 0.9);
    let cancelled = world.get("a");
    assert_eq!((cancelled.state, cancelled.progress), (TaskState::Cancelled, None));
}

#[test]
fn progress_ends_with_its_attempt() {
    let mut world = running();
    world.progress("w", &world.attempt("a"), 0.5);
    world.end("w", Report::GivenBack { attempt: world.attempt("a"), started: true });
    assert_eq!((world.get("a").attempt, fraction(&world)), (2, None), "it runs again, from the beginning");
    world.started("w");
    world.progress("w", &world.attempt("a"), 0.1);
    assert_eq!(fraction(&world), Some(0.1));
    world.succeed("w", &world.attempt("a"));
    assert_eq!((world.state("a"), fraction(&world)), (TaskState::Succeeded, None));
}

#[test]
fn a_new_leader_hears_it_from_the_worker() {
    let mut world = running();
    world.progress("w", &world.attempt("a"), 0.5);
    let before = world.get("a");
    world.take_over();
    world.hello("w");
    let after = world.get("a");
    assert_eq!((after.state, after.progress), (TaskState::Running, before.progress));
    assert!(after.revision > before.revision);
    world.wait(Duration::from_mins(1));
    assert_eq!(world.get("a").attempt, 1);
}
