//! Retries, timeouts and delays, one scenario each.

use std::time::Duration;

use super::{
    super::{Note, timers::Timer},
    world::{World, spec, task},
};
use crate::domain::{
    Failure, FailureReason, Outcome, Policy, RetryPolicy, TaskSpec, TaskState, Timeout, Timeouts, Trials,
};

const GRACE: Duration = Duration::from_secs(2);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
/// Longer than the leader's backstop waits after an attempt's time.
const BACKSTOP: Duration = Duration::from_secs(46);

fn just_under(time: Duration) -> Duration {
    time.saturating_sub(Duration::from_millis(1))
}

fn with(policy: Policy) -> TaskSpec {
    TaskSpec { policy: Some(Box::new(policy)), ..spec("work") }
}

/// A minute after the first failure, two after the second.
fn retries(max_attempts: u32) -> Policy {
    let retry = RetryPolicy {
        max_attempts,
        initial_backoff: Some(MINUTE),
        backoff_multiplier: None,
        max_backoff: None,
        final_exit_statuses: None,
    };
    Policy { retry: Some(retry), ..Policy::default() }
}

fn timeouts(timeouts: Timeouts) -> Policy {
    Policy { timeouts: Some(timeouts), ..Policy::default() }
}

fn trials(world: &World, id: &str) -> Trials {
    world.get(id).trials.as_deref().cloned().unwrap_or_default()
}

/// Why a task failed.
#[track_caller]
fn failure(world: &World, id: &str) -> Failure {
    match world.get(id).outcome {
        Some(Outcome::Failed(failure)) => failure,
        other => panic!("{id}: {other:?}"),
    }
}

#[track_caller]
fn assert_timed_out(world: &World, id: &str, timeout: Timeout) {
    let failure = failure(world, id);
    assert_eq!((failure.reason, failure.timeout), (FailureReason::TimedOut, Some(timeout)));
}

#[test]
fn a_failed_attempt_is_followed_by_another_until_the_last() {
    let mut world = World::new();
    world.start("w", 1);
    world.submit_spec("a", with(retries(3)));
    for (number, wait) in [(1, MINUTE), (2, 2 * MINUTE)] {
        world.fail("w", &world.attempt("a"));
        let waiting = world.get("a");
        assert_eq!((waiting.state, waiting.attempt, waiting.outcome), (TaskState::Pending, number, None));
        let Trials { retries, last_failure, next_attempt_time } = trials(&world, "a");
        assert_eq!((retries, last_failure.map(|failure| failure.reason)), (number, Some(FailureReason::Handler)));
        let left = world.now.wall.until(next_attempt_time.expect("it waits"));
        assert!(left <= wait && left >= wait * 3 / 4, "{left:?}");
        world.wait(just_under(left));
        assert_eq!(world.state("a"), TaskState::Pending);
        world.wait(Duration::from_millis(1));
        assert_eq!((world.state("a"), world.get("a").attempt), (TaskState::Assigned, number + 1));
        assert_eq!(trials(&world, "a").next_attempt_time, None);
    }
    world.fail("w", &world.attempt("a"));
    assert_eq!((failure(&world, "a").reason, trials(&world, "a").retries), (FailureReason::Handler, 2));
    assert_eq!(world.notes.iter().filter(|note| matches!(note, Note::Retried { .. })).count(), 2);
    assert_eq!(world.scheduler.next_tick(), None);
}

#[test]
fn without_a_policy_the_first_failure_is_the_end() {
    let mut world = World::new();
    world.start("w", 1);
    world.submit("a");
    world.fail("w", &world.attempt("a"));
    assert_eq!((world.state("a"), world.get("a").trials), (TaskState::Failed, None));
    world.submit_spec("b", with(retries(1)));
    world.fail("w", &world.attempt("b"));
    assert_eq!(world.state("b"), TaskState::Failed);
}

