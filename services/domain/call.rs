//! What a client service asks the leader, and what it is answered.

use std::{sync::Arc, time::Duration};

use super::{
    Explanation, Incarnation, MAX_DRAINED_WORKERS, MAX_LIVE_SELECTORS, QueueName, QueuePage, QueueQuery, QueueSettings,
    QueueUpdate, QueueView, Revision, Task, TaskFilter, TaskId, TaskSpec, TaskState, Term, Wall, WorkerId, WorkerOffer,
};

/// One question to the leader. Asking again is always safe: submits are idempotent by id, cancels by nature.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Call {
    Submit {
        task_id: TaskId,
        spec: Arc<TaskSpec>,
        traceparent: Option<Arc<str>>,
        /// From its arrival at the leader; later it is not accepted any more.
        time_left: Duration,
    },
    Cancel {
        task_id: TaskId,
    },
    /// Run the spec of a task that has ended once more, as a new task.
    Retry {
        of: TaskId,
        task_id: TaskId,
        traceparent: Option<Arc<str>>,
        /// As of a submit.
        time_left: Duration,
    },
    /// Forget a task that has ended.
    Delete {
        task_id: TaskId,
    },
    Get {
        task_id: TaskId,
    },
    /// Why it waits.
    Explain {
        task_id: TaskId,
    },
    List(Box<ListQuery>),
    /// From now on this link is told every change of these tasks.
    Watch {
        task_ids: Vec<TaskId>,
    },
    /// From now on this link is told every change that concerns the filter.
    WatchFilter {
        filter_id: u64,
        filter: Box<TaskFilter>,
    },
    Cluster,
    Workers(WorkerQuery),
    /// Which worker has, or had, the current or last attempt.
    Locate {
        task_id: TaskId,
    },
    Queues(QueueQuery),
    Queue {
        queue: QueueName,
    },
    UpdateQueue {
        queue: QueueName,
        update: QueueUpdate,
    },
    /// Whether a worker gets anything new.
    SetDrained {
        worker_id: WorkerId,
        drained: bool,
    },
    /// How far the drain of a worker is. If nothing has changed since the asker was told, it is answered when something has,
    /// or after a while.
    AwaitDrain {
        worker_id: WorkerId,
        /// The attempts that it held, as the asker knows. None: it was told nothing yet.
        known_busy: Option<u32>,
    },
}

/// One page of a listing, in the order of ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ListQuery {
    pub filter: TaskFilter,
    /// 1 to [`ListQuery::MAX_PAGE`].
    pub page_size: u32,
    pub after: Option<TaskId>,
    /// Only tasks with a higher revision. Without `after` the pages may be in the order of revisions.
    pub after_revision: Revision,
}

impl ListQuery {
    pub const DEFAULT_PAGE: u32 = 100;
    pub const MAX_PAGE: u32 = 1_000;
}

/// One page of the workers, in the order of ids.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WorkerQuery {
    /// 1 to [`ListQuery::MAX_PAGE`].
    pub page_size: u32,
    pub after: Option<WorkerId>,
}

