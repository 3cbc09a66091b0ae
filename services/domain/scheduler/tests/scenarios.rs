//! The rules, one scenario each.

use std::{sync::Arc, time::Duration};

use super::{
    super::{Event, Limits, Note},
    world::{World, life, spec, task, worker},
};
use crate::domain::{
    Answer, Budget, FailureReason, ListQuery, Outcome, Priority, Refusal, Report, TaskFilter, TaskState, WorkerQuery,
    WorkerState,
};

const GRACE: Duration = Duration::from_secs(2);

#[test]
fn a_task_goes_through_its_life() {
    let mut world = World::new();
    world.start("w", 1);
    world.submit("a");
    assert_eq!(world.state("a"), TaskState::Assigned);
    world.started("w");
    assert_eq!(world.state("a"), TaskState::Running);
    world.succeed("w", &world.attempt("a"));
    let ended = world.get("a");
    assert_eq!(ended.outcome, Some(Outcome::Succeeded(Arc::from(&b"done"[..]))));
    assert_eq!((ended.attempt, ended.worker), (1, Some(worker("w"))));
    assert!(world.disk.assignments.is_empty());
}

#[test]
fn one_id_is_one_task() {
    let mut world = World::new();
    let Answer::Task(first) = world.submit("a") else { panic!() };
    assert_eq!(world.submit("a"), Answer::Task(first));
    assert_eq!(world.submit_spec("a", spec("other")), Answer::Refused(Refusal::TaskExists));
    assert_eq!(world.disk.tasks.len(), 1);
}

#[test]
fn a_submit_after_its_deadline_is_not_accepted() {
    let mut world = World::new();
    let deadline = world.now.monotonic;
    world.wait(Duration::from_millis(1));
    let late = Event::Submit { task_id: task("a"), spec: Arc::new(spec("work")), traceparent: None, deadline };
    assert_eq!(world.step(late), Some(Answer::Refused(Refusal::DeadlineExceeded)));
    assert!(world.disk.tasks.is_empty());
}

#[test]
fn the_budgets_refuse_before_the_store_bloats() {
    let mut world = World::with(Limits { max_tasks: 1, ..Limits::default() });
    world.submit("a");
    assert_eq!(world.submit("b"), Answer::Refused(Refusal::BudgetExhausted(Budget::Tasks)));
    let mut world = World::with(Limits { max_bytes: 3_000, ..Limits::default() });
    world.submit("a");
    assert_eq!(world.submit("b"), Answer::Refused(Refusal::BudgetExhausted(Budget::Bytes)));
    assert!(matches!(world.submit("a"), Answer::Task(_)), "a repeated submit costs nothing");
}

#[test]
fn a_kind_that_no_worker_serves_waits() {
    let mut world = World::new();
    world.start("w", 1);
    world.submit_spec("a", spec("unheard-of"));
    assert_eq!(world.state("a"), TaskState::Pending);
}

#[test]
fn the_higher_priority_goes_first_and_the_older_among_equals() {
    let mut world = World::new();
    for (id, priority) in [("low", 1), ("old", 5), ("young", 5), ("high", 9)] {
        let mut spec = spec("work");
        spec.priority = Priority::new(priority);
        world.submit_spec(id, spec);
    }
    world.start("w", 1);
    let mut order = Vec::new();
    while let Some(next) = world.hand("w").running.iter().min_by_key(|id| world.get(id.task_id.as_str()).fence).cloned()
    {
        order.push(next.task_id.to_string());
        world.succeed("w", &next);
    }
    assert_eq!(order, ["high", "old", "young", "low"]);
}

#[test]
fn the_emptier_worker_gets_the_next_task() {
    let mut world = World::new();
    world.start("v", 1);
    world.start("w", 2);
    world.submit("a");
    world.submit("b");
    assert_ne!(world.get("a").worker, world.get("b").worker);
}

#[test]
fn a_worker_that_comes_back_in_time_keeps_its_attempts() {
    let mut world = World::new();
    world.start("w", 1);
    world.submit("a");
    world.started("w");
    world.cut("w");
    world.wait(GRACE.saturating_sub(Duration::from_millis(1)));
    assert!(world.hello("w"));
    world.wait(GRACE * 10);
    assert_eq!((world.state("a"), world.get("a").attempt), (TaskState::Running, 1));
}

#[test]
fn a_worker_that_stays_away_is_lost_and_its_attempts_run_elsewhere() {
    let mut world = World::new();
    world.start("w", 1);
    world.submit("a");
    world.start("x", 2);
    world.cut("w");
    world.wait(GRACE);
    let again = world.get("a");
    assert_eq!((again.attempt, again.worker, again.worker_deaths), (2, Some(worker("x")), 1));
    assert_eq!(world.notes, [Note::WorkerLost { worker: worker("w"), attempts: 1 }]);
}

