//! Why a task waits: what readers are told.

use std::sync::Arc;

use super::{Kind, QueueName, Rate, Requirement, Task, Wall, WorkerView};

/// What there is to say of a task.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Explanation {
    pub task: Arc<Task>,
    /// Of a pending task at least one; of any other none.
    pub reasons: Vec<PendingReason>,
    /// Of a task with an attempt: who has it.
    pub worker: Option<WorkerView>,
}

/// One thing that keeps a pending task from a worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PendingReason {
    /// It was not to begin earlier.
    NotBefore {
        start: Wall,
    },
    /// Its last attempt failed, and the next one is to follow after a wait.
    BackingOff {
        retry: Wall,
        failed_attempts: u32,
    },
    QueuePaused {
        queue: QueueName,
    },
    /// As many of its queue run as may.
    QueueAtMaxRunning {
        queue: QueueName,
        max_running: u32,
        running: u64,
    },
    /// As many of its queue were started as may for now.
    QueueAtMaxStarts {
        queue: QueueName,
        max_starts: Rate,
        next_start: Wall,
    },
    /// None of the linked workers serves its kind.
    KindNotServed {
        kind: Kind,
        workers: u32,
    },
    /// None of the linked workers that serve its kind serves its queue.
    QueueNotServed {
        queue: QueueName,
        workers: u32,
    },
    /// Its selector matches none of the linked workers that serve its kind and its queue.
    SelectorNotMatched {
        workers: u32,
        /// Of how many of them each requirement holds, whatever the others are.
        requirements: Vec<(Requirement, u32)>,
    },
    /// Some workers that may serve it get nothing new for now.
    WorkersUnavailable(UnavailableWorkers),
    /// Each of the workers that serve it and get tasks is full.
    SlotsBusy {
        workers: u32,
        slots: u32,
        pending: u64,
    },
    /// It is one that workers have died of, and each of the workers with a free slot runs another such.
    KeptApart {
        worker_deaths: u32,
        workers: u32,
    },
    /// Nothing: what kept it is over, and it is given to a worker next.
    AboutToStart,
    /// What only another version of the program knows.
    Other,
}

/// How many workers get nothing new for now, each counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct UnavailableWorkers {
    /// An operator drains them.
    pub drained: u32,
    /// Stopping gracefully.
    pub stopping: u32,
    /// Linked, but not registered.
    pub unregistered: u32,
    /// For a second: they gave back an attempt that they did not begin.
    pub resting: u32,
    /// Without a link. Of one that has said nothing to this leader it is not known what it serves.
    pub disconnected: u32,
}

impl UnavailableWorkers {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
