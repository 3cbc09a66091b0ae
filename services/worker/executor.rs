//! Runs attempts: one task each, with a span, whose panic is its own failure.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use super::{
    desk::{Desk, Reporter},
    handler::{Attempt, Handler, HandlerError},
    patience::Limits,
};
use crate::{
    domain::{AttemptId, Failure, FailureReason, MAX_MESSAGE_BYTES, MAX_RESULT_BYTES, TaskSpec, WorkerId},
    runtime::telemetry,
};

/// How a handler ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    Succeeded(Arc<[u8]>),
    Failed(Failure),
    /// It was torn down before it returned.
    Aborted,
}

/// The attempts of this worker that run. Dropped, it tears them down.
pub struct Executor {
    worker_id: WorkerId,
    desk: Arc<Desk>,
    tasks: JoinSet<Ended>,
    attempts: HashMap<Id, AttemptId>,
    /// What was started since the last launch.
    starting: Vec<(AttemptId, BoxFuture<'static, Ended>)>,
}

/// What is to be run.
pub struct Assignment {
    pub attempt: AttemptId,
    pub spec: Arc<TaskSpec>,
    pub traceparent: Option<Arc<str>>,
}

impl Executor {
    pub fn new(worker_id: WorkerId, desk: Arc<Desk>) -> Self {
        Self { worker_id, desk, tasks: JoinSet::new(), attempts: HashMap::new(), starting: Vec::new() }
    }

    /// Starts an attempt, with the next [`Executor::launch`]; cancelling the token asks it to stop, and so does the end of
    /// its time.
    pub fn start(&mut self, handler: &Arc<dyn Handler>, assignment: Assignment) -> CancellationToken {
        let Assignment { attempt, spec, traceparent } = assignment;
        let cancelled = CancellationToken::new();
        let span = self.span(&attempt, &spec, traceparent.as_deref());
        let limits = Limits::of(&spec);
        let attempt_of_handler = Attempt {
            task_id: attempt.task_id.clone(),
            attempt: attempt.attempt,
            fence: attempt.fence,
            kind: spec.kind.clone(),
            queue: spec.queue(),
            payload: Bytes::copy_from_slice(&spec.payload),
            labels: (&spec.labels).into(),
            traceparent: telemetry::traceparent(&span).or(traceparent),
            cancelled: cancelled.clone(),
            reporter: Reporter::new(attempt.clone(), self.desk.clone(), limits.as_ref().and_then(Limits::pulse)),
        };
        let handler = handler.clone();
        let run: BoxFuture<'static, Ended> = if let Some(limits) = limits {
            let token = cancelled.clone();
            let run = async move { limits.keep(&token, handler.run(attempt_of_handler)).await };
            Box::pin(run.instrument(span))
        } else {
            let run = async move { ended(handler.run(attempt_of_handler).await) };
            Box::pin(run.instrument(span))
        };
        self.starting.push((attempt, run));
        cancelled
    }

    /// Lets run what was started, all at once: each by itself would wake a thread that finds nothing more to do after it.
    pub fn launch(&mut self) {
        for (attempt, run) in self.starting.drain(..) {
            let task = self.tasks.spawn(run);
            self.attempts.insert(task.id(), attempt);
        }
    }

    fn span(&self, attempt: &AttemptId, spec: &TaskSpec, traceparent: Option<&str>) -> Span {
        let span = tracing::info_span!(
            parent: None,
            "attempt",
            task_id = %attempt.task_id,
            attempt = attempt.attempt,
            fence = attempt.fence.0,
            kind = %spec.kind,
            worker_id = %self.worker_id,
        );
        if let Some(traceparent) = traceparent {
            telemetry::set_parent(&span, traceparent);
        }
        span
    }

    /// The next attempt that has ended; waits as long as none does. May be dropped and called again at any time.
    pub async fn next_ended(&mut self) -> (AttemptId, Ended) {
        loop {
            self.launch();
            let Some(joined) = self.tasks.join_next_with_id().await else { return std::future::pending().await };
            if let Some(ended) = self.settle(joined) {
                return ended;
            }
        }
    }

    /// As [`Executor::next_ended`], but None if none has.
    pub fn try_next_ended(&mut self) -> Option<(AttemptId, Ended)> {
        self.launch();
        while let Some(joined) = self.tasks.try_join_next_with_id() {
            let ended = self.settle(joined);
            if ended.is_some() {
                return ended;
            }
        }
        None
    }

    fn settle(&mut self, joined: Result<(Id, Ended), JoinError>) -> Option<(AttemptId, Ended)> {
        let (id, ended) = joined.unwrap_or_else(|error| (error.id(), torn_down(error)));
        self.attempts.remove(&id).map(|attempt| (attempt, ended))
    }

    /// Tears every attempt down at its next await.
    pub fn abort_all(&mut self) {
        self.launch();
        self.tasks.abort_all();
    }
}

pub(super) fn ended(result: Result<Bytes, HandlerError>) -> Ended {
    match result {
        Ok(result) if result.len() > MAX_RESULT_BYTES => {
            let message = format!("the result has {} bytes, the limit is {MAX_RESULT_BYTES}", result.len());
            Ended::Failed(Failure::new(FailureReason::ResultTooLarge, message))
        }
        Ok(result) => Ended::Succeeded(Arc::from(result.as_ref())),
        Err(error) => Ended::Failed(error.into()),
    }
}

fn torn_down(error: JoinError) -> Ended {
    let Ok(panic) = error.try_into_panic() else { return Ended::Aborted };
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("without a message");
    let text = &text[..text.floor_char_boundary(MAX_MESSAGE_BYTES / 2)];
    Ended::Failed(HandlerError::new(format!("the handler panicked: {text}")).into())
}