#[test]
fn a_lost_worker_s_late_report_changes_nothing() {
    let mut world = World::new();
    world.start("w", 1);
    world.submit("a");
    let first = world.attempt("a");
    world.start("x", 2);
    world.cut("w");
    world.wait(GRACE);
    // It comes back, still running the attempt that went elsewhere: it is told to stop it.
    assert!(world.hello("w"));
    assert!(world.hand("w").cancelled.contains(&first));
    world.succeed("w", &first);
    assert_eq!((world.state("a"), world.get("a").attempt), (TaskState::Assigned, 2));
    world.succeed("x", &world.attempt("a"));
    assert_eq!(world.state("a"), TaskState::Succeeded);
}

#[test]
fn an_assignment_that_was_missed_is_sent_again_as_the_same_attempt() {
    let mut world = World::slow();
    world.start("w", 1);
    world.settle();
    world.request_submit("a", spec("work"));
    while world.commit(1) {}
    let attempt = world.attempt("a");
    // The order is lost with the link.
    world.cut("w");
    world.settle();
    assert!(world.hand("w").running.is_empty());
    world.hello("w");
    world.settle();
    assert!(world.hand("w").running.contains(&attempt));
    assert_eq!(world.attempt("a"), attempt);
}

#[test]
fn a_second_incarnation_is_refused_while_the_first_is_linked() {
    let mut world = World::new();
    assert!(world.start("w", 1));
    world.submit("a");
    assert!(!world.start("w", 2));
    assert_eq!(world.get("a").attempt, 1);
    world.cut("w");
    assert!(world.start("w", 2), "without the first one's link the second takes its place at once");
    assert_eq!((world.get("a").attempt, world.get("a").incarnation), (2, Some(life(2))));
}

#[test]
fn a_missing_membership_stops_new_assignments_and_nothing_else() {
    let mut world = World::new();
    world.start("w", 1);
    world.submit("a");
    world.started("w");
    world.step(Event::Members(Vec::new()));
    world.submit("b");
    world.wait(GRACE * 10);
    assert_eq!((world.state("a"), world.get("a").attempt), (TaskState::Running, 1));
    assert_eq!(world.state("b"), TaskState::Pending);
    assert_eq!(world.scheduler.workers(&WorkerQuery::default()).workers[0].state, WorkerState::Unregistered);
}

#[test]
fn a_new_leader_takes_over_what_runs() {
    let mut world = World::new();
    world.start("w", 1);
    world.submit("a");
    world.started("w");
    let before = world.get("a");
    world.take_over();
    assert_eq!(world.state("a"), TaskState::Assigned);
    assert!(world.get("a").revision > before.revision, "revisions grow across failovers");
    world.hello("w");
    let after = world.get("a");
    assert_eq!((after.state, after.attempt, after.fence), (TaskState::Running, 1, before.fence));
}

#[test]
fn after_a_takeover_a_worker_has_one_session_timeout_to_come() {
    let mut world = World::new();
    world.start("w", 1);
    world.submit("a");
    world.take_over();
    world.wait(world.limits.takeover_grace.saturating_sub(Duration::from_millis(1)));
    assert_eq!(world.state("a"), TaskState::Assigned);
    world.wait(Duration::from_millis(1));
    assert_eq!(world.state("a"), TaskState::Pending);
}

#[test]
fn a_cancel_is_at_once_and_the_slot_frees_when_the_attempt_has_stopped() {
    let mut world = World::new();
    world.start("w", 1);
    for id in ["a", "b", "c"] {
        world.submit(id);
    }
    assert_eq!(world.state("c"), TaskState::Pending);
    assert!(matches!(world.cancel("a"), Answer::Task(task) if task.state == TaskState::Cancelled));
    assert_eq!(world.state("c"), TaskState::Pending, "the slot is still held");
    world.end("w", Report::Stopped { attempt: world.attempt("a") });
    assert_eq!(world.state("c"), TaskState::Assigned);
    assert!(matches!(world.cancel("a"), Answer::Task(_)), "cancelling what is cancelled is OK");
    world.succeed("w", &world.attempt("b"));
    assert_eq!(world.cancel("b"), Answer::Refused(Refusal::TaskEnded));
    assert_eq!(world.cancel("nobody"), Answer::Refused(Refusal::TaskNotFound));
}

#[test]
fn a_result_that_comes_after_the_cancel_is_dropped() {
    let mut world = World::new();
    world.start("w", 1);
    world.submit("a");
    world.cancel("a");
    world.succeed("w", &world.attempt("a"));
    assert_eq!(world.state("a"), TaskState::Cancelled);
    assert_eq!(world.scheduler.workers(&WorkerQuery::default()).workers[0].busy_slots, 0);
}

#[test]
fn an_at_most_once_task_does_not_run_again() {
    let mut world = World::new();
    world.start("w", 1);
    let mut once = spec("work");
    once.at_most_once = true;
    world.submit_spec("a", once);
    world.start("x", 2);
    world.kill("w");
    world.wait(GRACE);
    let Some(Outcome::Failed(failure)) = world.get("a").outcome else { panic!() };
    assert_eq!(failure.reason, FailureReason::WorkerLost);
}

