//! The rules: what a task is, who may run it, what follows from what.
//!
//! The domain knows no clock, no network, no storage and no chance: time comes in with every event, and everything that
//! is to happen comes out as a value. It imports nothing of Herdsman's other floors.

mod call;
mod change;
mod explanation;
mod filter;
mod fleet;
mod id;
mod labels;
mod policy;
mod progress;
mod queue;
pub mod scheduler;
mod selector;
mod task;
mod time;

pub use call::{
    Answer, Budget, Call, ClusterView, DrainView, ListQuery, Located, Page, Refusal, TaskEvent, WorkerPage,
    WorkerQuery, WorkerState, WorkerView,
};
pub use change::{Assignment, Change, Loaded, LoadedTask, Status, Submission};
pub use explanation::{Explanation, PendingReason, UnavailableWorkers};
pub use filter::{TaskFilter, TimeRange};
pub use fleet::{AttemptId, MAX_DRAINED_WORKERS, Member, Order, Report, RunningAttempt, WorkerHello, WorkerOffer};
pub use id::{Fence, Incarnation, InvalidId, Kind, QueueName, Revision, TaskId, Term, WorkerId};
pub use labels::Labels;
pub use policy::{EXIT_STATUSES, MAX_ATTEMPTS, MAX_TIME, Multiplier, Policy, RetryPolicy, Timeout, Timeouts, Trials};
pub use progress::{Fraction, InvalidProgress, MAX_PROGRESS_BYTES, MAX_PROGRESS_DETAILS, Progress};
pub use queue::{LimitUpdate, QueuePage, QueueQuery, QueueSettings, QueueState, QueueUpdate, QueueView, Rate};
pub use scheduler::{MAX_LIVE_SELECTORS, Scheduler};
pub use selector::{
    Condition, MAX_REQUIREMENT_VALUES, MAX_REQUIREMENTS, MAX_SELECTOR_BYTES, Requirement, Selector, is_satisfiable,
};
pub use task::{
    Failure, FailureReason, MAX_LABEL_VALUE_BYTES, MAX_LABELS, MAX_MESSAGE_BYTES, MAX_PAYLOAD_BYTES, MAX_RESULT_BYTES,
    Outcome, Priority, Task, TaskSpec, TaskState,
};
pub use time::{Monotonic, Now, Wall};
