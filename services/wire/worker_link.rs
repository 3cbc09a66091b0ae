//! The link between a worker and the leader, in both directions. Each end parses what the other one sent before it
//! believes any of it; a message that is not valid ends the link.

use std::sync::Arc;

use bytes::Bytes;

mod hello;

use self::hello::{hello_from_proto, hello_to_proto};
use super::{
    InvalidField,
    bundle::nested_bundle,
    name,
    policy::{duration_from_proto, duration_to_proto},
    proto::internal::v1 as links,
    task::{
        failure_from_proto, failure_to_proto, labels, progress_from_proto, progress_to_proto, shared, time_from_proto,
        time_to_proto,
    },
};
use crate::domain::{
    AttemptId, Failure, FailureReason, Fence, MAX_PAYLOAD_BYTES, MAX_RESULT_BYTES, Order, Policy, Progress, Report,
    RunningAttempt, TaskSpec, Term, Timeout, Timeouts, Wall, WorkerHello,
};

/// Longest reason of a cancel, in bytes: it is one line of a log.
const MAX_REASON_BYTES: usize = 256;
/// Longest trace context that is passed on, in bytes: version 00 has 55, later ones may be longer.
const MAX_TRACEPARENT_BYTES: usize = 128;

/// What a worker sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerToLeader {
    /// First, once.
    Hello(Box<WorkerHello>),
    Report(Report),
    /// Give me nothing more.
    Draining,
    /// The link ends on purpose.
    Goodbye,
    Heartbeat,
}

/// What the leader sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaderToWorker {
    /// First, once.
    Welcome(Term),
    Order(Order),
    /// The link ends on purpose.
    Goodbye,
    Heartbeat,
}

impl TryFrom<links::LinkWorkerRequest> for WorkerToLeader {
    type Error = InvalidField;

    fn try_from(request: links::LinkWorkerRequest) -> Result<Self, InvalidField> {
        use links::link_worker_request::Message;
        Ok(match request.message.ok_or_else(missing_message)? {
            Message::Hello(hello) => {
                Self::Hello(Box::new(hello_from_proto(*hello).map_err(|error| error.within("hello"))?))
            }
            Message::Started(started) => {
                let RunningAttempt { attempt, start_time, .. } = running(started).map_err(|e| e.within("started"))?;
                Self::Report(Report::Started { attempt, start_time })
            }
            Message::Progress(report) => Self::Report(progress(report).map_err(|e| e.within("progress"))?),
            Message::Finished(report) => Self::Report(finished(report).map_err(|e| e.within("finished"))?),
            Message::GivenBack(report) => Self::Report(given_back(&report).map_err(|e| e.within("given_back"))?),
            Message::Draining(links::Draining {}) => Self::Draining,
            Message::Goodbye(links::Goodbye {}) => Self::Goodbye,
            Message::Heartbeat(links::Heartbeat {}) => Self::Heartbeat,
            Message::Bundle(_) => return Err(nested_bundle()),
        })
    }
}

impl From<WorkerToLeader> for links::LinkWorkerRequest {
    fn from(message: WorkerToLeader) -> Self {
        use links::link_worker_request::Message;
        let message = match message {
            WorkerToLeader::Hello(hello) => Message::Hello(Box::new(hello_to_proto(*hello))),
            WorkerToLeader::Report(report) => match ReportProto::from(report) {
                ReportProto::Started(started) => Message::Started(started),
                ReportProto::Progress(progress) => Message::Progress(progress),
                ReportProto::Finished(finished) => Message::Finished(finished),
                ReportProto::GivenBack(given_back) => Message::GivenBack(given_back),
            },
            WorkerToLeader::Draining => Message::Draining(links::Draining {}),
            WorkerToLeader::Goodbye => Message::Goodbye(links::Goodbye {}),
            WorkerToLeader::Heartbeat => Message::Heartbeat(links::Heartbeat {}),
        };
        Self { message: Some(message) }
    }
}

impl TryFrom<links::LinkWorkerResponse> for LeaderToWorker {
    type Error = InvalidField;

    fn try_from(response: links::LinkWorkerResponse) -> Result<Self, InvalidField> {
        use links::link_worker_response::Message;
        Ok(match response.message.ok_or_else(missing_message)? {
            Message::Welcome(welcome) => Self::Welcome(Term(welcome.term)),
            Message::Assign(assign) => Self::Order(assign_from_proto(*assign).map_err(|error| error.within("assign"))?),
            Message::Cancel(cancel) => {
                let attempt =
                    attempt(&cancel.task_id, cancel.attempt, cancel.fence).map_err(|error| error.within("cancel"))?;
                bounded("cancel.reason", &cancel.reason, MAX_REASON_BYTES)?;
                Self::Order(Order::Cancel { attempt, reason: cancel.reason.into() })
            }
            Message::Acknowledge(acknowledge) => {
                let attempt = attempt(&acknowledge.task_id, acknowledge.attempt, acknowledge.fence);
                Self::Order(Order::Acknowledge { attempt: attempt.map_err(|error| error.within("acknowledge"))? })
            }
            Message::Goodbye(links::Goodbye {}) => Self::Goodbye,
            Message::Heartbeat(links::Heartbeat {}) => Self::Heartbeat,
            Message::Bundle(_) => return Err(nested_bundle()),
        })
    }
}

