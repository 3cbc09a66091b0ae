//! Which worker may run a task by its labels, and which worker is spared.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    super::{Effect, Event, Limits, MAX_LIVE_SELECTORS, Scheduler, lanes::OLDEST_EVERY},
    world::{World, spec, task, worker},
};
use crate::domain::{
    Answer, Condition, LimitUpdate, Loaded, LoadedTask, Now, Priority, QueueUpdate, Refusal, Report, Requirement,
    Revision, Selector, Submission, TaskSpec, TaskState, Term,
};

pub fn one_of(key: &str, values: &[&str]) -> Requirement {
    Requirement { key: key.into(), condition: Condition::In(values.iter().map(|value| Box::from(*value)).collect()) }
}

pub fn none_of(key: &str, values: &[&str]) -> Requirement {
    Requirement { key: key.into(), condition: Condition::NotIn(values.iter().map(|value| Box::from(*value)).collect()) }
}

pub fn exists(key: &str) -> Requirement {
    Requirement { key: key.into(), condition: Condition::Exists }
}

pub fn does_not_exist(key: &str) -> Requirement {
    Requirement { key: key.into(), condition: Condition::DoesNotExist }
}

pub fn requiring(requirements: &[Requirement]) -> TaskSpec {
    TaskSpec { selector: Selector::new(requirements.to_vec()).map(Arc::new), ..spec("work") }
}

fn in_zone(zone: &str) -> TaskSpec {
    requiring(&[one_of("zone", &[zone])])
}