#[test]
fn an_at_most_once_task_that_was_given_back_runs_again_only_if_it_had_not_begun() {
    for (started, state) in [(false, TaskState::Assigned), (true, TaskState::Failed)] {
        let mut world = World::new();
        world.start("w", 1);
        let mut once = spec("work");
        once.at_most_once = true;
        world.submit_spec("a", once);
        world.end("w", Report::GivenBack { attempt: world.attempt("a"), started });
        world.wait(super::disagreements::REST);
        assert_eq!(world.state("a"), state);
    }
}

#[test]
fn a_task_that_three_workers_died_of_is_poisoned() {
    let mut world = World::new();
    world.submit("a");
    for life in 1..=3 {
        world.start("w", life);
        world.kill("w");
        world.wait(GRACE);
    }
    let Some(Outcome::Failed(failure)) = world.get("a").outcome else { panic!() };
    assert_eq!((failure.reason, world.get("a").worker_deaths), (FailureReason::Poisoned, 3));
}

#[test]
fn what_a_lost_worker_ran_runs_elsewhere_together() {
    let mut world = World::new();
    world.start("w", 1);
    world.submit("a");
    world.submit("b");
    world.kill("w");
    world.wait(GRACE);
    world.start("x", 2);
    assert!(["a", "b"].iter().all(|id| world.get(id).worker == Some(worker("x"))), "one death makes no suspect");
}

#[test]
fn two_suspects_never_share_a_worker() {
    let mut world = World::new();
    world.submit("a");
    world.submit("b");
    for life in [1, 3] {
        world.start("w", life);
        world.kill("w");
        world.wait(GRACE);
    }
    world.submit("c");
    world.start("x", 2);
    let on_x = |id: &str| world.get(id).worker == Some(worker("x")) && world.state(id).is_active();
    assert!(on_x("a") && on_x("c"), "one suspect, and a task that nobody suspects");
    assert_eq!(world.state("b"), TaskState::Pending);
    world.succeed("x", &world.attempt("a"));
    assert_eq!(world.state("b"), TaskState::Assigned);
}

#[test]
fn a_worker_that_leaves_gives_back_without_blame() {
    let mut world = World::new();
    world.start("w", 1);
    world.submit("a");
    world.step(Event::Draining { worker: worker("w"), incarnation: life(1) });
    world.submit("b");
    assert_eq!(world.state("b"), TaskState::Pending);
    world.end("w", Report::GivenBack { attempt: world.attempt("a"), started: true });
    assert_eq!((world.state("a"), world.get("a").worker_deaths), (TaskState::Pending, 0));
    world.step(Event::Goodbye { worker: worker("w"), incarnation: life(1) });
    assert!(world.scheduler.workers(&WorkerQuery::default()).workers.is_empty());
    assert!(world.disk.places.is_empty());
}

#[test]
fn a_goodbye_says_that_what_was_assigned_was_never_begun() {
    let mut world = World::new();
    world.start("w", 1);
    let mut once = spec("work");
    once.at_most_once = true;
    world.submit_spec("a", once);
    world.step(Event::Goodbye { worker: worker("w"), incarnation: life(1) });
    assert_eq!((world.state("a"), world.get("a").worker_deaths), (TaskState::Pending, 0));
}

#[test]
fn the_finished_go_when_their_time_is_over_and_the_failed_stay_longer() {
    let mut world = World::new();
    world.start("w", 1);
    world.submit("good");
    world.submit("bad");
    world.succeed("w", &world.attempt("good"));
    world.fail("w", &world.attempt("bad"));
    world.wait(world.limits.retain_finished);
    assert_eq!(world.scheduler.get(&task("good")), Answer::Refused(Refusal::TaskNotFound));
    world.take_over();
    world.wait(world.limits.retain_failed.saturating_sub(world.limits.retain_finished));
    assert!(world.disk.tasks.is_empty() && world.disk.statuses.is_empty());
}

#[test]
fn more_than_the_count_go_sooner_but_never_within_a_minute() {
    let mut world = World::with(Limits { retain_finished_count: 1, ..Limits::default() });
    world.start("w", 1);
    for id in ["a", "b", "c"] {
        world.submit(id);
        world.succeed("w", &world.attempt(id));
    }
    world.wait(Duration::from_secs(59));
    assert_eq!(world.disk.tasks.len(), 3);
    world.wait(Duration::from_secs(1));
    assert_eq!(world.disk.tasks.len(), 1);
}

#[test]
fn a_listing_pages_through_everything_once() {
    let mut world = World::new();
    for at in 0..25 {
        world.submit(&format!("t{at:02}"));
    }
    let mut query = ListQuery { page_size: 10, ..ListQuery::default() };
    let mut listed = Vec::new();
    loop {
        let page = world.scheduler.list(&query);
        listed.extend(page.tasks.iter().map(|task| task.id.to_string()));
        // Tasks that come behind the page do not disturb it.
        world.submit("t00a");
        match page.next_after {
            Some(after) => query.after = Some(after),
            None => break,
        }
    }
    assert_eq!(listed, (0..25).map(|at| format!("t{at:02}")).collect::<Vec<_>>());
    let filter = TaskFilter { states: [TaskState::Failed].into(), ..TaskFilter::default() };
    assert!(world.scheduler.list(&ListQuery { filter, page_size: 10, ..ListQuery::default() }).tasks.is_empty());
}
