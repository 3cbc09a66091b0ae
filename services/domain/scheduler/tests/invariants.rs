//! What holds after every event, whatever it was.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{Effect, lanes::is_suspect, timers::Timer},
    world::{SLOTS, World},
};
use crate::domain::{
    Answer, Change, Explanation, PendingReason, QueueSettings, Task, TaskState, Trials, WorkerId, WorkerOffer,
    WorkerQuery,
};

/// What holds in the leader's memory, whatever of it is durable already.
pub fn check(world: &World) {
    memory_is_what_will_be_durable(world);
    every_assignment_has_its_live_task(world);
    whoever_is_pending_waits_in_one_place(world);
    no_slot_is_given_twice(world);
    nobody_waits_beside_a_free_slot(world);
    counts_are_those_of_the_tasks(world);
    no_attempt_begins_twice(world);
    only_what_runs_has_progress(world);
    whoever_is_pending_has_a_reason_and_nobody_else(world);
    whoever_waits_for_a_drain_knows_how_far_it_is(world);
    selectors_live_with_their_tasks_and_know_their_workers(world);
}

/// What holds of what follows from a step: a spared worker is given only what nobody else with room takes.
pub fn check_choice(world: &World, effects: &[Effect]) {
    for effect in effects {
        let Effect::Change(Change::Assigned(assignment)) = effect else { continue };
        if !world.is_spared(&assignment.worker) {
            continue;
        }
        let entry = world.scheduler.table.get(&assignment.task_id).expect("an assignment is of a task");
        for (id, offer) in offers(world) {
            let takes =
                world.scheduler.fleet.open(&id).filter(|_| !world.is_spared(&id) && offer.serves(&entry.task.spec));
            let could = takes.is_some_and(|takes| takes.suspects || !is_suspect(&entry.task));
            assert!(!could, "{assignment:?}, and {id} has room");
        }
    }
}

/// What holds whenever something has become durable or has left.
pub fn check_durable(world: &World) {
    nothing_acknowledged_is_lost(world);
}

fn memory_is_what_will_be_durable(world: &World) {
    let ahead = &world.ahead;
    let mut tasks = 0;
    let mut assigned = 0;
    for entry in world.scheduler.table.after(None) {
        let task = &entry.task;
        tasks += 1;
        let status = ahead.statuses.get(&task.id);
        let outcome = status.and_then(|status| status.outcome.as_ref());
        assert_eq!(task.outcome.as_ref(), outcome, "{task:?}");
        let durable = status.map_or_else(|| Task::new(&ahead.tasks[&task.id]).trials, |status| status.trials.clone());
        let mut durable = durable.as_deref().cloned().unwrap_or_default();
        if task.state.is_active() {
            durable.next_attempt_time = None;
        }
        assert_eq!(task.trials.as_deref().unwrap_or(&Trials::default()), &durable, "{task:?}");
        if task.state.is_active() {
            assigned += 1;
            let worker = task.worker.clone().expect("an attempt has its worker");
            let assignment = ahead.assignments.get(&(worker, task.id.clone())).expect("an attempt has its assignment");
            assert_eq!((assignment.attempt, assignment.fence), (task.attempt, task.fence));
            assert!(status.is_none_or(|status| status.attempt < task.attempt));
        } else {
            assert_eq!(status.map_or(0, |status| status.attempt), task.attempt, "attempts are used up durably");
        }
    }
    assert_eq!((tasks, assigned), (ahead.tasks.len(), ahead.assignments.len()));
}

fn every_assignment_has_its_live_task(world: &World) {
    for assignment in world.ahead.assignments.values() {
        let status = world.ahead.statuses.get(&assignment.task_id);
        assert!(world.ahead.tasks.contains_key(&assignment.task_id), "{assignment:?}");
        assert!(status.is_none_or(|status| status.outcome.is_none()), "{assignment:?} of {status:?}");
    }
}

fn whoever_is_pending_waits_in_one_place(world: &World) {
    let scheduler = &world.scheduler;
    for entry in scheduler.table.after(None) {
        let places = [
            scheduler.queues.has(&entry.task, entry.submitted, scheduler.fleet.selectors().id(&entry.task.spec)),
            scheduler.timers.is_set(&entry.task.id, Timer::Ready),
        ];
        let waits = entry.task.state == TaskState::Pending;
        assert_eq!(places.iter().filter(|here| **here).count(), usize::from(waits), "{:?}", entry.task);
    }
    for task_id in scheduler.timers.tasks() {
        let task = scheduler.table.get(task_id).map(|entry| &entry.task).expect("what is due is due of a task");
        assert!(task.spec.policy.is_some() && !task.state.is_terminal(), "{task:?}");
    }
}

fn no_slot_is_given_twice(world: &World) {
    for (id, process) in &world.processes {
        assert!(process.hand.taken() <= SLOTS as usize, "{id} holds {:?}", process.hand);
    }
}

fn nobody_waits_beside_a_free_slot(world: &World) {
    for view in world.scheduler.workers(&WorkerQuery { page_size: 1_000, after: None }).workers {
        let Some(takes) = world.scheduler.fleet.open(&view.worker_id) else { continue };
        let next = world.scheduler.queues.next_for(world.now.monotonic, takes);
        assert_eq!(next, None, "{} has a free slot", view.worker_id);
    }
}

