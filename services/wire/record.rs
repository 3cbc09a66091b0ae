//! Stored records, in and out. A record that does not decode is an error that says why, never a panic: somebody else
//! may have written it.

use std::sync::Arc;

use prost::Message;

use super::{
    InvalidField, name, optional_name,
    proto::{internal::v1 as records, v1},
    queue::{queue_from_record, queue_record},
    task::{
        failure_from_proto, failure_to_proto, shared, spec_from_proto, spec_to_proto, state_from_proto, state_to_proto,
        time_from_proto, time_to_proto, trials_from_proto,
    },
};
use crate::domain::{
    Assignment, Fence, Incarnation, Outcome, QueueName, QueueSettings, Revision, Status, Submission, TaskId, TaskState,
    WorkerId,
};

pub fn encode_submission(submission: &Submission) -> Vec<u8> {
    records::TaskRecord {
        task_id: submission.task_id.to_string(),
        spec: Some(spec_to_proto(&submission.spec, true)),
        create_time: Some(time_to_proto(submission.create_time)),
        revision: submission.revision.0,
        traceparent: submission.traceparent.as_deref().unwrap_or_default().to_owned(),
        retry_of: submission.retry_of.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
    .encode_to_vec()
}

/// # Errors
/// The bytes are not a record of a task with this id.
pub fn decode_submission(task_id: &TaskId, data: &[u8]) -> Result<Submission, InvalidField> {
    let record = decode::<records::TaskRecord>(data)?;
    if record.task_id != task_id.as_str() {
        let problem = format!("is {:?} in the record, {task_id} in its name", record.task_id);
        return Err(InvalidField::new("task_id", problem));
    }
    submission_from_record(task_id.clone(), record)
}

pub(super) fn submission_from_record(task_id: TaskId, record: records::TaskRecord) -> Result<Submission, InvalidField> {
    let spec = record.spec.ok_or_else(|| InvalidField::new("spec", "must be set"))?;
    Ok(Submission {
        task_id,
        spec: Arc::new(spec_from_proto(spec).map_err(|error| error.within("spec"))?),
        create_time: time_from_proto("create_time", record.create_time)?
            .ok_or_else(|| InvalidField::new("create_time", "must be set"))?,
        revision: Revision(record.revision),
        traceparent: (!record.traceparent.is_empty()).then(|| record.traceparent.into()),
        retry_of: optional_name("retry_of", &record.retry_of)?,
    })
}

pub fn encode_status(status: &Status) -> Vec<u8> {
    status_record(status).encode_to_vec()
}

pub(super) fn status_record(status: &Status) -> records::StatusRecord {
    let (result, failure) = match &status.outcome {
        Some(Outcome::Succeeded(result)) => (bytes::Bytes::copy_from_slice(result), None),
        Some(Outcome::Failed(failure)) => (bytes::Bytes::new(), Some(failure_to_proto(failure))),
        Some(Outcome::Cancelled) | None => (bytes::Bytes::new(), None),
    };
    let state = status.outcome.as_ref().map_or(v1::TaskState::Pending, |outcome| state_to_proto(outcome.state()));
    let trials = status.trials.as_deref();
    records::StatusRecord {
        state: state.into(),
        attempt: status.attempt,
        revision: status.revision.0,
        worker_deaths: status.worker_deaths,
        worker_id: status.worker.as_ref().map(ToString::to_string).unwrap_or_default(),
        fence: status.fence.0,
        result,
        failure,
        start_time: status.start_time.map(time_to_proto),
        end_time: status.end_time.map(time_to_proto),
        retries: trials.map_or(0, |trials| trials.retries),
        last_failure: trials.and_then(|trials| trials.last_failure.as_ref()).map(failure_to_proto),
        next_attempt_time: trials.and_then(|trials| trials.next_attempt_time).map(time_to_proto),
    }
}

/// # Errors
/// The bytes are not the record of a status.
pub fn decode_status(data: &[u8]) -> Result<Status, InvalidField> {
    status_from_record(decode(data)?)
}

pub(super) fn status_from_record(record: records::StatusRecord) -> Result<Status, InvalidField> {
    let outcome = match state_from_proto("state", record.state)? {
        TaskState::Pending => None,
        TaskState::Succeeded => Some(Outcome::Succeeded(shared(&record.result))),
        TaskState::Failed => Some(Outcome::Failed(failure_from_proto(record.failure.unwrap_or_default())?)),
        TaskState::Cancelled => Some(Outcome::Cancelled),
        state @ (TaskState::Assigned | TaskState::Running) => {
            return Err(InvalidField::new("state", format!("{state:?} is never stored")));
        }
    };
    Ok(Status {
        attempt: record.attempt,
        revision: Revision(record.revision),
        worker_deaths: record.worker_deaths,
        worker: if record.worker_id.is_empty() { None } else { Some(name("worker_id", &record.worker_id)?) },
        fence: Fence(record.fence),
        outcome,
        trials: trials_from_proto(record.retries, record.last_failure, record.next_attempt_time)?,
        start_time: time_from_proto("start_time", record.start_time)?,
        end_time: time_from_proto("end_time", record.end_time)?,
    })
}

pub fn encode_assignment(assignment: &Assignment) -> Vec<u8> {
    assignment_record(assignment).encode_to_vec()
}

pub(super) fn assignment_record(assignment: &Assignment) -> records::AssignmentRecord {
    records::AssignmentRecord {
        attempt: assignment.attempt,
        incarnation: bytes::Bytes::copy_from_slice(&assignment.incarnation.0),
        fence: assignment.fence.0,
    }
}

/// # Errors
/// The bytes are not the record of an assignment.
pub fn decode_assignment(worker: &WorkerId, task_id: &TaskId, data: &[u8]) -> Result<Assignment, InvalidField> {
    assignment_from_record(worker, task_id, &decode(data)?)
}

pub(super) fn assignment_from_record(
    worker: &WorkerId,
    task_id: &TaskId,
    record: &records::AssignmentRecord,
) -> Result<Assignment, InvalidField> {
    if record.attempt == 0 {
        return Err(InvalidField::new("attempt", "must be at least 1"));
    }
    Ok(Assignment {
        task_id: task_id.clone(),
        worker: worker.clone(),
        attempt: record.attempt,
        incarnation: incarnation("incarnation", &record.incarnation)?,
        fence: Fence(record.fence),
    })
}

pub fn encode_queue(queue: &QueueName, settings: &QueueSettings) -> Vec<u8> {
    queue_record(queue, settings).encode_to_vec()
}

/// # Errors
/// The bytes are not the record of what holds for this queue.
pub fn decode_queue(queue: &QueueName, data: &[u8]) -> Result<QueueSettings, InvalidField> {
    let record = decode::<records::QueueRecord>(data)?;
    if record.name != queue.as_str() {
        return Err(InvalidField::new("name", format!("is {:?} in the record, {queue} in its name", record.name)));
    }
    queue_from_record(&record)
}

pub fn encode_drain(worker: &WorkerId, drained: bool) -> Vec<u8> {
    records::DrainRecord { worker_id: worker.to_string(), drained }.encode_to_vec()
}

/// Whether the worker is drained.
///
/// # Errors
/// The bytes are not the record of this worker's drain.
pub fn decode_drain(worker: &WorkerId, data: &[u8]) -> Result<bool, InvalidField> {
    let record = decode::<records::DrainRecord>(data)?;
    if record.worker_id == worker.as_str() {
        return Ok(record.drained);
    }
    Err(InvalidField::new("worker_id", format!("is {:?} in the record, {worker} in its name", record.worker_id)))
}

/// # Errors
/// Not 16 bytes.
pub(super) fn incarnation(field: &str, bytes: &[u8]) -> Result<Incarnation, InvalidField> {
    let bytes = bytes.try_into().map_err(|_| InvalidField::new(field, "must be a UUID of 16 bytes"))?;
    Ok(Incarnation(bytes))
}

fn decode<M: Message + Default>(data: &[u8]) -> Result<M, InvalidField> {
    M::decode(data).map_err(|error| InvalidField::new("record", error))
}
