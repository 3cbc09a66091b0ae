//! What a team writes: the code that runs a kind of task.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

pub use super::desk::Reporter;
use crate::domain::{Failure, FailureReason, Fence, Kind, Progress, QueueName, TaskId};

/// One attempt, as its handler sees it.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub task_id: TaskId,
    /// From 1.
    pub attempt: u32,
    /// Hand it to other systems, so that they can refuse a stale attempt: it only grows.
    pub fence: Fence,
    pub kind: Kind,
    pub queue: QueueName,
    pub payload: Bytes,
    pub labels: BTreeMap<String, String>,
    /// W3C trace context of this attempt's span.
    pub traceparent: Option<Arc<str>>,
    /// Cancelled when the outcome is no longer wanted or the attempt has taken too long; return soon after, the slot is
    /// held until then.
    pub cancelled: CancellationToken,
    /// What [`Attempt::progress`] and [`Attempt::log`] are said through.
    pub reporter: Reporter,
}

impl Attempt {
    /// Says how far it is, to whoever watches the task, and that it is alive. As often as is convenient: what is not yet
    /// told is replaced, and twice a second the newest is sent. What is larger than the limits of a progress is not taken, and
    /// counts as a sign of life.
    pub fn progress(&self, progress: Progress) {
        self.reporter.progress(progress);
    }

    /// Writes a line to the log of this attempt, which `herdsman logs` reads. The last 64 KiB of it are kept.
    pub fn log(&self, line: impl fmt::Display) {
        self.reporter.log().write(format!("{line}\n").as_bytes());
    }

    /// Says that it is alive, and nothing new.
    pub fn heartbeat(&self) {
        self.reporter.alive();
    }
}

/// Runs tasks of one kind. Many attempts may run at the same time on one handler.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Runs one attempt to its end. The result is at most 64 KiB. A panic fails the task as an error does, where panics
    /// unwind; a program built with `panic = "abort"` dies of it, and its attempts run elsewhere.
    ///
    /// Once `attempt.cancelled` is, it does not matter what is returned: nobody wants the outcome any more, or the worker is
    /// stopping and the task runs again elsewhere, or the attempt has failed as it took longer than the task allows. A handler that blocks a thread belongs on
    /// `tokio::task::spawn_blocking`: the worker's link lives on the same runtime.
    ///
    /// # Errors
    /// The attempt has failed with it; whether the task has is for its retry policy to say.
    async fn run(&self, attempt: Attempt) -> Result<Bytes, HandlerError>;
}

/// Why a handler failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HandlerError {
    /// For people; cut at 4 KiB.
    pub message: String,
    /// Of an exec handler's program.
    pub exit_status: Option<i32>,
    /// [`FailureReason::Handler`], or that its result is too large; any other is not for a handler to say, and counts as the
    /// first.
    pub reason: FailureReason,
    /// Trying again is of no use: the task fails, whatever its retry policy says.
    pub permanent: bool,
}

impl HandlerError {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_status: None, reason: FailureReason::Handler, permanent: false }
    }

    /// A failure that another attempt would only repeat, such as a payload that makes no sense.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self { permanent: true, ..Self::new(message) }
    }
}

impl From<HandlerError> for Failure {
    fn from(error: HandlerError) -> Self {
        let end = error.message.floor_char_boundary(crate::domain::MAX_MESSAGE_BYTES);
        let reason = match error.reason {
            FailureReason::ResultTooLarge => FailureReason::ResultTooLarge,
            _ => FailureReason::Handler,
        };
        let failure = Self::new(reason, &error.message[..end]);
        Self { exit_status: error.exit_status, permanent: error.permanent, ..failure }
    }
}

/// The handlers of a worker, by the kind that each serves.
#[derive(Clone, Default)]
pub struct Handlers(BTreeMap<Kind, Arc<dyn Handler>>);

impl Handlers {
    /// Adds one, in place of any earlier one of the same kind.
    #[must_use]
    pub fn with(mut self, kind: Kind, handler: impl Handler) -> Self {
        self.0.insert(kind, Arc::new(handler));
        self
    }

    /// All of both; where both have a kind, the others' handler serves it.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    pub fn get(&self, kind: &Kind) -> Option<&Arc<dyn Handler>> {
        self.0.get(kind)
    }

    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.0.keys()
    }
}