fn counts_are_those_of_the_tasks(world: &World) {
    let mut counted = [0; TaskState::ALL.len()];
    for entry in world.scheduler.table.after(None) {
        counted[entry.task.state as usize] += 1;
    }
    assert_eq!(TaskState::ALL.map(|state| world.scheduler.count(state)), counted);
    let mut queues = BTreeMap::<_, [u64; TaskState::ALL.len()]>::new();
    for entry in world.scheduler.table.after(None) {
        queues.entry(entry.task.spec.queue()).or_default()[entry.task.state as usize] += 1;
    }
    let mut known = 0;
    for (name, queue) in world.scheduler.queues.after(None) {
        let settings = world.ahead.queues.get(name).cloned().unwrap_or_default();
        assert_eq!(queue.settings(), &settings, "what holds for {name} is durable");
        let counts = queues.remove(name).unwrap_or_default();
        assert_eq!(queue.counts(), &counts, "{name}");
        assert!(counts != [0; 6] || settings != QueueSettings::default(), "{name} is no queue any more");
        known += usize::from(settings != QueueSettings::default());
    }
    assert!(queues.is_empty(), "{queues:?}");
    assert_eq!((known, known), (world.ahead.queues.len(), world.scheduler.queues.configured().count()));
}

fn offers(world: &World) -> Vec<(WorkerId, WorkerOffer)> {
    let views = world.scheduler.workers(&WorkerQuery { page_size: 1_000, after: None }).workers;
    views.into_iter().filter_map(|view| Some((view.worker_id, view.offer?))).collect()
}

fn selectors_live_with_their_tasks_and_know_their_workers(world: &World) {
    let mut tasks = BTreeMap::<_, u64>::new();
    for entry in world.scheduler.table.after(None).filter(|entry| !entry.task.state.is_terminal()) {
        if let Some(selector) = &entry.task.spec.selector {
            *tasks.entry(&**selector).or_default() += 1;
        }
        if let Some(worker) = entry.task.worker.as_ref().filter(|_| entry.task.state == TaskState::Running) {
            let view = world.scheduler.fleet.view(worker);
            let offer = view.and_then(|view| view.offer).expect("what runs was told by a worker");
            assert!(offer.serves(&entry.task.spec), "{:?} runs on {offer:?}", entry.task);
        }
    }
    let offers = offers(world);
    for (id, selector, held, workers) in world.scheduler.fleet.selectors().iter() {
        let expected = tasks.remove(selector).unwrap_or_default();
        assert!(held == expected && held > 0, "{selector} is held by {held}, and tasks have it: {expected}");
        for (worker, offer) in &offers {
            let matches = selector.matches(&offer.labels);
            assert_eq!(workers.contains(worker), matches, "{selector} and {worker}");
            let open = world.scheduler.fleet.open(worker);
            assert!(open.is_none_or(|takes| takes.selectors.contains(&id) == matches), "{selector} and {worker}");
        }
        assert!(workers.iter().all(|id| offers.iter().any(|(worker, _)| worker == id)), "{selector}: {workers:?}");
    }
    assert!(tasks.is_empty(), "not live: {tasks:?}");
}

fn no_attempt_begins_twice(world: &World) {
    for (attempt, runs) in &world.runs {
        assert!(*runs <= 1, "{attempt} began {runs} times");
    }
}

fn only_what_runs_has_progress(world: &World) {
    for entry in world.scheduler.table.after(None) {
        let task = &entry.task;
        assert!(task.progress.is_none() || task.state == TaskState::Running, "{task:?}");
    }
}

fn whoever_is_pending_has_a_reason_and_nobody_else(world: &World) {
    for entry in world.scheduler.table.after(None) {
        let (id, pending) = (&entry.task.id, entry.task.state == TaskState::Pending);
        let Answer::Explained(explanation) = world.scheduler.explain(world.now, id) else { panic!("{id} is there") };
        let Explanation { task, reasons, worker } = *explanation;
        assert_eq!((reasons.is_empty(), task.worker.is_some() && worker.is_some()), (!pending, task.state.is_active()));
        assert!(!reasons.contains(&PendingReason::AboutToStart), "{id} was to start in this step");
        assert!(!reasons.contains(&PendingReason::Other));
    }
}

fn whoever_waits_for_a_drain_knows_how_far_it_is(world: &World) {
    let scheduler = &world.scheduler;
    let listed = scheduler.workers(&WorkerQuery { page_size: u32::MAX, after: None }).workers;
    let drained: BTreeSet<_> = listed.iter().filter(|view| view.drained).map(|view| view.worker_id.clone()).collect();
    assert_eq!(drained, world.ahead.drained, "a drain is durable, and the worker listed, there or not");
    assert!(listed.is_sorted_by(|a, b| a.worker_id < b.worker_id), "{listed:?}");
    for worker in &drained {
        let drain = scheduler.drain(worker);
        assert_eq!(world.told.get(worker), Some(&(drain.worker.busy_slots, drain.is_over())), "{worker}");
    }
}

fn nothing_acknowledged_is_lost(world: &World) {
    for (id, cancelled) in &world.acknowledged {
        assert!(world.disk.tasks.contains_key(id), "{id} is lost");
        let ended = world.disk.statuses.get(id).and_then(|status| status.outcome.as_ref());
        assert!(!cancelled || ended == Some(&crate::domain::Outcome::Cancelled), "{id} was cancelled, is {ended:?}");
    }
}
