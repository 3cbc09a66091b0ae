//! Who runs what: pending tasks meet free slots. After every step no open worker could take a pending task.

use std::collections::BTreeSet;

use super::{
    Effect, Scheduler,
    fleet::{Fleet, Hold, Worker},
    lanes::is_suspect,
    patience,
    queues::LaneId,
};
use crate::domain::{Assignment, AttemptId, Change, Fence, Now, Order, Task, TaskId, TaskState, WorkerId};

/// What workers do that are spared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spared {
    Wait,
    Take,
}

impl Scheduler {
    /// Looks only at what has changed since the last call: the workers that may take more, and the lanes that may have more
    /// to give. Either way it is the queues that say whose turn it is at a worker. Lanes go first, as they choose among all
    /// workers: a worker that is fuller than others is not given back what it just gave back. Who is spared comes last: what
    /// is left then nobody else takes.
    pub(super) fn place(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let mut hungry = self.fleet.take_hungry();
        let stirred = self.queues.take_stirred().into_iter();
        let (limited, mut left): (Vec<_>, Vec<_>) = stirred.partition(|(queue, ..)| self.queues.is_limited(queue));
        let limited: Vec<_> = limited.chunk_by(|(a, ..), (b, ..)| a == b).collect();
        for lanes in &limited {
            self.share_out(now, lanes, Spared::Wait, effects);
        }
        left.retain(|lane| self.seat(now, lane, Spared::Wait, effects));
        let spared: BTreeSet<_> = hungry.extract_if(.., |worker| self.is_spared(worker)).collect();
        self.feed_all(now, hungry, effects);
        for lanes in limited {
            self.share_out(now, lanes, Spared::Take, effects);
        }
        for lane in left {
            self.seat(now, &lane, Spared::Take, effects);
        }
        self.feed_all(now, spared, effects);
        self.fleet.take_hungry();
    }

    pub(super) fn is_spared(&self, worker: &WorkerId) -> bool {
        self.fleet.get(worker).is_some_and(Worker::is_spared)
    }

    /// Gives each of these workers as much as it takes, the emptiest first.
    fn feed_all(&mut self, now: Now, workers: BTreeSet<WorkerId>, effects: &mut Vec<Effect>) {
        if workers.len() <= 1 {
            for worker in workers {
                while self.feed(now, &worker, effects) {}
            }
            return;
        }
        let open = |fleet: &Fleet, worker: WorkerId| Some((fleet.get(&worker)?.load()?, worker));
        let mut hungry: BTreeSet<_> = workers.into_iter().filter_map(|worker| open(&self.fleet, worker)).collect();
        while let Some((_, worker)) = hungry.pop_first() {
            if self.feed(now, &worker, effects) {
                hungry.extend(open(&self.fleet, worker));
            }
        }
    }

    /// Gives a worker the task whose turn it is there. False: there is none, or it is full.
    pub(super) fn feed(&mut self, now: Now, worker: &WorkerId, effects: &mut Vec<Effect>) -> bool {
        let Some(takes) = self.fleet.open(worker) else { return false };
        let next = self.queues.start_next(now.monotonic, takes);
        next.is_some_and(|task_id| {
            self.assign(now, &task_id, worker, effects);
            true
        })
    }

    /// Calls workers to a lane, the emptiest first, for as long as it has tasks that they can take. True: there may be more
    /// for those who are spared.
    fn seat(&mut self, now: Now, lane: &LaneId, spared: Spared, effects: &mut Vec<Effect>) -> bool {
        while let Some(suspect) = self.queues.offers(now.monotonic, lane) {
            let Some(worker) = self.fleet.pick(lane, suspect).cloned() else { return false };
            // Nobody is emptier.
            if spared == Spared::Wait && self.is_spared(&worker) {
                return true;
            }
            if !self.feed(now, &worker, effects) {
                return false;
            }
        }
        false
    }

    /// A task that was taken from its lane goes to a worker.
    fn assign(&mut self, now: Now, task_id: &TaskId, worker: &WorkerId, effects: &mut Vec<Effect>) {
        let Some(incarnation) = self.fleet.get(worker).map(|worker| worker.incarnation) else { return };
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
