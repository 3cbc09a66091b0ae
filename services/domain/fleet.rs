//! Workers: what they say of themselves, what they report, what they are told.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use super::{Failure, Fence, Incarnation, Kind, Progress, QueueName, TaskId, TaskSpec, Term, Wall, WorkerId};

/// One try at running a task. The fence is part of it: an id that is submitted again after its task was removed begins
/// with attempt 1 again, and a worker may still hold attempt 1 of the task before. They are ordered by fence: no two that
/// were assigned have the same one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    pub fence: Fence,
    pub task_id: TaskId,
    /// From 1.
    pub attempt: u32,
}

impl AttemptId {
    /// Whether it is the attempt of this number; without a fence, of whichever task had the id.
    pub fn is(&self, task_id: &TaskId, attempt: u32, fence: Option<Fence>) -> bool {
        self.task_id == *task_id && self.attempt == attempt && fence.is_none_or(|fence| self.fence == fence)
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.task_id, self.attempt)
    }
}

/// What a worker offers: the same in its hello and in its membership node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WorkerOffer {
    pub worker_id: WorkerId,
    pub incarnation: Incarnation,
    /// host:port where it serves its attempts' logs, health and metrics.
    pub address: String,
    /// Attempts that it runs at once, 1 to [`WorkerOffer::MAX_SLOTS`].
    pub slots: u32,
    pub kinds: BTreeSet<Kind>,
    pub queues: BTreeSet<QueueName>,
    pub labels: BTreeMap<String, String>,
    /// Of its program.
    pub version: String,
}

impl WorkerOffer {
    /// So many that one worker can be a large machine; so few that what a lost one held goes back in about one commit.
    pub const MAX_SLOTS: u32 = 1_000;
    /// Kinds times queues is what a freed slot looks through.
    pub const MAX_KINDS: usize = 64;
    pub const MAX_QUEUES: usize = 64;

    pub fn serves(&self, spec: &TaskSpec) -> bool {
        self.kinds.contains(&spec.kind)
            && self.queues.contains(spec.queue_name())
            && spec.selector.as_ref().is_none_or(|selector| selector.matches(&self.labels))
    }
}

/// Most workers that are drained at once, there or not: as many as a leader has room for links of, so that a whole fleet can
/// be; and so few that a new leader reads them at once.
pub const MAX_DRAINED_WORKERS: usize = 4_000;

/// A worker's membership in the store, which lives as long as its session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Member {
    pub worker_id: WorkerId,
    pub incarnation: Incarnation,
}

/// The first word of a worker on a new link.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WorkerHello {
    pub offer: WorkerOffer,
    /// Attempts that run.
    pub running: Vec<RunningAttempt>,
    /// Reports that nobody acknowledged.
    pub reports: Vec<Report>,
    pub draining: bool,
    /// Highest term that it has been welcomed to.
    pub term: Term,
    /// host:port of the master in its own process, if there is one.
    pub beside: Option<Arc<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RunningAttempt {
    pub attempt: AttemptId,
    pub start_time: Wall,
    /// The last that its handler said.
    pub progress: Option<Arc<Progress>>,
}

/// What a worker says of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Report {
    Started {
        attempt: AttemptId,
        start_time: Wall,
    },
    /// Its handler is alive, and may have said how far it is. Neither committed nor acknowledged.
    Progress {
        attempt: AttemptId,
        /// None: nothing new.
        progress: Option<Arc<Progress>>,
    },
    Succeeded {
        attempt: AttemptId,
        start_time: Wall,
        result: Arc<[u8]>,
    },
    Failed {
        attempt: AttemptId,
        start_time: Wall,
        failure: Failure,
    },
    /// Stopped because the leader cancelled it.
    Stopped {
        attempt: AttemptId,
    },
    /// Not done, and it will not be: run it elsewhere.
    GivenBack {
        attempt: AttemptId,
        /// Its handler had begun.
        started: bool,
    },
}

impl Report {
    pub fn attempt(&self) -> &AttemptId {
        match self {
            Self::Started { attempt, .. }
            | Self::Progress { attempt, .. }
            | Self::Succeeded { attempt, .. }
            | Self::Failed { attempt, .. }
            | Self::Stopped { attempt }
            | Self::GivenBack { attempt, .. } => attempt,
        }
    }
}

/// What a worker is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Order {
    Assign {
        attempt: AttemptId,
        spec: Arc<TaskSpec>,
        traceparent: Option<Arc<str>>,
    },
    /// Stop it; its outcome is no longer wanted.
    Cancel {
        attempt: AttemptId,
        /// For the log.
        reason: Cow<'static, str>,
    },
    /// The report was committed, or is not current: do not repeat it.
    Acknowledge {
        attempt: AttemptId,
    },
}
