//! Tasks, specs and filters, in and out.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    InvalidField, name, optional_name,
    policy::{check_together, policy_from_proto, policy_to_proto, timeout_from_proto, timeout_to_proto},
    proto::v1,
    selector::{selector_from_proto, selector_to_proto},
};
use crate::domain::{
    Failure, FailureReason, Fence, Fraction, MAX_LABEL_VALUE_BYTES, MAX_LABELS, MAX_MESSAGE_BYTES, MAX_PAYLOAD_BYTES,
    Outcome, Priority, Progress, Revision, Task, TaskSpec, TaskState, Trials, Wall,
};

/// Longest key of a label, in bytes.
const MAX_LABEL_KEY_BYTES: usize = 63;

/// # Errors
/// Names the first field that is not as the .proto says.
pub fn spec_from_proto(spec: v1::TaskSpec) -> Result<TaskSpec, InvalidField> {
    if spec.payload.len() > MAX_PAYLOAD_BYTES {
        let problem = format!("must be at most {MAX_PAYLOAD_BYTES} bytes, is {}", spec.payload.len());
        return Err(InvalidField::new("payload", problem));
    }
    let priority = spec.priority.map(|value| {
        u8::try_from(value)
            .ok()
            .and_then(Priority::new)
            .ok_or_else(|| InvalidField::new("priority", format!("must be 0 to {}, is {value}", Priority::HIGHEST)))
    });
    let policy = policy_from_proto(spec.retry, spec.timeouts, spec.not_before, spec.delay)?;
    if let Some(policy) = &policy {
        check_together(policy, spec.at_most_once)?;
    }
    Ok(TaskSpec {
        kind: name("kind", &spec.kind)?,
        queue: if spec.queue.is_empty() { None } else { Some(name("queue", &spec.queue)?) },
        payload: shared(&spec.payload),
        labels: labels("labels", spec.labels)?.into(),
        priority: priority.transpose()?,
        at_most_once: spec.at_most_once,
        policy,
        selector: selector_from_proto(spec.selector)?,
    })
}

/// Most results are empty, and so are payloads where they do not travel: that is no allocation.
pub(super) fn shared(bytes: &[u8]) -> Arc<[u8]> {
    if bytes.is_empty() { Arc::default() } else { bytes.into() }
}

/// Labels of tasks and of workers.
///
/// # Errors
/// Too many, too long, or a key outside its grammar.
pub(super) fn labels(field: &str, labels: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, InvalidField> {
    if labels.len() > MAX_LABELS {
        return Err(InvalidField::new(field, format!("must be at most {MAX_LABELS}, are {}", labels.len())));
    }
    for (key, value) in &labels {
        label(key, value).map_err(|problem| InvalidField::new(field, problem))?;
    }
    Ok(labels)
}

/// One of them.
///
/// # Errors
/// The key is outside its grammar, or the value is too long.
pub fn label(key: &str, value: &str) -> Result<(), String> {
    let first = key.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let rest = key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._/-".contains(c));
    if !first || !rest || key.len() > MAX_LABEL_KEY_BYTES {
        return Err(format!("key {key:?} must match [a-z0-9][a-z0-9._/-]{{0,62}}"));
    }
    if value.len() > MAX_LABEL_VALUE_BYTES {
        return Err(format!("value of {key:?} must be at most {MAX_LABEL_VALUE_BYTES} bytes, is {}", value.len()));
    }
    Ok(())
}

pub fn spec_to_proto(spec: &TaskSpec, with_payload: bool) -> v1::TaskSpec {
    let policy = policy_to_proto(spec.policy.as_deref());
    v1::TaskSpec {
        kind: spec.kind.to_string(),
        queue: spec.queue.as_ref().map(ToString::to_string).unwrap_or_default(),
        payload: if with_payload { bytes::Bytes::copy_from_slice(&spec.payload) } else { bytes::Bytes::new() },
        labels: (&spec.labels).into(),
        priority: spec.priority.map(|priority| i32::from(priority.get())),
        at_most_once: spec.at_most_once,
        selector: spec.selector.as_deref().map(selector_to_proto).unwrap_or_default(),
        ..policy
    }
}

/// How much of a task goes out: lists and watches stay small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Nothing of the spec, no result, no progress, no failure's message: of many that must fit a message together.
    Brief,
    /// What the submit that it answers does not say, if the task is new; else a summary.
    Unsaid,
    /// Neither payload nor result.
    Summary,
    /// The result, if there is one.
    Result,
    /// Payload and result.
    Full,
}