fn labels(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn start(world: &mut World, id: &str, incarnation: u8, zone: &str) {
    world.label(id, labels(&[("zone", zone)]));
    world.start(id, incarnation);
}

fn who(world: &World, id: &str) -> Option<String> {
    world.get(id).worker.filter(|_| world.state(id).is_active()).map(|worker| worker.to_string())
}

#[test]
fn a_task_goes_to_a_worker_that_its_selector_matches_and_waits_for_one() {
    let mut world = World::new();
    start(&mut world, "a", 1, "a");
    start(&mut world, "b", 2, "b");
    for id in ["1", "2"] {
        world.submit_spec(id, in_zone("b"));
    }
    assert_eq!([who(&world, "1"), who(&world, "2")], [Some("b".into()), Some("b".into())], "a is as empty as can be");
    world.submit_spec("full", in_zone("b"));
    world.submit_spec("nowhere", in_zone("c"));
    world.submit_spec("not-b", requiring(&[none_of("zone", &["b"]), exists("zone")]));
    world.submit("any");
    assert_eq!([who(&world, "full"), who(&world, "nowhere")], [None, None]);
    assert_eq!(
        [who(&world, "not-b"), who(&world, "any")],
        [Some("a".into()), Some("a".into())],
        "nobody stands in the way"
    );
    world.succeed("b", &world.attempt("1"));
    assert_eq!(who(&world, "full"), Some("b".into()));
    start(&mut world, "c", 3, "c");
    assert_eq!(who(&world, "nowhere"), Some("c".into()), "a worker has come that matches");
}

#[test]
fn a_missing_label_is_none_of_the_values_and_does_not_exist() {
    let mut world = World::new();
    world.submit_spec("notin", requiring(&[none_of("zone", &["a"])]));
    world.submit_spec("missing", requiring(&[does_not_exist("zone")]));
    start(&mut world, "a", 1, "a");
    assert_eq!([who(&world, "notin"), who(&world, "missing")], [None, None]);
    world.start("plain", 2);
    assert_eq!([who(&world, "notin"), who(&world, "missing")], [Some("plain".into()), Some("plain".into())]);
}

#[test]
fn a_worker_that_comes_back_with_other_labels_is_matched_anew() {
    let mut world = World::new();
    start(&mut world, "w", 1, "a");
    world.submit_spec("of-a", in_zone("a"));
    world.submit_spec("of-b", in_zone("b"));
    assert_eq!([who(&world, "of-a"), who(&world, "of-b")], [Some("w".into()), None]);
    world.kill("w");
    world.settle();
    start(&mut world, "w", 2, "b");
    assert_eq!(
        [who(&world, "of-a"), who(&world, "of-b")],
        [None, Some("w".into())],
        "what it lost is not for it any more"
    );
    start(&mut world, "v", 3, "a");
    assert_eq!((who(&world, "of-a"), world.get("of-a").attempt), (Some("v".into()), 2));
}

#[test]
fn selectors_hold_under_a_new_leader() {
    let mut world = World::new();
    start(&mut world, "a", 1, "a");
    for id in ["1", "2", "3"] {
        world.submit_spec(id, in_zone("a"));
    }
    world.submit_spec("of-b", in_zone("b"));
    world.take_over();
    world.hello("a");
    world.succeed("a", &world.attempt("1"));
    assert_eq!([who(&world, "2"), who(&world, "3"), who(&world, "of-b")], [Some("a".into()), Some("a".into()), None]);
    start(&mut world, "b", 2, "b");
    assert_eq!(who(&world, "of-b"), Some("b".into()));
}

/// What a scheduler on its own answers to a submit.
fn answer(scheduler: &mut Scheduler, now: Now, id: &str, spec: TaskSpec) -> Answer {
    let (mut effects, deadline) = (Vec::new(), now.monotonic.after(Duration::from_secs(30)));
    scheduler.step(
        now,
        Event::Submit { task_id: task(id), spec: spec.into(), traceparent: None, deadline },
        &mut effects,
    );
    let answers = effects.into_iter().filter_map(|effect| match effect {
        Effect::Answer(answer) => Some(answer),
        _ => None,
    });
    answers.last().expect("a call is answered")
}

/// So many tasks, each with a selector of its own.
fn recovered(now: Now, tasks: usize) -> Scheduler {
    let one = |at| Submission {
        task_id: task(&format!("t{at}")),
        spec: in_zone(&format!("zone-{at}")).into(),
        create_time: now.wall,
        revision: Revision(at as u64 + 1),
        traceparent: None,
        retry_of: None,
    };
    let tasks = (0..tasks).map(|at| LoadedTask { submission: one(at), status: None }).collect();
    let loaded = Loaded { tasks, ..Loaded::default() };
    Scheduler::recover(Limits::default(), Term(1), now, loaded).0
}

#[test]
fn one_selector_too_many_is_refused_until_one_has_no_task_any_more() {
    let now = World::new().now;
    let scheduler = &mut recovered(now, MAX_LIVE_SELECTORS - 1);
    assert!(matches!(answer(scheduler, now, "last", in_zone("b")), Answer::Task(_)));
    assert_eq!(answer(scheduler, now, "more", in_zone("c")), Answer::Refused(Refusal::TooManySelectors));
    assert!(matches!(answer(scheduler, now, "again", in_zone("b")), Answer::Task(_)), "it is there already");
    assert!(matches!(answer(scheduler, now, "plain", spec("work")), Answer::Task(_)));
    scheduler.step(now, Event::Cancel { task_id: task("last") }, &mut Vec::new());
    assert_eq!(answer(scheduler, now, "more", in_zone("c")), Answer::Refused(Refusal::TooManySelectors), "one has it");
    scheduler.step(now, Event::Cancel { task_id: task("again") }, &mut Vec::new());
    assert!(matches!(answer(scheduler, now, "more", in_zone("c")), Answer::Task(_)));
}

#[test]
fn a_recovery_is_not_refused_for_its_selectors() {
    let now = World::new().now;
    let scheduler = &mut recovered(now, MAX_LIVE_SELECTORS + 10);
    assert_eq!(scheduler.count(TaskState::Pending), MAX_LIVE_SELECTORS as u64 + 10);
    assert_eq!(answer(scheduler, now, "more", in_zone("c")), Answer::Refused(Refusal::TooManySelectors));
    assert!(matches!(answer(scheduler, now, "same", in_zone("zone-3")), Answer::Task(_)));
}

#[test]
fn of_many_workers_that_match_the_emptiest_is_found() {
    let mut world = World::new();
    for at in 0..40 {
        start(&mut world, &format!("b{at}"), at + 1, "b");
        start(&mut world, &format!("a{at}"), at + 101, "a");
    }
    let mut seen = std::collections::BTreeSet::new();
    for at in 0..40 {
        world.submit_spec(&format!("t{at}"), in_zone("b"));
        let worker = who(&world, &format!("t{at}")).unwrap();
        assert!(worker.starts_with('b') && seen.insert(worker), "each has one before any has two");
    }
}

fn sparing() -> World {
    let mut world = World::with(Limits { spare_beside: Some("here:1".into()), ..Limits::default() });
    world.put_beside("own", "here:1");
    world.put_beside("other", "there:1");
    world
}

#[test]
fn the_leader_s_own_worker_gets_tasks_only_while_no_other_has_room() {
    let mut world = sparing();
    world.start("own", 1);
    world.submit("alone");
    assert_eq!(who(&world, "alone"), Some("own".into()), "the only one is used");
    world.start("other", 2);
    world.start("third", 3);
    let mut workers: Vec<_> = (0..4)
        .map(|at| {
            world.submit(&format!("t{at}"));
            who(&world, &format!("t{at}")).unwrap()
        })
        .collect();
    workers.sort();
    assert_eq!(workers, ["other", "other", "third", "third"]);
    world.submit("last");
    assert_eq!(who(&world, "last"), Some("own".into()));
    // It gives back what it has, and others have room: it is not given it again.
    let freed = world.hand("third").running.first().cloned().unwrap();
    world.succeed("third", &freed);
    world.end("own", Report::GivenBack { attempt: world.attempt("last"), started: true });
    assert_eq!((who(&world, "last"), world.get("last").attempt), (Some("third".into()), 2));
}

#[test]
fn workers_that_become_open_together_are_filled_evenly_and_the_spared_one_last() {
    let mut world = sparing();
    let closed =
        |most| QueueUpdate { max_running: LimitUpdate::To(most), paused: Some(false), ..QueueUpdate::default() };
    world.update("default", &QueueUpdate { paused: Some(true), ..QueueUpdate::default() });
    for (at, id) in ["own", "other", "third"].into_iter().enumerate() {
        world.start(id, u8::try_from(at).unwrap() + 1);
    }
    for at in 0..5 {
        world.submit(&format!("t{at}"));
    }
    world.update("default", &closed(2));
    let busy = |world: &World| {
        let mut busy: Vec<_> = (0..5).filter_map(|at| who(world, &format!("t{at}"))).collect();
        busy.sort();
        busy
    };
    assert_eq!(busy(&world), ["other", "third"]);
    world.update("default", &closed(5));
    assert_eq!(busy(&world), ["other", "other", "own", "third", "third"]);
}

#[test]
fn whose_worker_is_spared_follows_the_leadership() {
    let mut world = sparing();
    world.start("own", 1);
    world.start("other", 2);
    world.submit("a");
    assert_eq!(who(&world, "a"), Some("other".into()));
    world.limits.spare_beside = Some("there:1".into());
    world.take_over();
    world.hello("own");
    world.hello("other");
    world.submit("b");
    world.submit("c");
    assert_eq!([who(&world, "b"), who(&world, "c")], [Some("own".into()), Some("own".into())]);
    world.limits.spare_beside = None;
    world.take_over();
    world.hello("own");
    world.hello("other");
    world.submit("d");
    assert_eq!(who(&world, "d"), Some("other".into()), "nobody is spared: the emptiest");
    assert_eq!(world.state("d"), TaskState::Assigned);
    assert!(world.get("d").worker == Some(worker("other")));
}

/// One worker without a label and one with; a queue of which one task may run; plain tasks that always wait.
fn limited() -> World {
    let mut world = World::new();
    world.update("default", &QueueUpdate { max_running: LimitUpdate::To(1), ..QueueUpdate::default() });
    world.start("a", 1);
    start(&mut world, "b", 2, "b");
    for number in 10..60 {
        world.submit(&number.to_string());
    }
    world
}

/// How many tasks that run are ended before this one starts.
fn starts_before(world: &mut World, id: &str) -> usize {
    for ended in 0.. {
        if world.state(id).is_active() {
            return ended;
        }
        let holder = ["a", "b"].into_iter().find(|holder| !world.hand(holder).running.is_empty()).expect("one runs");
        let attempt = world.hand(holder).running.first().cloned().unwrap();
        world.succeed(holder, &attempt);
    }
    unreachable!()
}

#[test]
fn in_a_limited_queue_whom_few_workers_take_goes_by_its_priority() {
    let mut world = limited();
    let urgent = TaskSpec { priority: Priority::new(9), ..in_zone("b") };
    world.submit_spec("urgent", urgent);
    assert_eq!(starts_before(&mut world, "urgent"), 1);
}

#[test]
fn in_a_limited_queue_whom_few_workers_take_is_not_passed_over_for_ever() {
    let mut world = limited();
    for id in ["late", "later"] {
        world.submit_spec(id, TaskSpec { priority: Priority::new(0), ..in_zone("b") });
    }
    // Older are 49 that wait, each of which goes by its priority.
    for _ in 0..45 {
        let holder = ["a", "b"].into_iter().find(|holder| !world.hand(holder).running.is_empty()).unwrap();
        let attempt = world.hand(holder).running.first().cloned().unwrap();
        world.succeed(holder, &attempt);
    }
    for number in 60..99 {
        world.submit(&number.to_string());
    }
    let started = starts_before(&mut world, "late");
    let most = 5 + usize::try_from(OLDEST_EVERY).unwrap();
    assert!(started <= most, "{started} went before it, when at most {most} may");
    let started = starts_before(&mut world, "later");
    assert!(started <= most, "{started} went before the next");
}
