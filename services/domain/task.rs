//! What a task is.

use std::sync::Arc;

use super::{
    Fence, Incarnation, Kind, Labels, Policy, Progress, QueueName, Revision, Selector, Submission, TaskId, Timeout,
    Trials, Wall, WorkerId,
};

/// Largest payload, in bytes: a task is a note about work, not the work's data, and lives in ZooKeeper's memory.
pub const MAX_PAYLOAD_BYTES: usize = 64 * 1024;
/// Largest result, in bytes; for the same reason.
pub const MAX_RESULT_BYTES: usize = 64 * 1024;
/// Most labels of a task or a worker.
pub const MAX_LABELS: usize = 16;
/// Longest value of a label, in bytes.
pub const MAX_LABEL_VALUE_BYTES: usize = 255;
/// Longest message of a failure, in bytes: enough for an error with its context, not for a log.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024;

/// 0 (last) to 9 (first) within a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    pub const HIGHEST: u8 = 9;

    /// None above 9.
    pub fn new(value: u8) -> Option<Self> {
        (value <= Self::HIGHEST).then_some(Self(value))
    }

    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(4)
    }
}

/// What is to be done, as the submitter said it: compared as sent, so defaults are applied where they are used.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TaskSpec {
    pub kind: Kind,
    pub queue: Option<QueueName>,
    pub payload: Arc<[u8]>,
    pub labels: Labels,
    pub priority: Option<Priority>,
    pub at_most_once: bool,
    /// Most tasks have none.
    pub policy: Option<Box<Policy>>,
    /// Which workers may run it. Most tasks have none: any that serves them may.
    pub selector: Option<Arc<Selector>>,
}

impl TaskSpec {
    /// A spec with everything but the kind left to its default.
    pub fn new(kind: Kind, payload: &[u8]) -> Self {
        Self {
            kind,
            queue: None,
            payload: payload.into(),
            labels: Labels::default(),
            priority: None,
            at_most_once: false,
            policy: None,
            selector: None,
        }
    }

    pub fn queue(&self) -> QueueName {
        self.queue_name().clone()
    }

    pub fn queue_name(&self) -> &QueueName {
        self.queue.as_ref().unwrap_or_else(|| QueueName::of_most())
    }
}

/// Where a task is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskState {
    Pending,
    Assigned,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl TaskState {
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Assigned, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// Terminal is final.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// An attempt is out.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Assigned | Self::Running)
    }
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Outcome {
    Succeeded(Arc<[u8]>),
    Failed(Failure),
    Cancelled,
}

impl Outcome {
    pub fn state(&self) -> TaskState {
        match self {
            Self::Succeeded(_) => TaskState::Succeeded,
            Self::Failed(_) => TaskState::Failed,
            Self::Cancelled => TaskState::Cancelled,
        }
    }

    /// What it occupies in the store, roughly, in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Succeeded(result) => result.len(),
            Self::Failed(failure) => failure.message.len(),
            Self::Cancelled => 0,
        }
    }
}

/// Why a task failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Failure {
    pub reason: FailureReason,
    /// For people; at most [`MAX_MESSAGE_BYTES`].
    pub message: Arc<str>,
    pub exit_status: Option<i32>,
    /// Which time was over, if one was.
    pub timeout: Option<Timeout>,
    /// Its handler said that trying again is of no use.
    pub permanent: bool,
}

impl Failure {
    pub fn new(reason: FailureReason, message: impl Into<Arc<str>>) -> Self {
        Self { reason, message: message.into(), exit_status: None, timeout: None, permanent: false }
    }

    pub fn timed_out(timeout: Timeout, message: impl Into<Arc<str>>) -> Self {
        Self { timeout: Some(timeout), ..Self::new(FailureReason::TimedOut, message) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureReason {
    Handler,
    ResultTooLarge,
    WorkerLost,
    Poisoned,
    TimedOut,
}

/// A task as it is: what a reader or a watcher gets. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Task {
    pub id: TaskId,
    pub spec: Arc<TaskSpec>,
    pub state: TaskState,
    /// Current or last attempt, from 1; 0 before the first.
    pub attempt: u32,
    /// Of the current or last attempt.
    pub worker: Option<WorkerId>,
    /// Of the current attempt only.
    pub incarnation: Option<Incarnation>,
    pub fence: Fence,
    pub revision: Revision,
    pub worker_deaths: u32,
    /// Of an attempt that runs; not stored.
    pub progress: Option<Arc<Progress>>,
    pub outcome: Option<Outcome>,
    /// Only of a task with a policy.
    pub trials: Option<Arc<Trials>>,
    pub traceparent: Option<Arc<str>>,
    /// The task that this one is a retry of.
    pub retry_of: Option<TaskId>,
    pub create_time: Wall,
    pub start_time: Option<Wall>,
    pub end_time: Option<Wall>,
}

impl Task {
    /// Before its first attempt.
    pub fn new(submission: &Submission) -> Self {
        let start = submission.spec.policy.as_ref().and_then(|policy| policy.start(submission.create_time));
        Self {
            id: submission.task_id.clone(),
            spec: submission.spec.clone(),
            state: TaskState::Pending,
            attempt: 0,
            worker: None,
            incarnation: None,
            fence: Fence::default(),
            revision: submission.revision,
            worker_deaths: 0,
            progress: None,
            outcome: None,
            trials: start.map(|start| Arc::new(Trials { next_attempt_time: Some(start), ..Trials::default() })),
            traceparent: submission.traceparent.clone(),
            retry_of: submission.retry_of.clone(),
            create_time: submission.create_time,
            start_time: None,
            end_time: None,
        }
    }

    /// It is as its submission made it.
    pub fn is_new(&self) -> bool {
        self.state == TaskState::Pending && self.attempt == 0
    }
}