impl From<LeaderToWorker> for links::LinkWorkerResponse {
    fn from(message: LeaderToWorker) -> Self {
        use links::link_worker_response::Message;
        let message = match message {
            LeaderToWorker::Welcome(term) => Message::Welcome(links::Welcome { term: term.0 }),
            LeaderToWorker::Order(Order::Assign { attempt, spec, traceparent }) => {
                Message::Assign(Box::new(links::Assign {
                    task_id: attempt.task_id.to_string(),
                    attempt: attempt.attempt,
                    fence: attempt.fence.0,
                    kind: spec.kind.to_string(),
                    queue: spec.queue().to_string(),
                    payload: Bytes::copy_from_slice(&spec.payload),
                    labels: (&spec.labels).into(),
                    traceparent: traceparent.as_deref().unwrap_or_default().to_owned(),
                    start_to_close: limit(&spec, Timeout::StartToClose),
                    heartbeat: limit(&spec, Timeout::Heartbeat),
                }))
            }
            LeaderToWorker::Order(Order::Cancel { attempt, reason }) => Message::Cancel(links::CancelAttempt {
                task_id: attempt.task_id.to_string(),
                attempt: attempt.attempt,
                fence: attempt.fence.0,
                reason: reason.into_owned(),
            }),
            LeaderToWorker::Order(Order::Acknowledge { attempt }) => Message::Acknowledge(links::AcknowledgeAttempt {
                task_id: attempt.task_id.to_string(),
                attempt: attempt.attempt,
                fence: attempt.fence.0,
            }),
            LeaderToWorker::Goodbye => Message::Goodbye(links::Goodbye {}),
            LeaderToWorker::Heartbeat => Message::Heartbeat(links::Heartbeat {}),
        };
        Self { message: Some(message) }
    }
}

/// The messages that a report becomes; a hello and the stream carry the same ones.
enum ReportProto {
    Started(links::AttemptStarted),
    Progress(links::AttemptProgress),
    Finished(links::AttemptFinished),
    GivenBack(links::AttemptGivenBack),
}

impl From<Report> for ReportProto {
    fn from(report: Report) -> Self {
        use links::attempt_finished::Outcome;
        let finished = |attempt: AttemptId, start_time: Option<Wall>, outcome| {
            Self::Finished(links::AttemptFinished {
                task_id: attempt.task_id.to_string(),
                attempt: attempt.attempt,
                fence: attempt.fence.0,
                start_time: start_time.map(time_to_proto),
                outcome: Some(outcome),
            })
        };
        match report {
            Report::Started { attempt, start_time } => Self::Started(started(&attempt, start_time, None)),
            Report::Progress { attempt, progress } => Self::Progress(links::AttemptProgress {
                task_id: attempt.task_id.to_string(),
                attempt: attempt.attempt,
                fence: attempt.fence.0,
                progress: progress.as_deref().map(progress_to_proto),
            }),
            Report::Succeeded { attempt, start_time, result } => {
                finished(attempt, Some(start_time), Outcome::Result(Bytes::copy_from_slice(&result)))
            }
            Report::Failed { attempt, start_time, failure } => {
                finished(attempt, Some(start_time), Outcome::Failure(failure_to_proto(&failure)))
            }
            Report::Stopped { attempt } => finished(attempt, None, Outcome::Stopped(links::Stopped {})),
            Report::GivenBack { attempt, started } => Self::GivenBack(links::AttemptGivenBack {
                task_id: attempt.task_id.to_string(),
                attempt: attempt.attempt,
                fence: attempt.fence.0,
                started,
            }),
        }
    }
}

fn started(attempt: &AttemptId, start_time: Wall, progress: Option<&Progress>) -> links::AttemptStarted {
    links::AttemptStarted {
        task_id: attempt.task_id.to_string(),
        attempt: attempt.attempt,
        fence: attempt.fence.0,
        start_time: Some(time_to_proto(start_time)),
        progress: progress.map(progress_to_proto),
    }
}

fn running(started: links::AttemptStarted) -> Result<RunningAttempt, InvalidField> {
    let attempt = attempt(&started.task_id, started.attempt, started.fence)?;
    let progress = progress_from_proto("progress", started.progress)?;
    Ok(RunningAttempt { attempt, start_time: start_time(started.start_time)?, progress })
}

