//! Sequences of events that nobody thought of. Nothing arrives by itself: what is said, what is committed, and that a
//! link has ended are steps like any other, so that everything can be late, lost with its link, or said twice.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::{
    selectors::{does_not_exist, exists, none_of, one_of, requiring},
    world::{World, worker},
};
use crate::domain::{LimitUpdate, Policy, QueueUpdate, Rate, Report, Requirement, RetryPolicy, TaskState, Timeouts};

/// The workers, by number.
const WORKERS: [&str; 3] = ["w0", "w1", "w2"];
/// More than the retention of what has finished: ids become free again.
const LONG: Duration = Duration::from_mins(11);
/// Most rounds that healing takes: three deaths of a worker for each task, two tasks at a time.
const ROUNDS: usize = 100;

#[derive(Debug, Clone)]
enum Step {
    Submit { task: u8, other: bool, priority: u8, at_most_once: bool, policy: Option<Policy>, selector: u8 },
    Queue { other: bool, how: u8 },
    Cancel { task: u8 },
    Retry { of: u8, task: u8 },
    Delete { task: u8 },
    Start { worker: usize, labels: u8 },
    Register,
    Hello { worker: usize },
    Cut { worker: usize },
    Kill { worker: usize },
    Drain { worker: usize },
    SetDrained { worker: usize, drained: bool },
    Begin { worker: usize },
    Progress { worker: usize, percent: u8 },
    End { worker: usize, how: u8 },
    Rise { worker: usize, messages: u8 },
    Descend { worker: usize, messages: u8 },
    HearEnd,
    Commit { items: u8 },
    Settle,
    Wait { millis: u16 },
    WaitLong,
    TakeOver,
}

