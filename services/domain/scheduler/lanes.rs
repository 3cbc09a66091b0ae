//! Where pending tasks wait for a worker: a lane for each kind and queue. Its invariant: a task is in a lane if and only
//! if it is pending and its time has come, and no lane is empty.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::MAX_WORKER_DEATHS;
use crate::domain::{Kind, Priority, QueueName, Revision, Task, TaskId};

/// Who goes first: priority, then age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Turn {
    priority: Reverse<Priority>,
    submitted: Revision,
}

impl Turn {
    fn of(task: &Task, submitted: Revision) -> Self {
        Self { priority: Reverse(task.spec.priority.unwrap_or_default()), submitted }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Lane {
    plain: BTreeMap<Turn, TaskId>,
    /// Tasks that one more death would end: each runs where no other of them runs.
    suspects: BTreeMap<Turn, TaskId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Lanes {
    lanes: BTreeMap<Kind, BTreeMap<QueueName, Lane>>,
    /// Tasks that have come since the last placement.
    fresh: BTreeMap<Turn, TaskId>,
}

impl Lanes {
    /// A task waits that nobody can take yet.
    pub fn restore(&mut self, task: &Task, submitted: Revision) {
        let lane = self.lanes.entry(task.spec.kind.clone()).or_default().entry(task.spec.queue()).or_default();
        lane.side(is_suspect(task)).insert(Turn::of(task, submitted), task.id.clone());
    }

    /// A task waits that somebody may be able to take at once.
    pub fn push(&mut self, task: &Task, submitted: Revision) {
        self.restore(task, submitted);
        self.fresh.insert(Turn::of(task, submitted), task.id.clone());
    }

    /// The tasks that have come since the last call, in turn.
    pub fn take_fresh(&mut self) -> Vec<TaskId> {
        std::mem::take(&mut self.fresh).into_values().collect()
    }

    pub fn remove(&mut self, task: &Task, submitted: Revision) {
        let queue = task.spec.queue();
        let Some(queues) = self.lanes.get_mut(&task.spec.kind) else { return };
        let Some(lane) = queues.get_mut(&queue) else { return };
        lane.side(is_suspect(task)).remove(&Turn::of(task, submitted));
        if lane.plain.is_empty() && lane.suspects.is_empty() {
            queues.remove(&queue);
        }
        if queues.is_empty() {
            self.lanes.remove(&task.spec.kind);
        }
    }

    #[cfg(test)]
    pub fn has(&self, task: &Task, submitted: Revision) -> bool {
        let turn = Turn::of(task, submitted);
        let lane = self.lanes.get(&task.spec.kind).and_then(|queues| queues.get(&task.spec.queue()));
        lane.is_some_and(|lane| lane.plain.contains_key(&turn) || lane.suspects.contains_key(&turn))
    }

    /// The task whose turn it is at a worker that serves these kinds and queues.
    pub fn next_for(&self, kinds: &BTreeSet<Kind>, queues: &BTreeSet<QueueName>, suspects: bool) -> Option<&TaskId> {
        let waiting = kinds.iter().filter_map(|kind| self.lanes.get(kind));
        let served = waiting.flat_map(|lanes| queues.iter().filter_map(|queue| lanes.get(queue)));
        served.filter_map(|lane| lane.first(suspects)).min_by_key(|(turn, _)| *turn).map(|(_, id)| id)
    }
}

impl Lane {
    fn side(&mut self, suspect: bool) -> &mut BTreeMap<Turn, TaskId> {
        if suspect { &mut self.suspects } else { &mut self.plain }
    }

    fn first(&self, suspects: bool) -> Option<(&Turn, &TaskId)> {
        let suspect = self.suspects.first_key_value().filter(|_| suspects);
        [self.plain.first_key_value(), suspect].into_iter().flatten().min_by_key(|(turn, _)| *turn)
    }
}

/// Whether one more death would end it. Such a task has no other suspect beside it, so that the two are not blamed for
/// each other. After a single death nobody is suspected yet: what a machine that lost its power ran is to run elsewhere
/// at once, and all of it, not one task a worker.
pub(super) fn is_suspect(task: &Task) -> bool {
    task.worker_deaths + 1 >= MAX_WORKER_DEATHS
}
