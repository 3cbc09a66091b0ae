//! What holds after every event, whatever it was.

use super::{
    super::fleet::Worker,
    world::{SLOTS, World},
};
use crate::domain::{TaskState, WorkerQuery, WorkerState};

pub fn check(world: &World) {
    memory_is_what_is_durable(world);
    every_assignment_has_its_live_task(world);
    no_slot_is_given_twice(world);
    nobody_waits_beside_a_free_slot(world);
    counts_are_those_of_the_tasks(world);
    no_attempt_begins_twice(world);
}

fn memory_is_what_is_durable(world: &World) {
    let memory: Vec<_> = world.scheduler.table.after(None).map(|entry| &entry.task).collect();
    assert_eq!(memory.len(), world.disk.tasks.len());
    for task in memory {
        let assigned: Vec<_> =
            world.disk.assignments.values().filter(|assignment| assignment.task_id == task.id).collect();
        let status = world.disk.statuses.get(&task.id);
        let outcome = status.and_then(|status| status.outcome.as_ref());
        assert_eq!(task.outcome.as_ref(), outcome, "{task:?}");
        if task.state.is_active() {
            assert_eq!(assigned.len(), 1, "{task:?}: {assigned:?}");
            assert_eq!((assigned[0].attempt, assigned[0].fence), (task.attempt, task.fence));
            assert!(status.is_none_or(|status| status.attempt < task.attempt));
        } else {
            assert!(assigned.is_empty(), "{task:?}: {assigned:?}");
            assert_eq!(status.map_or(0, |status| status.attempt), task.attempt, "attempts are used up durably");
        }
    }
}

fn every_assignment_has_its_live_task(world: &World) {
    for assignment in world.disk.assignments.values() {
        let status = world.disk.statuses.get(&assignment.task_id);
        assert!(world.disk.tasks.contains_key(&assignment.task_id), "{assignment:?}");
        assert!(status.is_none_or(|status| status.outcome.is_none()), "{assignment:?} of {status:?}");
    }
}

fn no_slot_is_given_twice(world: &World) {
    for (id, hand) in &world.hands {
        if hand.linked {
            assert!(hand.running.len() <= SLOTS as usize, "{id} runs {:?}", hand.running);
        }
    }
}

fn nobody_waits_beside_a_free_slot(world: &World) {
    for view in world.scheduler.workers(&WorkerQuery { page_size: 1_000, after: None }).workers {
        let Some(offer) = view.offer.filter(|_| view.state == WorkerState::Ready) else { continue };
        if view.busy_slots < offer.slots {
            let suspects = world.scheduler.fleet.get(&view.worker_id).is_some_and(Worker::takes_suspects);
            let next = world.scheduler.lanes.next_for(&offer.kinds, &offer.queues, suspects);
            assert_eq!(next, None, "{} has a free slot", view.worker_id);
        }
    }
}

fn counts_are_those_of_the_tasks(world: &World) {
    for state in TaskState::ALL {
        let counted = world.scheduler.table.after(None).filter(|entry| entry.task.state == state).count();
        assert_eq!(world.scheduler.count(state), counted as u64, "{state:?}");
    }
}

fn no_attempt_begins_twice(world: &World) {
    for (attempt, runs) in &world.runs {
        assert!(*runs <= 1, "{attempt} began {runs} times");
    }
}