#[test]
fn deaths_and_failures_do_not_use_up_each_others_budget() {
    let mut world = World::new();
    world.submit_spec("a", with(retries(3)));
    for life in 1..=2 {
        world.start("w", life);
        world.fail("w", &world.attempt("a"));
        world.wait(2 * MINUTE);
        assert_eq!(world.state("a"), TaskState::Assigned, "after failure {life}");
        world.kill("w");
        world.wait(GRACE);
        assert_eq!(world.state("a"), TaskState::Pending, "after death {life}");
        assert_eq!(trials(&world, "a").next_attempt_time, None, "a lost attempt is followed by another at once");
    }
    let waiting = world.get("a");
    assert_eq!((waiting.worker_deaths, trials(&world, "a").retries, waiting.attempt), (2, 2, 4));
    world.start("w", 3);
    world.fail("w", &world.attempt("a"));
    assert_eq!(failure(&world, "a").reason, FailureReason::Handler);
}

#[test]
fn a_new_leader_goes_on_with_what_is_left_of_a_back_off() {
    let mut world = World::new();
    world.start("w", 1);
    world.submit_spec("a", with(retries(2)));
    world.fail("w", &world.attempt("a"));
    let before = trials(&world, "a");
    let left = world.now.wall.until(before.next_attempt_time.expect("it waits"));
    world.wait(left / 2);
    world.take_over();
    world.hello("w");
    assert_eq!((world.state("a"), trials(&world, "a")), (TaskState::Pending, before));
    world.wait(just_under(left.saturating_sub(left / 2)));
    assert_eq!(world.state("a"), TaskState::Pending);
    world.wait(Duration::from_millis(1));
    assert_eq!((world.state("a"), world.get("a").attempt), (TaskState::Assigned, 2));
    world.fail("w", &world.attempt("a"));
    assert_eq!(world.state("a"), TaskState::Failed, "the failures before the takeover are counted");
}

#[test]
fn a_leader_whose_clock_is_an_hour_behind_waits_no_longer_than_was_said() {
    let mut world = World::new();
    world.start("w", 1);
    world.submit_spec("delayed", with(Policy { delay: Some(MINUTE), ..Policy::default() }));
    world.submit_spec("failed", with(retries(2)));
    world.fail("w", &world.attempt("failed"));
    let limit = Timeouts { schedule_to_close: Some(2 * MINUTE), ..Timeouts::default() };
    world.submit_spec("limited", TaskSpec { kind: "other".parse().unwrap(), ..with(timeouts(limit)) });
    world.now.wall.0 -= u64::try_from(HOUR.as_millis()).unwrap();
    world.take_over();
    world.hello("w");
    world.wait(MINUTE);
    assert_eq!([world.state("delayed"), world.state("failed")], [TaskState::Assigned; 2]);
    assert_eq!(world.state("limited"), TaskState::Pending);
    world.wait(MINUTE);
    assert_timed_out(&world, "limited", Timeout::ScheduleToClose);
}

#[test]
fn an_attempt_has_all_of_its_time_under_a_new_leader_whatever_the_clocks_say() {
    for hours in [-1, 1] {
        let mut world = World::new();
        world.start("w", 1);
        let limit = Timeouts { start_to_close: Some(MINUTE), ..Timeouts::default() };
        world.submit_spec("a", with(timeouts(limit)));
        world.started("w");
        world.now.wall.0 = world.now.wall.0.saturating_add_signed(hours * 3_600_000);
        world.take_over();
        world.hello("w");
        world.wait(MINUTE);
        assert_eq!(world.state("a"), TaskState::Running);
        world.wait(BACKSTOP);
        assert_timed_out(&world, "a", Timeout::StartToClose);
    }
}

