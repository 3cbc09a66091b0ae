//! What the leader's changes are in nodes, and the little that has to be known of the tree to say so: a node that is there
//! is set or deleted, one that is not is created. Nobody else writes there, so what was found at the load and what was
//! sent since is what is there; if that is ever wrong, the commit fails and the next leader loads anew.

use std::collections::HashSet;

use zookeeper_client::{CreateMode, Error};

use super::{
    multi::{Expect, Operations},
    paths,
};
use crate::{
    domain::{Change, Status, TaskId, WorkerId},
    wire,
};

#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Tasks with a status node.
    pub statuses: HashSet<TaskId>,
    /// Workers with a place for assignments.
    pub workers: HashSet<WorkerId>,
    /// Those of them that cannot be removed: something else lies there.
    pub occupied: HashSet<WorkerId>,
}

impl Known {
    /// Adds the change to a request that will be sent.
    pub fn apply(&mut self, change: &Change, multi: &mut impl Operations) -> Result<(), Error> {
        match change {
            Change::Submitted(submission) => {
                let data = wire::encode_submission(submission);
                multi.create(paths::task(&submission.task_id), &data, CreateMode::Persistent)
            }
            Change::Assigned(assignment) => {
                if self.workers.insert(assignment.worker.clone()) {
                    multi.create(paths::assignments(&assignment.worker), &[], CreateMode::Persistent)?;
                }
                let path = paths::assignment(&assignment.worker, &assignment.task_id);
                multi.create(path, &wire::encode_assignment(assignment), CreateMode::Persistent)
            }
            Change::GivenBack { task_id, worker, status } => {
                multi.delete(paths::assignment(worker, task_id), Expect::Present)?;
                self.write_status(task_id, status, multi)
            }
            Change::Finished { task_id, assigned_to, status } => {
                if let Some(worker) = assigned_to {
                    multi.delete(paths::assignment(worker, task_id), Expect::Present)?;
                }
                self.write_status(task_id, status, multi)
            }
            Change::Removed { task_id } => {
                if self.statuses.remove(task_id) {
                    multi.delete(paths::status(task_id), Expect::Present)?;
                }
                multi.delete(paths::task(task_id), Expect::Present)
            }
            Change::Swept { task_id, worker } => multi.delete(paths::assignment(worker, task_id), Expect::Present),
            Change::WorkerForgotten { worker } => {
                if !self.occupied.contains(worker) && self.workers.remove(worker) {
                    multi.delete(paths::assignments(worker), Expect::Present)?;
                }
                Ok(())
            }
        }
    }

    fn write_status(&mut self, task_id: &TaskId, status: &Status, multi: &mut impl Operations) -> Result<(), Error> {
        let data = wire::encode_status(status);
        if self.statuses.insert(task_id.clone()) {
            multi.create(paths::status(task_id), &data, CreateMode::Persistent)
        } else {
            multi.set(paths::status(task_id), &data, Expect::Present)
        }
    }
}