/// Times about as long as a worker's grace and a takeover's.
fn policy() -> impl Strategy<Value = Policy> {
    let time = || prop::option::of((1..8_000u64).prop_map(Duration::from_millis));
    let timeouts = (time(), time(), time()).prop_map(|(schedule_to_start, start_to_close, schedule_to_close)| {
        // Whoever always waits for a worker in vain would end with nothing else having happened.
        let longer = |limit: Option<Duration>| limit.map(|limit| limit * 4);
        Timeouts {
            schedule_to_start: longer(schedule_to_start),
            start_to_close,
            schedule_to_close: longer(schedule_to_close),
            heartbeat: None,
        }
    });
    (0..4u32, time(), time(), prop::option::of(timeouts)).prop_map(|(max_attempts, backoff, delay, timeouts)| Policy {
        retry: (max_attempts > 0).then_some(RetryPolicy {
            max_attempts,
            initial_backoff: backoff,
            backoff_multiplier: None,
            max_backoff: None,
            final_exit_statuses: None,
        }),
        timeouts,
        not_before: None,
        delay,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let worker = 0..WORKERS.len();
    prop_oneof![
        4 => (0..8u8, any::<bool>(), 0..10u8, prop::bool::weighted(0.2), prop::option::of(policy()), 0..12u8).prop_map(
            |(task, other, priority, at_most_once, policy, selector)|
                Step::Submit { task, other, priority, at_most_once, policy, selector }),
        2 => (any::<bool>(), 0..8u8).prop_map(|(other, how)| Step::Queue { other, how }),
        2 => (0..8u8).prop_map(|task| Step::Cancel { task }),
        2 => (0..8u8, 0..8u8).prop_map(|(of, task)| Step::Retry { of, task }),
        1 => (0..8u8).prop_map(|task| Step::Delete { task }),
        3 => (worker.clone(), 0..4u8).prop_map(|(worker, labels)| Step::Start { worker, labels }),
        2 => Just(Step::Register),
        4 => worker.clone().prop_map(|worker| Step::Hello { worker }),
        2 => worker.clone().prop_map(|worker| Step::Cut { worker }),
        1 => worker.clone().prop_map(|worker| Step::Kill { worker }),
        1 => worker.clone().prop_map(|worker| Step::Drain { worker }),
        2 => (worker.clone(), any::<bool>()).prop_map(|(worker, drained)| Step::SetDrained { worker, drained }),
        2 => worker.clone().prop_map(|worker| Step::Begin { worker }),
        2 => (worker.clone(), 0..=100u8).prop_map(|(worker, percent)| Step::Progress { worker, percent }),
        6 => (worker.clone(), 0..6u8).prop_map(|(worker, how)| Step::End { worker, how }),
        6 => (worker.clone(), 1..4u8).prop_map(|(worker, messages)| Step::Rise { worker, messages }),
        6 => (worker, 1..4u8).prop_map(|(worker, messages)| Step::Descend { worker, messages }),
        2 => Just(Step::HearEnd),
        5 => (1..12u8).prop_map(|items| Step::Commit { items }),
        4 => Just(Step::Settle),
        2 => (0..5_000u16).prop_map(|millis| Step::Wait { millis }),
        1 => Just(Step::WaitLong),
        1 => Just(Step::TakeOver),
    ]
}

fn take(world: &mut World, step: &Step, lives: &mut u8) {
    let id = |number: usize| worker(WORKERS[number]);
    match *step {
        Step::Submit { task, other, priority, at_most_once, ref policy, selector } => {
            let mut spec = requiring(&requirements(selector));
            spec.queue = other.then(|| "other".parse().unwrap());
            spec.priority = crate::domain::Priority::new(priority);
            spec.at_most_once = at_most_once;
            spec.policy = policy.clone().map(Box::new);
            world.request_submit(&format!("t{task}"), spec);
        }
        Step::Queue { other, how } => _ = world.request_update(if other { "other" } else { "default" }, &update(how)),
        Step::Cancel { task } => world.request_cancel(&format!("t{task}")),
        Step::Retry { of, task } => world.request_retry(&format!("t{of}"), &format!("t{task}")),
        Step::Delete { task } => world.request_delete(&format!("t{task}")),
        Step::Start { worker, labels } => {
            world.label(WORKERS[worker], self::labels(labels));
            *lives = lives.wrapping_add(1);
            world.start(WORKERS[worker], *lives);
        }
        Step::Register => world.be_members(),
        Step::Hello { worker } => _ = world.hello(WORKERS[worker]),
        Step::Cut { worker } => world.cut(WORKERS[worker]),
        Step::Kill { worker } => world.kill(WORKERS[worker]),
        Step::Drain { worker } => world.drain(WORKERS[worker]),
        Step::SetDrained { worker, drained } => _ = world.set_drained(WORKERS[worker], drained),
        Step::Begin { worker } => world.started(WORKERS[worker]),
        Step::Progress { worker, percent } => progress(world, WORKERS[worker], percent),
        Step::End { worker, how } => end(world, WORKERS[worker], how),
        Step::Rise { worker, messages } => (0..messages).for_each(|_| _ = world.rise(&id(worker))),
        Step::Descend { worker, messages } => (0..messages).for_each(|_| _ = world.descend(&id(worker))),
        Step::HearEnd => _ = world.hear_end(),
        Step::Commit { items } => _ = world.commit(items.into()),
        Step::Settle => world.settle(),
        Step::Wait { millis } => world.wait(Duration::from_millis(millis.into())),
        Step::WaitLong => world.wait(LONG),
        Step::TakeOver => world.take_over(),
    }
}

/// What a task requires; most require nothing. One of the two workers that come at the end matches each.
fn requirements(selector: u8) -> Vec<Requirement> {
    match selector {
        0 => vec![one_of("zone", &["a", "b"])],
        1 => vec![none_of("zone", &["a", "c"])],
        2 => vec![exists("ssd")],
        3 => vec![does_not_exist("ssd")],
        4 => vec![one_of("zone", &["a"]), exists("ssd")],
        5 => vec![none_of("zone", &["a"]), does_not_exist("ssd")],
        _ => vec![],
    }
}

/// Of a worker, from its next life on.
fn labels(labels: u8) -> BTreeMap<String, String> {
    let zone = (labels & 1 == 1).then(|| ("zone".to_owned(), "a".to_owned()));
    let ssd = (labels & 2 == 2).then(|| ("ssd".to_owned(), String::new()));
    zone.into_iter().chain(ssd).collect()
}

/// The worker's first attempt gets further.
fn progress(world: &mut World, name: &str, percent: u8) {
    let first = world.processes.get(&worker(name)).and_then(|process| process.hand.running.first().cloned());
    if let Some(attempt) = first {
        world.progress(name, &attempt, f64::from(percent) / 100.0);
    }
}

/// What an operator says of a queue.
fn update(how: u8) -> QueueUpdate {
    let nothing = QueueUpdate::default();
    let rate = |thousandths| Rate::from_thousandths(thousandths).map_or(LimitUpdate::Lifted, LimitUpdate::To);
    match how {
        0 => QueueUpdate { paused: Some(true), ..nothing },
        1 => QueueUpdate { paused: Some(false), ..nothing },
        2 => QueueUpdate { max_running: LimitUpdate::To(1), ..nothing },
        3 => QueueUpdate { max_starts: rate(500), ..nothing },
        4 => QueueUpdate { max_starts: rate(3_000), weight: Some(7), ..nothing },
        5 => QueueUpdate { max_pending: LimitUpdate::To(2), ..nothing },
        _ => lifted(),
    }
}

/// As of a queue of which nobody has said anything.
fn lifted() -> QueueUpdate {
    QueueUpdate {
        paused: Some(false),
        weight: Some(1),
        max_running: LimitUpdate::Lifted,
        max_starts: LimitUpdate::Lifted,
        max_pending: LimitUpdate::Lifted,
    }
}

/// The worker's first attempt ends.
fn end(world: &mut World, name: &str, how: u8) {
    let Some(process) = world.processes.get(&worker(name)) else { return };
    let Some(attempt) = process.hand.running.first().cloned() else { return };
    match how {
        0..=2 => world.succeed(name, &attempt),
        3 => world.fail(name, &attempt),
        _ => world.end(name, Report::GivenBack { attempt, started: how == 4 }),
    }
}

/// From now on everything arrives, every worker has a link, and two more have come: one with every label, one with none.
fn heal(world: &mut World) {
    world.settle();
    for queue in ["default", "other"] {
        world.request_update(queue, &lifted());
    }
    for name in WORKERS {
        world.set_drained(name, false);
    }
    world.label("w8", labels(3));
    world.start("w8", 254);
    world.start("w9", 255);
    let names = [&WORKERS[..], &["w8", "w9"]].concat();
    for _ in 0..ROUNDS {
        world.settle();
        world.be_members();
        for name in &names {
            if !world.is_welcomed(&worker(name)) {
                world.hello(name);
            }
            end(world, name, 0);
        }
        world.settle();
        world.wait(Duration::from_secs(5));
    }
    world.settle();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn the_invariants_hold_and_everything_ends(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::slow();
        world.spare(WORKERS[0]);
        let mut lives = 0;
        for step in &steps {
            take(&mut world, step, &mut lives);
        }
        heal(&mut world);
        for state in [TaskState::Pending, TaskState::Assigned, TaskState::Running] {
            prop_assert_eq!(world.scheduler.count(state), 0);
        }
    }
}