pub fn task_to_proto(task: &Task, detail: Detail) -> v1::Task {
    let brief = detail == Detail::Brief;
    let failed = |failure: &Failure| {
        let failure = failure_to_proto(failure);
        if brief { v1::TaskFailure { message: String::new(), ..failure } } else { failure }
    };
    let (result, failure) = match &task.outcome {
        Some(Outcome::Succeeded(result)) if matches!(detail, Detail::Result | Detail::Full) => {
            (bytes::Bytes::copy_from_slice(result), None)
        }
        Some(Outcome::Failed(failure)) => (bytes::Bytes::new(), Some(failed(failure))),
        _ => (bytes::Bytes::new(), None),
    };
    let trials = task.trials.as_deref();
    v1::Task {
        task_id: task.id.to_string(),
        spec: (!brief).then(|| spec_to_proto(&task.spec, detail == Detail::Full)),
        state: state_to_proto(task.state).into(),
        attempt: i32::try_from(task.attempt).unwrap_or(i32::MAX),
        worker_id: task.worker.as_ref().map(ToString::to_string).unwrap_or_default(),
        revision: task.revision.0,
        fence: task.fence.0,
        result,
        failure,
        create_time: Some(time_to_proto(task.create_time)),
        start_time: task.start_time.map(time_to_proto),
        end_time: task.end_time.map(time_to_proto),
        worker_deaths: i32::try_from(task.worker_deaths).unwrap_or(i32::MAX),
        progress: task.progress.as_deref().filter(|_| !brief).map(progress_to_proto),
        retries: trials.map_or(0, |trials| i32::try_from(trials.retries).unwrap_or(i32::MAX)),
        last_failure: trials.and_then(|trials| trials.last_failure.as_ref()).map(failed),
        next_attempt_time: trials.and_then(|trials| trials.next_attempt_time).map(time_to_proto),
        retry_of: task.retry_of.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

/// A task that another of our services sent; `incarnation` and `traceparent` do not travel.
///
/// # Errors
/// Names the first field that is not as the .proto says.
pub fn task_from_proto(task: v1::Task) -> Result<Task, InvalidField> {
    let state = state_from_proto("state", task.state)?;
    let outcome = match state {
        TaskState::Succeeded => Some(Outcome::Succeeded(shared(&task.result))),
        TaskState::Failed => Some(Outcome::Failed(failure_from_proto(task.failure.unwrap_or_default())?)),
        TaskState::Cancelled => Some(Outcome::Cancelled),
        TaskState::Pending | TaskState::Assigned | TaskState::Running => None,
    };
    let spec = task.spec.ok_or_else(|| InvalidField::new("spec", "must be set"))?;
    Ok(Task {
        id: name("task_id", &task.task_id)?,
        spec: Arc::new(spec_from_proto(spec).map_err(|error| error.within("spec"))?),
        state,
        attempt: count("attempt", task.attempt)?,
        worker: if task.worker_id.is_empty() { None } else { Some(name("worker_id", &task.worker_id)?) },
        incarnation: None,
        fence: Fence(task.fence),
        revision: Revision(task.revision),
        worker_deaths: count("worker_deaths", task.worker_deaths)?,
        progress: progress_from_proto("progress", task.progress)?,
        outcome,
        trials: trials_from_proto(count("retries", task.retries)?, task.last_failure, task.next_attempt_time)?,
        traceparent: None,
        retry_of: optional_name("retry_of", &task.retry_of)?,
        create_time: time_from_proto("create_time", task.create_time)?
            .ok_or_else(|| InvalidField::new("create_time", "must be set"))?,
        start_time: time_from_proto("start_time", task.start_time)?,
        end_time: time_from_proto("end_time", task.end_time)?,
    })
}

pub(super) fn trials_from_proto(
    retries: u32,
    last_failure: Option<v1::TaskFailure>,
    next_attempt_time: Option<prost_types::Timestamp>,
) -> Result<Option<Arc<Trials>>, InvalidField> {
    let last_failure =
        last_failure.map(failure_from_proto).transpose().map_err(|error| error.within("last_failure"))?;
    let trials =
        Trials { retries, last_failure, next_attempt_time: time_from_proto("next_attempt_time", next_attempt_time)? };
    Ok((trials != Trials::default()).then(|| Arc::new(trials)))
}

pub(super) fn count(field: &str, value: i32) -> Result<u32, InvalidField> {
    u32::try_from(value).map_err(|_| InvalidField::new(field, format!("must not be negative, is {value}")))
}

pub fn failure_to_proto(failure: &Failure) -> v1::TaskFailure {
    v1::TaskFailure {
        reason: reason_to_proto(failure.reason).into(),
        message: failure.message.to_string(),
        exit_status: failure.exit_status,
        timeout: failure.timeout.map_or(v1::Timeout::Unspecified, timeout_to_proto).into(),
        permanent: failure.permanent,
    }
}

/// # Errors
/// The reason is unknown, or the message longer than [`MAX_MESSAGE_BYTES`].
pub fn failure_from_proto(failure: v1::TaskFailure) -> Result<Failure, InvalidField> {
    let reason = reason_from_proto("failure.reason", failure.reason)?;
    let timed_out = reason == FailureReason::TimedOut;
    let timeout = timed_out.then(|| timeout_from_proto("failure.timeout", failure.timeout)).transpose()?;
    if failure.message.len() > MAX_MESSAGE_BYTES {
        return Err(InvalidField::new("failure.message", format!("must be at most {MAX_MESSAGE_BYTES} bytes")));
    }
    let v1::TaskFailure { message, exit_status, permanent, .. } = failure;
    Ok(Failure { reason, message: message.into(), exit_status, timeout, permanent })
}

pub(super) fn progress_to_proto(progress: &Progress) -> v1::TaskProgress {
    v1::TaskProgress {
        fraction: progress.fraction.map(Fraction::get),
        message: progress.message.to_string(),
        details: progress.details.clone(),
        update_time: Some(time_to_proto(progress.update_time)),
    }
}

pub(super) fn progress_from_proto(
    field: &str,
    progress: Option<v1::TaskProgress>,
) -> Result<Option<Arc<Progress>>, InvalidField> {
    let Some(progress) = progress else { return Ok(None) };
    let outside = |value| InvalidField::new("fraction", format!("must be 0 to 1, is {value}"));
    let read = || {
        let fraction = progress.fraction.map(|value| Fraction::new(value).ok_or_else(|| outside(value))).transpose()?;
        let update_time = time_from_proto("update_time", progress.update_time)?.unwrap_or_default();
        let progress = Progress { fraction, message: progress.message.into(), details: progress.details, update_time };
        progress.check().map_err(|problem| InvalidField::new("", problem))?;
        Ok(progress)
    };
    read().map(|progress| Some(Arc::new(progress))).map_err(|error: InvalidField| error.within(field))
}

pub(super) fn reason_to_proto(reason: FailureReason) -> v1::FailureReason {
    match reason {
        FailureReason::Handler => v1::FailureReason::Handler,
        FailureReason::ResultTooLarge => v1::FailureReason::ResultTooLarge,
        FailureReason::WorkerLost => v1::FailureReason::WorkerLost,
        FailureReason::Poisoned => v1::FailureReason::Poisoned,
        FailureReason::TimedOut => v1::FailureReason::TimedOut,
    }
}

pub(super) fn reason_from_proto(field: &str, reason: i32) -> Result<FailureReason, InvalidField> {
    match v1::FailureReason::try_from(reason) {
        Ok(v1::FailureReason::Handler) => Ok(FailureReason::Handler),
        Ok(v1::FailureReason::ResultTooLarge) => Ok(FailureReason::ResultTooLarge),
        Ok(v1::FailureReason::WorkerLost) => Ok(FailureReason::WorkerLost),
        Ok(v1::FailureReason::Poisoned) => Ok(FailureReason::Poisoned),
        Ok(v1::FailureReason::TimedOut) => Ok(FailureReason::TimedOut),
        Ok(v1::FailureReason::Unspecified) | Err(_) => {
            Err(InvalidField::new(field, format!("{reason} is not a reason of a failure")))
        }
    }
}

pub(super) fn state_to_proto(state: TaskState) -> v1::TaskState {
    match state {
        TaskState::Pending => v1::TaskState::Pending,
        TaskState::Assigned => v1::TaskState::Assigned,
        TaskState::Running => v1::TaskState::Running,
        TaskState::Succeeded => v1::TaskState::Succeeded,
        TaskState::Failed => v1::TaskState::Failed,
        TaskState::Cancelled => v1::TaskState::Cancelled,
    }
}

pub(super) fn state_from_proto(field: &str, state: i32) -> Result<TaskState, InvalidField> {
    match v1::TaskState::try_from(state) {
        Ok(v1::TaskState::Pending) => Ok(TaskState::Pending),
        Ok(v1::TaskState::Assigned) => Ok(TaskState::Assigned),
        Ok(v1::TaskState::Running) => Ok(TaskState::Running),
        Ok(v1::TaskState::Succeeded) => Ok(TaskState::Succeeded),
        Ok(v1::TaskState::Failed) => Ok(TaskState::Failed),
        Ok(v1::TaskState::Cancelled) => Ok(TaskState::Cancelled),
        Ok(v1::TaskState::Unspecified) | Err(_) => {
            Err(InvalidField::new(field, format!("{state} is not a state of a task")))
        }
    }
}

pub(super) fn time_to_proto(time: Wall) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: i64::try_from(time.0 / 1_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(time.0 % 1_000).unwrap_or(0) * 1_000_000,
    }
}

pub(super) fn time_from_proto(field: &str, time: Option<prost_types::Timestamp>) -> Result<Option<Wall>, InvalidField> {
    let Some(time) = time else { return Ok(None) };
    let invalid = || InvalidField::new(field, "is not a time after 1970");
    let seconds = u64::try_from(time.seconds).map_err(|_| invalid())?;
    let nanos = u64::try_from(time.nanos).map_err(|_| invalid())?;
    let millis = seconds.checked_mul(1_000).and_then(|millis| millis.checked_add(nanos / 1_000_000));
    millis.map(|millis| Some(Wall(millis))).ok_or_else(invalid)
}