impl Default for WorkerQuery {
    /// The first page.
    fn default() -> Self {
        Self { page_size: ListQuery::DEFAULT_PAGE, after: None }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Of a submit, a cancel, a get.
    Task(Arc<Task>),
    /// Of a list, a watch.
    Page(Page),
    Cluster(Box<ClusterView>),
    Workers(WorkerPage),
    Located(Box<Located>),
    Explained(Box<Explanation>),
    Queues(QueuePage),
    /// Of a question for one, or an update.
    Queue(Box<QueueView>),
    /// Of saying whether it is drained.
    Worker(Box<WorkerView>),
    Drain(Box<DrainView>),
    Refused(Refusal),
}

/// A task, and where it runs or last ran.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Located {
    pub task: Arc<Task>,
    /// None: there was no attempt, or the leader does not know its worker any more.
    pub worker: Option<WorkerView>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Page {
    pub tasks: Vec<Arc<Task>>,
    /// Set: there is more after this id.
    pub next_after: Option<TaskId>,
    /// Set: there is more after this revision; the page is of a query for what has changed.
    pub next_after_revision: Option<Revision>,
    /// Of a watch: ids that are unknown.
    pub missing: Vec<TaskId>,
    /// Of a watch: ids whose stored records cannot be read.
    pub corrupt: Vec<TaskId>,
}

impl Page {
    /// Moves its query on to the next one. False: this was the last.
    pub fn turn(&self, query: &mut ListQuery) -> bool {
        query.after.clone_from(&self.next_after);
        query.after_revision = self.next_after_revision.unwrap_or(query.after_revision);
        self.next_after.is_some() || self.next_after_revision.is_some()
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct WorkerPage {
    pub workers: Vec<WorkerView>,
    /// Set: there is more after this id.
    pub next_after: Option<WorkerId>,
}

/// Why the leader did not do it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    #[error("there is no such task")]
    TaskNotFound,
    #[error("a task with this id and another spec exists")]
    TaskExists,
    #[error("the stored record of this id cannot be read")]
    CorruptRecord,
    #[error("the task has already ended")]
    TaskEnded,
    #[error("the task has not ended yet")]
    TaskNotEnded,
    #[error("the cluster's budget of {0} is used up")]
    BudgetExhausted(Budget),
    #[error("the submit's time was over before the leader got to it; it was not accepted")]
    DeadlineExceeded,
    #[error("too many watches on one link")]
    TooManyWatches,
    #[error("queue {0} has as many tasks pending as it may")]
    QueueFull(QueueName),
    #[error("there is no such worker")]
    WorkerNotFound,
    #[error("as many workers as may be drained, {MAX_DRAINED_WORKERS}, are")]
    TooManyDrained,
    #[error("the tasks that have not ended have as many different selectors as they may, {MAX_LIVE_SELECTORS}")]
    TooManySelectors,
    #[error("as many queues as may have settings of their own, {max}", max = QueueSettings::MAX_CONFIGURED)]
    TooManyQueues,
    /// One end could not read what the other one sent, as only another version of the program can send it.
    #[error("this service and the leader are of versions that do not understand each other: {0}")]
    Invalid(Arc<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Budget {
    Tasks,
    Bytes,
}

impl std::fmt::Display for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tasks => "tasks",
            Self::Bytes => "bytes",
        })
    }
}

/// A change that watchers can see.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TaskEvent {
    pub task: Arc<Task>,
    /// The state before; the same as the task's own for a new task.
    pub previous_state: TaskState,
}

/// The cluster in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClusterView {
    /// host:port of the leader's links.
    pub address: String,
    pub term: Term,
    /// When this leadership began.
    pub start_time: Wall,
    /// Of the leader's program.
    pub version: String,
    pub workers: u32,
    pub slots: u32,
    pub busy_slots: u32,
    pub standbys: u32,
    pub corrupt_records: u64,
    /// By state, in the order of [`TaskState::ALL`].
    pub tasks: [u64; TaskState::ALL.len()],
}

/// One worker, as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WorkerView {
    pub worker_id: WorkerId,
    /// None: it is known only because it is drained.
    pub incarnation: Option<Incarnation>,
    pub state: WorkerState,
    pub busy_slots: u32,
    /// An operator has said that it gets nothing new.
    pub drained: bool,
    /// None: it has not said hello to this leader yet.
    pub offer: Option<WorkerOffer>,
}

/// How far the drain of a worker is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DrainView {
    pub worker: WorkerView,
    /// It is drained, and holds no attempt.
    pub empty: bool,
}

impl DrainView {
    /// Nothing more is to come of it: the worker is empty, or not drained any more.
    pub fn is_over(&self) -> bool {
        self.empty || !self.worker.drained
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkerState {
    /// Linked and registered: gets tasks.
    Ready,
    /// Linked, but not a member of the store: gets nothing new.
    Unregistered,
    /// Stopping gracefully, or drained and not empty: gets nothing new.
    Draining,
    /// Drained, and holds no attempt.
    Drained,
    /// Without a link: its attempts go elsewhere when the reconnect grace has passed.
    Disconnected,
}
