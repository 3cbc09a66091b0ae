//! Queues: whose turn it is, what holds for them, what is told of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;

use super::{
    super::{
        lanes::OLDEST_EVERY,
        queues::{Queues, Takes},
    },
    world::{SLOTS, World, spec, task},
};
use crate::domain::{
    Answer, Kind, LimitUpdate, Monotonic, Priority, QueueName, QueueQuery, QueueSettings, QueueState, QueueUpdate,
    Rate, Refusal, Revision, Submission, Task, TaskSpec, TaskState, Wall,
};

fn in_queue(queue: &str) -> TaskSpec {
    TaskSpec { queue: Some(queue.parse().unwrap()), ..spec("work") }
}

fn paused(paused: bool) -> QueueUpdate {
    QueueUpdate { paused: Some(paused), ..QueueUpdate::default() }
}

fn max_running(most: u32) -> QueueUpdate {
    QueueUpdate { max_running: LimitUpdate::To(most), ..QueueUpdate::default() }
}

fn max_starts(thousandths: u32) -> QueueUpdate {
    QueueUpdate { max_starts: LimitUpdate::To(Rate::from_thousandths(thousandths).unwrap()), ..QueueUpdate::default() }
}

/// How many tasks of a queue are out.
fn active(world: &World, queue: &str) -> u64 {
    let tasks = world.queue(queue).tasks;
    tasks[TaskState::Assigned as usize] + tasks[TaskState::Running as usize]
}

/// A worker ends what it holds, the first assigned first; returns in which order the queues' tasks went.
fn order(world: &mut World, id: &str, ends: usize) -> Vec<String> {
    let mut order = Vec::new();
    for _ in 0..ends {
        let fence = |world: &World, id: &str| world.get(id).fence;
        let next = world.hand(id).running.iter().min_by_key(|next| fence(world, next.task_id.as_str())).cloned();
        let Some(next) = next else { break };
        order.push(world.get(next.task_id.as_str()).spec.queue().to_string());
        world.succeed(id, &next);
    }
    order
}

#[test]
fn a_paused_queue_starts_nothing_across_a_takeover_until_it_is_resumed() {
    let mut world = World::new();
    world.start("w", 1);
    world.submit_spec("runs", in_queue("other"));
    let Answer::Queue(view) = world.update("other", &paused(true)) else { panic!() };
    assert_eq!(view.state, QueueState::Paused);
    world.submit_spec("waits", in_queue("other"));
    world.submit("elsewhere");
    assert_eq!((world.state("runs"), world.state("waits")), (TaskState::Assigned, TaskState::Pending));
    assert_eq!(world.state("elsewhere"), TaskState::Assigned);
    world.take_over();
    world.hello("w");
    world.succeed("w", &world.attempt("runs"));
    assert_eq!((world.state("runs"), world.state("waits")), (TaskState::Succeeded, TaskState::Pending));
    assert_eq!(world.queue("other").state, QueueState::Paused);
    world.update("other", &paused(false));
    assert_eq!(world.state("waits"), TaskState::Assigned);
    assert!(world.disk.queues.is_empty(), "what holds for any queue is not kept");
}

#[test]
fn what_stays_as_it_is_is_not_written() {
    let mut world = World::new();
    for update in [paused(false), QueueUpdate::default()] {
        let mut effects = Vec::new();
        let event = super::super::Event::UpdateQueue { queue: "other".parse().unwrap(), update };
        world.scheduler.step(world.now, event, &mut effects);
        assert_eq!(effects.len(), 1, "an answer only: {effects:?}");
    }
    assert_eq!(world.scheduler.totals().queues, 0, "asking makes no queue");
}

#[test]
fn no_more_run_at_once_than_may_and_the_next_starts_elsewhere_too() {
    let mut world = World::new();
    world.update("other", &max_running(1));
    for id in ["a", "b", "c"] {
        world.submit_spec(id, in_queue("other"));
    }
    world.start("v", 1);
    world.start("w", 2);
    assert_eq!((active(&world, "other"), world.queue("other").state), (1, QueueState::AtMaxRunning));
    // The worker that had it is gone: its slot is not the one in which the next task runs.
    let holder = world.get("a").worker.unwrap();
    world.drain(holder.as_str());
    world.succeed(holder.as_str(), &world.attempt("a"));
    assert_eq!(active(&world, "other"), 1);
    assert_ne!(world.get("b").worker, Some(holder));
    world.update("other", &max_running(2));
    assert_eq!(active(&world, "other"), 2);
    world.cancel("b");
    assert_eq!(active(&world, "other"), 1, "nothing waits any more");
    assert_eq!(world.queue("other").state, QueueState::Open);
}

#[test]
fn what_a_lost_worker_ran_makes_room_for_others() {
    let mut world = World::new();
    world.update("default", &max_running(1));
    world.start("w", 1);
    world.submit("a");
    world.submit("b");
    world.start("x", 2);
    world.kill("w");
    world.settle();
    world.wait(Duration::from_secs(2));
    assert_eq!(world.state("a"), TaskState::Assigned, "the older first");
    assert_eq!(world.state("b"), TaskState::Pending);
}