#[test]
fn an_attempt_that_its_worker_stopped_in_time_is_tried_again() {
    let mut world = World::new();
    world.start("w", 1);
    world.submit_spec("a", with(retries(2)));
    let late = Failure::timed_out(Timeout::StartToClose, "late");
    let (attempt, start_time) = (world.attempt("a"), world.now.wall);
    world.end("w", crate::domain::Report::Failed { attempt, start_time, failure: late });
    assert_eq!((world.state("a"), trials(&world, "a").retries), (TaskState::Pending, 1));
    let note = Note::TimedOut { task_id: task("a"), attempt: 1, timeout: Timeout::StartToClose };
    assert!(world.notes.contains(&note), "{:?}", world.notes);
}

#[test]
fn a_worker_that_neither_ends_nor_stops_an_attempt_loses_it() {
    let mut world = World::new();
    world.start("w", 1);
    let limit = Timeouts { start_to_close: Some(MINUTE), ..Timeouts::default() };
    world.submit_spec("a", with(Policy { timeouts: Some(limit), ..retries(2) }));
    world.started("w");
    world.wait(MINUTE);
    assert_eq!(world.state("a"), TaskState::Running, "its worker is to stop it, and has a moment to say so");
    let first = world.attempt("a");
    world.wait(BACKSTOP);
    assert_eq!((world.state("a"), trials(&world, "a").retries), (TaskState::Pending, 1));
    assert!(world.hand("w").cancelled.contains(&first), "the worker is told to stop it");
    world.wait(MINUTE);
    assert_eq!((world.state("a"), world.get("a").attempt), (TaskState::Assigned, 2));
    // What it says of the first attempt after all is about nothing any more, and frees the slot.
    world.succeed("w", &first);
    assert_eq!(world.state("a"), TaskState::Assigned);
    world.succeed("w", &world.attempt("a"));
    assert_eq!(world.state("a"), TaskState::Succeeded);
    assert_eq!(world.scheduler.totals().busy_slots, 0);
}

#[test]
fn a_task_that_no_worker_takes_in_time_fails() {
    let mut world = World::new();
    let limit = Timeouts { schedule_to_start: Some(MINUTE), ..Timeouts::default() };
    world.submit_spec("a", with(timeouts(limit.clone())));
    world.submit_spec("later", with(Policy { delay: Some(MINUTE), ..timeouts(limit) }));
    world.wait(MINUTE / 2);
    world.take_over();
    world.wait(MINUTE / 2);
    assert_timed_out(&world, "a", Timeout::ScheduleToStart);
    assert_eq!(world.state("later"), TaskState::Pending, "its time for waiting begins with the end of its delay");
    world.wait(MINUTE);
    assert_timed_out(&world, "later", Timeout::ScheduleToStart);
}

#[test]
fn each_wait_for_a_worker_has_all_of_its_time() {
    let mut world = World::new();
    world.start("w", 1);
    let limit = Timeouts { schedule_to_start: Some(MINUTE), ..Timeouts::default() };
    world.submit_spec("a", with(timeouts(limit)));
    world.wait(HOUR);
    assert_eq!(world.state("a"), TaskState::Assigned, "an attempt that is out waits for no worker");
    world.kill("w");
    world.wait(GRACE);
    world.wait(MINUTE / 2);
    world.take_over();
    world.wait(just_under(MINUTE / 2));
    assert_eq!(world.state("a"), TaskState::Pending);
    world.wait(Duration::from_millis(1));
    assert_timed_out(&world, "a", Timeout::ScheduleToStart);
}

