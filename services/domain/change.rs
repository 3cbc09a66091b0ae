//! Facts that the leader makes durable, and what a new leader finds.

use std::sync::Arc;

use super::{
    Fence, Incarnation, Outcome, QueueName, QueueSettings, Revision, Selector, TaskId, TaskSpec, Trials, Wall, WorkerId,
};

/// A task as it was accepted; written once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Submission {
    pub task_id: TaskId,
    pub spec: Arc<TaskSpec>,
    pub create_time: Wall,
    pub revision: Revision,
    /// W3C trace context of the submit.
    pub traceparent: Option<Arc<str>>,
    /// The task that this one is a retry of.
    pub retry_of: Option<TaskId>,
}

/// What became of a task: that its attempts so far are used up (no outcome: it is pending again), or its end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Status {
    /// Attempts used so far.
    pub attempt: u32,
    pub revision: Revision,
    pub worker_deaths: u32,
    /// Of the last attempt.
    pub worker: Option<WorkerId>,
    pub fence: Fence,
    /// None: pending again.
    pub outcome: Option<Outcome>,
    /// Only of a task with a policy.
    pub trials: Option<Arc<Trials>>,
    pub start_time: Option<Wall>,
    /// Set with the outcome.
    pub end_time: Option<Wall>,
}

/// An attempt promised to one incarnation of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Assignment {
    pub task_id: TaskId,
    pub worker: WorkerId,
    pub attempt: u32,
    pub incarnation: Incarnation,
    pub fence: Fence,
}

/// One decision of the leader. A store makes each wholly durable or not at all, and never a later one without the
/// earlier.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Change {
    /// A new task. Its id is free.
    Submitted(Submission),
    /// A pending task's next attempt goes to a worker.
    Assigned(Assignment),
    /// The assignment is void, the task is pending again.
    GivenBack { task_id: TaskId, worker: WorkerId, status: Status },
    /// The task has ended; its assignment, if `assigned_to` names one, is void.
    Finished { task_id: TaskId, assigned_to: Option<WorkerId>, status: Status },
    /// A finished task's retention is over: nothing of it stays.
    Removed { task_id: TaskId },
    /// An assignment without its live task, found at recovery, is void.
    Swept { task_id: TaskId, worker: WorkerId },
    /// The leader knows nothing of this worker any more, and it has no assignment.
    WorkerForgotten { worker: WorkerId },
    /// What holds for a queue from now on; nothing of it stays if that is what holds for any other.
    QueueSet { queue: QueueName, settings: QueueSettings },
    /// Whether a worker gets anything new, from now on and until this is said again; nothing of it stays if it does.
    DrainSet { worker: WorkerId, drained: bool },
}

impl Change {
    /// What a node costs beside its data: path, header and, for a record, the small fields. Roughly, in bytes; for
    /// keeping a request within the store's limit.
    const NODE_BYTES: usize = 256;

    /// What this change adds to a request to the store; an upper estimate, in bytes.
    pub fn bytes(&self) -> usize {
        let data = match self {
            Self::Submitted(submission) => {
                let labels = &submission.spec.labels;
                let selector = submission.spec.selector.as_deref().map_or(0, Selector::bytes_in_record);
                submission.spec.payload.len() + labels.bytes() + 8 * labels.len() + selector
            }
            Self::Finished { status, .. } | Self::GivenBack { status, .. } => {
                status.outcome.as_ref().map_or(0, Outcome::bytes) + status.trials.as_deref().map_or(0, Trials::bytes)
            }
            _ => 0,
        };
        2 * Self::NODE_BYTES + data
    }
}

/// One task that a store holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LoadedTask {
    pub submission: Submission,
    pub status: Option<Status>,
}

/// Everything that a store holds, as a new leader reads it.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// In no particular order.
    pub tasks: Vec<LoadedTask>,
    /// In no particular order; may name tasks that are not there, or attempts that are over. Such a one may also be left
    /// out, if the store does away with it by itself.
    pub assignments: Vec<Assignment>,
    /// Ids whose nodes cannot be read: set aside, their names stay occupied. Already logged by the store.
    pub corrupt: Vec<TaskId>,
    /// Workers for which the store keeps a place for assignments, even if empty.
    pub workers: Vec<WorkerId>,
    /// Queues with settings of their own. One whose record cannot be read is paused, and already logged by the store.
    pub queues: Vec<(QueueName, QueueSettings)>,
    /// Workers that are drained, and need not be there. One whose record cannot be read is, and already logged by the store.
    pub drained: Vec<WorkerId>,
}