#[test]
fn starts_a_second_are_counted_and_the_next_tick_says_when() {
    let mut world = World::new();
    world.start("w", 1);
    world.update("other", &max_starts(500));
    for id in ["a", "b"] {
        world.submit_spec(id, in_queue("other"));
    }
    assert_eq!((world.state("a"), world.state("b")), (TaskState::Assigned, TaskState::Pending));
    assert_eq!(world.queue("other").state, QueueState::AtMaxStarts);
    let next = Monotonic(world.now.monotonic.0 + 2_000);
    assert_eq!(world.scheduler.next_tick(), Some(next));
    world.wait(Duration::from_millis(1_999));
    assert_eq!(world.state("b"), TaskState::Pending);
    world.wait(Duration::from_millis(1));
    assert_eq!(world.state("b"), TaskState::Assigned);
    world.submit_spec("c", in_queue("other"));
    world.succeed("w", &world.attempt("a"));
    assert_eq!(world.state("c"), TaskState::Pending);
    // A higher rate counts from now on.
    world.update("other", &max_starts(10_000));
    world.wait(Duration::from_millis(100));
    assert_eq!(world.state("c"), TaskState::Assigned);
    world.update("other", &QueueUpdate { max_starts: LimitUpdate::Lifted, ..QueueUpdate::default() });
    assert_eq!(world.scheduler.next_tick(), None);
}

#[test]
fn a_full_queue_takes_no_more_and_a_repeated_submit_is_answered() {
    let mut world = World::new();
    world.update("other", &QueueUpdate { max_pending: LimitUpdate::To(1), ..QueueUpdate::default() });
    world.submit_spec("a", in_queue("other"));
    let full = Answer::Refused(Refusal::QueueFull("other".parse().unwrap()));
    assert_eq!(world.submit_spec("b", in_queue("other")), full);
    assert!(matches!(world.submit_spec("a", in_queue("other")), Answer::Task(_)));
    assert!(matches!(world.submit("b"), Answer::Task(_)), "another queue has room");
    world.start("w", 1);
    assert!(matches!(world.submit_spec("c", in_queue("other")), Answer::Task(_)), "it was started");
}

#[test]
fn where_two_queues_wait_their_weights_count_and_not_their_priorities() {
    let mut world = World::new();
    world.update("other", &QueueUpdate { weight: Some(3), ..QueueUpdate::default() });
    for at in 0..40 {
        world.submit_spec(&format!("d{at}"), TaskSpec { priority: Priority::new(9), ..spec("work") });
        world.submit_spec(&format!("o{at}"), in_queue("other"));
    }
    world.start("w", 1);
    let order = order(&mut world, "w", 40);
    for part in order.chunks(4) {
        assert_eq!(part.iter().filter(|queue| *queue == "other").count(), 3, "{order:?}");
    }
}

#[test]
fn a_task_that_comes_while_another_queue_waits_is_not_seated_before_it() {
    let mut world = World::new();
    world.start("w", 1);
    for at in 0..SLOTS {
        world.submit(&format!("busy{at}"));
    }
    world.update("other", &paused(true));
    world.submit_spec("first", in_queue("other"));
    // Resumed and given a slot in one step with nothing between: both wait, and the share decides.
    world.update("other", &paused(false));
    world.submit("second");
    world.succeed("w", &world.attempt("busy0"));
    assert_eq!((world.state("first"), world.state("second")), (TaskState::Assigned, TaskState::Pending));
}

#[test]
fn a_thousand_queues_may_have_settings_and_no_more() {
    let mut world = World::new();
    for at in 0..QueueSettings::MAX_CONFIGURED {
        world.update(&format!("q{at:04}"), &paused(true));
    }
    assert_eq!(world.update("other", &paused(true)), Answer::Refused(Refusal::TooManyQueues));
    assert!(matches!(world.update("q0000", &max_running(1)), Answer::Queue(_)), "one of them may change");
    world.update("q0001", &paused(false));
    assert!(matches!(world.update("other", &paused(true)), Answer::Queue(_)), "there is room again");
    world.take_over();
    assert_eq!(world.update("more", &paused(true)), Answer::Refused(Refusal::TooManyQueues));
}

#[test]
fn queues_are_listed_in_pages_each_once_while_there_is_something_to_tell() {
    let mut world = World::new();
    world.start("w", 1);
    let submitted = world.now.wall;
    for queue in ["c", "a", "default"] {
        world.submit_spec(&format!("of-{queue}"), in_queue(queue));
        world.wait(Duration::from_millis(5));
    }
    world.update("b", &paused(true));
    let mut query = QueueQuery { page_size: 3, after: None };
    let first = world.scheduler.queues(world.now, &query);
    query.after.clone_from(&first.next_after);
    let second = world.scheduler.queues(world.now, &query);
    let views: Vec<_> = first.queues.iter().chain(&second.queues).collect();
    assert_eq!(views.iter().map(|view| view.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "default"]);
    assert_eq!(second.next_after, None);
    let oldest: Vec<_> = views.iter().map(|view| view.oldest_pending).collect();
    assert_eq!(oldest, [Some(Wall(submitted.0 + 5)), None, Some(submitted), None]);

    for id in ["of-a", "of-c"] {
        world.cancel(id);
    }
    world.update("b", &paused(false));
    world.wait(Duration::from_mins(11));
    assert_eq!(world.scheduler.totals().queues, 1, "what has neither tasks nor settings is gone");
}

