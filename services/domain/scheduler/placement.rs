//! Who runs what: pending tasks meet free slots. After every step no open worker could take a pending task.

use super::{Effect, Scheduler, fleet::Hold, lanes::is_suspect, patience};
use crate::domain::{Assignment, AttemptId, Change, Fence, Now, Order, Task, TaskId, TaskState, WorkerId};

impl Scheduler {
    /// Looks only at what has changed since the last call: the workers that may take more, and the tasks that have
    /// become pending.
    pub(super) fn place(&mut self, now: Now, effects: &mut Vec<Effect>) {
        for worker in self.fleet.take_hungry() {
            self.feed(now, &worker, effects);
        }
        for task_id in self.lanes.take_fresh() {
            self.seat(now, &task_id, effects);
        }
        self.fleet.take_hungry();
    }

    /// Gives a worker what it can take, the first in turn first.
    fn feed(&mut self, now: Now, worker: &WorkerId, effects: &mut Vec<Effect>) {
        while let Some(offer) = self.fleet.open_offer(worker) {
            let suspects = self.fleet.get(worker).is_some_and(super::fleet::Worker::takes_suspects);
            let Some(task_id) = self.lanes.next_for(&offer.kinds, &offer.queues, suspects).cloned() else { return };
            self.assign(now, &task_id, worker, effects);
        }
    }

    /// Gives a task that has become pending to the emptiest worker that can take it.
    fn seat(&mut self, now: Now, task_id: &TaskId, effects: &mut Vec<Effect>) {
        let Some(task) = self.table.get(task_id).map(|entry| &entry.task) else { return };
        if task.state != TaskState::Pending {
            return;
        }
        let worker = self.fleet.pick(&task.spec.kind, &task.spec.queue(), is_suspect(task)).cloned();
        if let Some(worker) = worker {
            self.assign(now, task_id, &worker, effects);
        }
    }

    fn assign(&mut self, now: Now, task_id: &TaskId, worker: &WorkerId, effects: &mut Vec<Effect>) {
        let Some(incarnation) = self.fleet.get(worker).map(|worker| worker.incarnation) else { return };
        let Some(entry) = self.table.get(task_id) else { return };
        self.lanes.remove(&entry.task, entry.submitted);
        let revision = self.next_revision();
        let assign = |task: &mut Task| {
            task.state = TaskState::Assigned;
            task.attempt += 1;
            task.worker = Some(worker.clone());
            task.incarnation = Some(incarnation);
            task.fence = Fence::from(revision);
            task.revision = revision;
            task.start_time = None;
            patience::wait_no_more(task);
        };
        let assigned = |task: &Task| {
            Some(Change::Assigned(Assignment {
                task_id: task.id.clone(),
                worker: worker.clone(),
                attempt: task.attempt,
                incarnation,
                fence: task.fence,
            }))
        };
        let Some(task) = self.transition(task_id, effects, assign, assigned) else { return };
        self.time_attempt(now, &task.id, &task.spec);
        let attempt = AttemptId { task_id: task_id.clone(), attempt: task.attempt, fence: task.fence };
        self.fleet.set_hold(worker, attempt, Hold::Current { suspect: is_suspect(&task) });
        effects.push(order(worker, &task));
    }
}

/// The order to run a task's current attempt; the same each time it is sent.
pub(super) fn order(worker: &WorkerId, task: &Task) -> Effect {
    let order = Order::Assign {
        attempt: AttemptId { task_id: task.id.clone(), attempt: task.attempt, fence: task.fence },
        spec: task.spec.clone(),
        traceparent: task.traceparent.clone(),
    };
    Effect::Order { worker: worker.clone(), order }
}