fn progress(report: links::AttemptProgress) -> Result<Report, InvalidField> {
    let attempt = attempt(&report.task_id, report.attempt, report.fence)?;
    Ok(Report::Progress { attempt, progress: progress_from_proto("progress", report.progress)? })
}

fn finished(report: links::AttemptFinished) -> Result<Report, InvalidField> {
    use links::attempt_finished::Outcome;
    let attempt = attempt(&report.task_id, report.attempt, report.fence)?;
    match report.outcome.ok_or_else(|| InvalidField::new("outcome", "must be set"))? {
        Outcome::Result(result) => {
            if result.len() > MAX_RESULT_BYTES {
                let problem = format!("must be at most {MAX_RESULT_BYTES} bytes, is {}", result.len());
                return Err(InvalidField::new("result", problem));
            }
            let start_time = start_time(report.start_time)?;
            Ok(Report::Succeeded { attempt, start_time, result: shared(&result) })
        }
        Outcome::Failure(failure) => {
            let start_time = start_time(report.start_time)?;
            Ok(Report::Failed { attempt, start_time, failure: failure_of_attempt(failure_from_proto(failure)?)? })
        }
        Outcome::Stopped(links::Stopped {}) => Ok(Report::Stopped { attempt }),
    }
}

/// A worker can say how its handler failed; that a worker died, or a task took too long, is for the leader to say.
fn failure_of_attempt(failure: Failure) -> Result<Failure, InvalidField> {
    match (failure.reason, failure.timeout) {
        (FailureReason::Handler | FailureReason::ResultTooLarge, _)
        | (FailureReason::TimedOut, Some(Timeout::StartToClose | Timeout::Heartbeat)) => Ok(failure),
        (reason, _) => Err(InvalidField::new("failure.reason", format!("{reason:?} is not for a worker to say"))),
    }
}

fn given_back(report: &links::AttemptGivenBack) -> Result<Report, InvalidField> {
    Ok(Report::GivenBack { attempt: attempt(&report.task_id, report.attempt, report.fence)?, started: report.started })
}

/// What a worker needs to know of a spec travels; the rest is the leader's business and is left at its default.
fn assign_from_proto(assign: links::Assign) -> Result<Order, InvalidField> {
    let attempt = attempt(&assign.task_id, assign.attempt, assign.fence)?;
    if assign.payload.len() > MAX_PAYLOAD_BYTES {
        let problem = format!("must be at most {MAX_PAYLOAD_BYTES} bytes, is {}", assign.payload.len());
        return Err(InvalidField::new("payload", problem));
    }
    let mut spec = TaskSpec::new(name("kind", &assign.kind)?, &assign.payload);
    spec.queue = Some(name("queue", &assign.queue)?);
    spec.labels = labels("labels", assign.labels)?.into();
    let timeouts = Timeouts {
        start_to_close: duration_from_proto("start_to_close", assign.start_to_close)?,
        heartbeat: duration_from_proto("heartbeat", assign.heartbeat)?,
        ..Timeouts::default()
    };
    if timeouts != Timeouts::default() {
        spec.policy = Some(Box::new(Policy { timeouts: Some(timeouts), ..Policy::default() }));
    }
    // A task is worth more than its trace: a context that cannot be one is left out.
    let traceparent = (1..=MAX_TRACEPARENT_BYTES).contains(&assign.traceparent.len());
    Ok(Order::Assign { attempt, spec: Arc::new(spec), traceparent: traceparent.then(|| assign.traceparent.into()) })
}

fn limit(spec: &TaskSpec, timeout: Timeout) -> Option<prost_types::Duration> {
    spec.policy.as_ref()?.timeout(timeout).map(duration_to_proto)
}

fn attempt(task_id: &str, attempt: u32, fence: u64) -> Result<AttemptId, InvalidField> {
    for (field, number) in [("attempt", u64::from(attempt)), ("fence", fence)] {
        if number == 0 {
            return Err(InvalidField::new(field, "must be at least 1"));
        }
    }
    Ok(AttemptId { task_id: name("task_id", task_id)?, attempt, fence: Fence(fence) })
}

fn start_time(time: Option<prost_types::Timestamp>) -> Result<Wall, InvalidField> {
    time_from_proto("start_time", time)?.ok_or_else(|| InvalidField::new("start_time", "must be set"))
}

fn bounded(field: &str, text: &str, most: usize) -> Result<(), InvalidField> {
    if text.len() > most {
        return Err(InvalidField::new(field, format!("must be at most {most} bytes, is {}", text.len())));
    }
    Ok(())
}

fn missing_message() -> InvalidField {
    InvalidField::new("message", "must be set")
}

#[cfg(test)]
mod tests;
