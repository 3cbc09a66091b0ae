//! What is durable, as the changes say it; it refuses what ZooKeeper would.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{
    Assignment, Change, Loaded, LoadedTask, QueueName, QueueSettings, Status, Submission, TaskId, WorkerId,
};

/// What is durable. It panics on a change that ZooKeeper would refuse.
#[derive(Debug, Default, Clone)]
pub struct Disk {
    pub tasks: BTreeMap<TaskId, Submission>,
    pub statuses: BTreeMap<TaskId, Status>,
    pub assignments: BTreeMap<(WorkerId, TaskId), Assignment>,
    pub places: BTreeSet<WorkerId>,
    pub queues: BTreeMap<QueueName, QueueSettings>,
    pub drained: BTreeSet<WorkerId>,
}

impl Disk {
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Submitted(submission) => {
                let before = self.tasks.insert(submission.task_id.clone(), submission);
                assert!(before.is_none(), "a task was submitted twice: {before:?}");
            }
            Change::Assigned(assignment) => {
                self.places.insert(assignment.worker.clone());
                let key = (assignment.worker.clone(), assignment.task_id.clone());
                let before = self.assignments.insert(key, assignment);
                assert!(before.is_none(), "assigned on top of an assignment: {before:?}");
            }
            Change::GivenBack { task_id, worker, status } => {
                assert!(status.outcome.is_none());
                self.void(&worker, &task_id);
                self.set_status(task_id, status);
            }
            Change::Finished { task_id, assigned_to, status } => {
                assert!(status.outcome.is_some());
                if let Some(worker) = assigned_to {
                    self.void(&worker, &task_id);
                }
                self.set_status(task_id, status);
            }
            Change::Removed { task_id } => {
                let status = self.statuses.remove(&task_id).expect("only the finished are removed");
                assert!(status.outcome.is_some());
                self.tasks.remove(&task_id).expect("only what exists is removed");
            }
            Change::Swept { task_id, worker } => self.void(&worker, &task_id),
            Change::WorkerForgotten { worker } => {
                let left: Vec<_> = self.assignments.keys().filter(|(id, _)| *id == worker).collect();
                assert!(left.is_empty(), "a forgotten worker has assignments: {left:?}");
                self.places.remove(&worker);
            }
            Change::QueueSet { queue, settings } if settings == QueueSettings::default() => {
                self.queues.remove(&queue).expect("only what was set is taken back");
            }
            Change::QueueSet { queue, settings } => drop(self.queues.insert(queue, settings)),
            Change::DrainSet { worker, drained: true } => {
                assert!(self.drained.insert(worker), "drained twice");
            }
            Change::DrainSet { worker, drained: false } => {
                assert!(self.drained.remove(&worker), "only what was drained is put back");
            }
        }
    }

    fn void(&mut self, worker: &WorkerId, task_id: &TaskId) {
        let voided = self.assignments.remove(&(worker.clone(), task_id.clone()));
        assert!(voided.is_some(), "no assignment of {task_id} to {worker}");
    }

    fn set_status(&mut self, task_id: TaskId, status: Status) {
        assert!(self.tasks.contains_key(&task_id));
        if let Some(before) = self.statuses.get(&task_id) {
            assert!(before.outcome.is_none(), "terminal is final: {task_id} was {before:?}, is {status:?}");
            assert!(before.attempt <= status.attempt && before.revision < status.revision);
        }
        self.statuses.insert(task_id, status);
    }

    pub fn load(&self) -> Loaded {
        let task = |submission: &Submission| LoadedTask {
            submission: submission.clone(),
            status: self.statuses.get(&submission.task_id).cloned(),
        };
        Loaded {
            tasks: self.tasks.values().map(task).collect(),
            assignments: self.assignments.values().cloned().collect(),
            corrupt: Vec::new(),
            workers: self.places.iter().cloned().collect(),
            queues: self.queues.iter().map(|(queue, settings)| (queue.clone(), settings.clone())).collect(),
            drained: self.drained.iter().cloned().collect(),
        }
    }
}