#[test]
fn a_task_whose_time_is_over_ends_whatever_it_is_doing() {
    let limit = || Timeouts { schedule_to_close: Some(MINUTE), ..Timeouts::default() };
    let mut world = World::new();
    world.submit_spec("pending", TaskSpec { kind: "other".parse().unwrap(), ..with(timeouts(limit())) });
    world.start("w", 1);
    world.submit_spec("running", with(timeouts(limit())));
    world.submit_spec("waiting", with(Policy { timeouts: Some(limit()), ..retries(9) }));
    world.fail("w", &world.attempt("waiting"));
    world.started("w");
    assert_eq!(world.state("waiting"), TaskState::Pending);
    let attempt = world.attempt("running");
    world.wait(just_under(MINUTE));
    world.fail("w", &world.attempt("waiting"));
    assert_eq!(failure(&world, "waiting").reason, FailureReason::Handler, "no wait that would be in vain");
    world.wait(Duration::from_millis(1));
    for id in ["pending", "running"] {
        assert_timed_out(&world, id, Timeout::ScheduleToClose);
    }
    assert!(world.hand("w").cancelled.contains(&attempt));
    assert_eq!(world.scheduler.totals().busy_slots, 1, "its slot is held until it has stopped");
    world.succeed("w", &attempt);
    assert_eq!(world.scheduler.totals().busy_slots, 0);
    assert_eq!(world.scheduler.next_tick(), None);
}

#[test]
fn the_time_of_a_whole_task_goes_on_under_a_new_leader() {
    let mut world = World::new();
    world.start("w", 1);
    let limit = Timeouts { schedule_to_close: Some(MINUTE), ..Timeouts::default() };
    world.submit_spec("a", with(timeouts(limit)));
    world.started("w");
    world.wait(MINUTE / 2);
    world.take_over();
    world.hello("w");
    world.wait(just_under(MINUTE / 2));
    assert_eq!(world.state("a"), TaskState::Running);
    world.wait(Duration::from_millis(1));
    assert_timed_out(&world, "a", Timeout::ScheduleToClose);
}

#[test]
fn a_delayed_task_begins_when_its_time_has_come() {
    let mut world = World::new();
    world.start("w", 1);
    let not_before = Some(world.now.wall.after(HOUR));
    world.submit_spec("at", with(Policy { not_before, ..Policy::default() }));
    world.submit_spec("after", with(Policy { delay: Some(MINUTE), ..Policy::default() }));
    let past = Some(crate::domain::Wall(1));
    world.submit_spec("past", with(Policy { not_before: past, ..Policy::default() }));
    assert_eq!([world.state("at"), world.state("after")], [TaskState::Pending; 2]);
    assert_eq!(trials(&world, "at").next_attempt_time, not_before);
    assert_eq!((world.state("past"), trials(&world, "past")), (TaskState::Assigned, Trials::default()));
    world.wait(MINUTE / 2);
    world.take_over();
    world.hello("w");
    world.wait(MINUTE / 2);
    assert_eq!([world.state("at"), world.state("after")], [TaskState::Pending, TaskState::Assigned]);
    world.succeed("w", &world.attempt("after"));
    world.wait(HOUR.saturating_sub(MINUTE));
    assert_eq!(world.state("at"), TaskState::Assigned);
}

#[test]
fn a_task_that_waits_for_its_time_can_be_cancelled() {
    let mut world = World::new();
    world.start("w", 1);
    world.submit_spec("delayed", with(Policy { delay: Some(MINUTE), ..Policy::default() }));
    world.submit_spec("failed", with(retries(2)));
    world.fail("w", &world.attempt("failed"));
    for id in ["delayed", "failed"] {
        assert!(world.scheduler.timers.is_set(&task(id), Timer::Ready));
        world.cancel(id);
        assert_eq!((world.state(id), trials(&world, id).next_attempt_time), (TaskState::Cancelled, None));
    }
    assert_eq!(world.scheduler.next_tick(), None);
}

#[test]
fn what_becomes_due_together_is_taken_in_bounded_steps() {
    let mut world = World::new();
    for at in 0..600 {
        world.submit_spec(&format!("t{at}"), with(Policy { delay: Some(MINUTE), ..Policy::default() }));
    }
    world.now.monotonic = world.now.monotonic.after(MINUTE);
    let mut steps = 0;
    while world.scheduler.next_tick().is_some() {
        world.step(super::super::Event::Tick);
        steps += 1;
    }
    assert_eq!(steps, 3);
    assert!(world.disk.statuses.is_empty(), "becoming ready is no change");
}