static NONE: BTreeSet<usize> = BTreeSet::new();

fn takes<'a>(kinds: &'a BTreeSet<Kind>, queues: &'a BTreeSet<QueueName>, selectors: &'a BTreeSet<usize>) -> Takes<'a> {
    Takes { kinds, queues, selectors, suspects: true }
}

fn waiting(queues: &mut Queues, number: u64, kind: &str, priority: u8, selector: Option<usize>) {
    let spec = TaskSpec { priority: Priority::new(priority), ..spec(kind) };
    let submission = Submission {
        task_id: task(&format!("t{number}")),
        spec: spec.into(),
        create_time: Wall(0),
        revision: Revision(number),
        traceparent: None,
        retry_of: None,
    };
    queues.push(&Task::new(&submission), Revision(number), selector);
}

proptest! {
    /// However many tasks of higher priority come, of whatever kinds and selectors, and whichever workers take them: a task waits for
    /// no more starts of workers that could take it than the rule says.
    #[test]
    fn nobody_is_passed_over_for_ever(
        steps in prop::collection::vec((0..4u8, 0..3usize, 0..10u8, prop::option::of(0..3usize)), 1..600),
    ) {
        let kinds = ["a", "b", "c"];
        // A worker for each kind, and one for all.
        let mut served: Vec<BTreeSet<Kind>> = kinds.iter().map(|kind| [kind.parse().unwrap()].into()).collect();
        served.push(kinds.iter().map(|kind| kind.parse().unwrap()).collect());
        // The selectors that match each of them.
        let matching = [vec![], vec![0], vec![1, 2], vec![0, 1]].map(BTreeSet::from_iter);
        let names: BTreeSet<QueueName> = [QueueName::default()].into();
        let now = Monotonic(0);
        let mut queues = Queues::default();
        // Of each that waits: its kind, its selector, how many were older when it came, how many starts could have been its own.
        let mut waits = BTreeMap::<u64, (usize, Option<usize>, u32, u32)>::new();
        for (number, (worker, kind, priority, selector)) in steps.into_iter().enumerate() {
            let number = number as u64;
            waiting(&mut queues, number, kinds[kind], priority, selector);
            waits.insert(number, (kind, selector, u32::try_from(waits.len()).unwrap(), 0));
            // Two come for each that starts.
            if number.is_multiple_of(2) {
                continue;
            }
            let worker = usize::from(worker);
            let started = queues.start_next(now, takes(&served[worker], &names, &matching[worker]));
            let Some(started) = started else { continue };
            let started: u64 = started.as_str()[1..].parse().unwrap();
            for (kind, selector, _, passed) in waits.values_mut() {
                let matches = selector.is_none_or(|selector| matching[worker].contains(&selector));
                *passed += u32::from(matches && served[worker].contains(&kinds[*kind].parse().unwrap()));
            }
            let (_, selector, older, passed) = waits.remove(&started).unwrap();
            prop_assert!(selector.is_none_or(|selector| matching[worker].contains(&selector)));
            prop_assert!(passed <= OLDEST_EVERY * (older + 1), "t{started} waited for {passed} starts behind {older}");
            for (task, (_, _, older, passed)) in &waits {
                prop_assert!(*passed < OLDEST_EVERY * (older + 1), "t{task} waits for {passed} starts behind {older}");
            }
        }
    }
}

/// Under a steady stream of high priority nine of ten starts are its own, and the old task of low priority gets one.
#[test]
fn one_of_ten_starts_goes_to_the_oldest_if_it_is_always_passed_over() {
    let mut queues = Queues::default();
    let (kinds, names) = (BTreeSet::from(["a".parse().unwrap()]), BTreeSet::from([QueueName::default()]));
    for number in 0..10 {
        waiting(&mut queues, number, "a", 0, None);
    }
    let mut of_low = Vec::new();
    for number in 0..100 {
        waiting(&mut queues, 100 + number, "a", 9, None);
        let started = queues.start_next(Monotonic(0), takes(&kinds, &names, &NONE)).unwrap();
        let started: u64 = started.as_str()[1..].parse().unwrap();
        if started < 100 {
            of_low.push((number + 1, started));
        }
    }
    let expected: Vec<_> = (0..10).map(|at| (10 * (at + 1), at)).collect();
    assert_eq!(of_low, expected);
}

#[test]
fn a_change_of_settings_says_what_holds_from_now_on() {
    let mut world = World::new();
    world.update("other", &max_running(3));
    let settings = QueueSettings { max_running: Some(3), ..QueueSettings::default() };
    assert_eq!(world.disk.queues, BTreeMap::from([("other".parse().unwrap(), settings.clone())]));
    world.update("other", &paused(true));
    assert_eq!(world.queue("other").settings, QueueSettings { paused: true, ..settings });
}
