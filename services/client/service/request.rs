//! Requests at the door: what is not as the .proto says is refused here, by the name of its field.

use std::{sync::Arc, time::Duration};

use prost::Message;
use uuid::Uuid;

use super::page_token::{self, Listing};
use crate::{
    client::hub::Target,
    domain::{
        ListQuery, MAX_TIME, QueueName, QueueQuery, Revision, TaskFilter, TaskId, TaskSpec, Timeout, Wall, WorkerId,
        WorkerQuery,
    },
    runtime::wall_clock::WallClock,
    wire::{InvalidField, filter_from_proto, name, names, proto::v1, spec_from_proto},
};

/// Most items of one SubmitTasks.
const MAX_ITEMS: usize = 1_000;
/// Largest SubmitTasks, in bytes.
const MAX_ITEMS_BYTES: usize = 4 * 1024 * 1024;
/// Most ids of one watch.
const MAX_WATCHED_IDS: usize = 1_000;

/// The id of a new task: the submitter's, or a fresh one that sorts by time.
pub(super) fn new_task_id(given: &str) -> Result<TaskId, InvalidField> {
    if given.is_empty() { name("task_id", &Uuid::now_v7().hyphenated().to_string()) } else { name("task_id", given) }
}

pub(super) fn task_id(text: &str) -> Result<TaskId, InvalidField> {
    name("task_id", text)
}

pub(super) fn spec(spec: Option<v1::TaskSpec>) -> Result<Arc<TaskSpec>, InvalidField> {
    let spec = spec.ok_or_else(|| InvalidField::new("spec", "must be set"))?;
    let checked = spec_from_proto(spec).and_then(|spec| check_start(&spec, WallClock::system().read()).map(|()| spec));
    checked.map(Arc::new).map_err(|error| error.within("spec"))
}

/// A time of day can only be judged at a moment: by this service's clock, as the leader takes what it is given.
fn check_start(spec: &TaskSpec, now: Wall) -> Result<(), InvalidField> {
    let Some((policy, start)) = spec.policy.as_ref().and_then(|policy| Some((policy, policy.not_before?))) else {
        return Ok(());
    };
    let wait = now.until(start);
    if wait > MAX_TIME {
        return Err(InvalidField::new("not_before", "must be at most a year from now"));
    }
    match policy.timeout(Timeout::ScheduleToClose) {
        Some(whole) if wait >= whole => {
            Err(InvalidField::new("not_before", "must be before timeouts.schedule_to_close, from now, is over"))
        }
        _ => Ok(()),
    }
}

/// The ids of the task to run once more and of the new one.
pub(super) fn retry(request: &v1::RetryTaskRequest) -> Result<(TaskId, TaskId), InvalidField> {
    let of = task_id(&request.task_id)?;
    let new = if request.new_task_id.is_empty() { retry_id(&of) } else { name("new_task_id", &request.new_task_id) }?;
    if new == of { Err(InvalidField::new("new_task_id", "must be another than task_id")) } else { Ok((of, new)) }
}

/// Of a retry that names none.
pub(super) fn retry_id(of: &TaskId) -> Result<TaskId, InvalidField> {
    let no_room = |error| InvalidField::new("new_task_id", format!("must be set, as the one made of task_id {error}"));
    of.of_retry().map_err(no_room)
}

/// The items, and the bytes that they came in.
pub(super) fn items(request: v1::SubmitTasksRequest) -> Result<(Vec<v1::SubmitTaskRequest>, usize), InvalidField> {
    let invalid = |problem: String| Err(InvalidField::new("requests", problem));
    let (count, bytes) = (request.requests.len(), request.encoded_len());
    match count {
        0 => invalid("must not be empty".into()),
        _ if count > MAX_ITEMS => invalid(format!("must be at most {MAX_ITEMS}, are {count}")),
        _ if bytes > MAX_ITEMS_BYTES => invalid(format!("must be at most {MAX_ITEMS_BYTES} bytes, are {bytes}")),
        _ => Ok((request.requests, bytes)),
    }
}

pub(super) fn list(request: v1::ListTasksRequest) -> Result<ListQuery, InvalidField> {
    let filter = filter(request.filter.unwrap_or_default())?;
    let page_size = page_size(request.page_size)?;
    let after = page_token::decode(&Listing::tasks(&filter), &request.page_token)?;
    Ok(ListQuery { filter, page_size, after, after_revision: Revision(0) })
}

pub(super) fn workers(request: &v1::ListWorkersRequest) -> Result<WorkerQuery, InvalidField> {
    let page_size = page_size(request.page_size)?;
    Ok(WorkerQuery { page_size, after: page_token::decode(&Listing::workers(), &request.page_token)? })
}

pub(super) fn queues(request: &v1::ListQueuesRequest) -> Result<QueueQuery, InvalidField> {
    let page_size = page_size(request.page_size)?;
    Ok(QueueQuery { page_size, after: page_token::decode(&Listing::queues(), &request.page_token)? })
}

pub(super) fn queue(text: &str) -> Result<QueueName, InvalidField> {
    name("name", text)
}

pub(super) fn worker(text: &str) -> Result<WorkerId, InvalidField> {
    name("worker_id", text)
}

pub(super) fn page_size(asked: i32) -> Result<u32, InvalidField> {
    match u32::try_from(asked) {
        Ok(0) => Ok(ListQuery::DEFAULT_PAGE),
        Ok(size) => Ok(size.min(ListQuery::MAX_PAGE)),
        Err(_) => Err(InvalidField::new("page_size", format!("must not be negative, is {asked}"))),
    }
}

pub(super) fn target(target: Option<v1::watch_tasks_request::Target>) -> Result<Target, InvalidField> {
    match target.ok_or_else(|| InvalidField::new("target", "one of ids and filter must be set"))? {
        v1::watch_tasks_request::Target::Filter(filter) => self::filter(filter).map(Target::Filter),
        v1::watch_tasks_request::Target::Ids(v1::TaskIds { task_ids }) => {
            if task_ids.is_empty() || task_ids.len() > MAX_WATCHED_IDS {
                let problem = format!("must be 1 to {MAX_WATCHED_IDS}, are {}", task_ids.len());
                return Err(InvalidField::new("ids.task_ids", problem));
            }
            names("ids.task_ids", &task_ids).map(Target::Ids)
        }
    }
}

pub(super) fn filter(filter: v1::TaskFilter) -> Result<TaskFilter, InvalidField> {
    filter_from_proto(filter).map_err(|error| error.within("filter"))
}

/// How long the caller waits, as its `grpc-timeout` says; None if it does not say.
pub(super) fn timeout(metadata: &tonic::metadata::MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (value, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    // The protocol allows eight digits.
    let value: u64 = value.parse().ok().filter(|_| value.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3_600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_id_fits_the_grammar_and_sorts_by_time() {
        let first = new_task_id("").unwrap();
        assert!(new_task_id("").unwrap() > first);
        assert_eq!(first.as_str().len(), 36);
    }

    #[test]
    fn a_timeout_is_read_in_every_unit() {
        let read = |text: &str| {
            let mut metadata = tonic::metadata::MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            timeout(&metadata)
        };
        assert_eq!(read("2S"), Some(Duration::from_secs(2)));
        assert_eq!(read("1500m"), Some(Duration::from_millis(1_500)));
        assert_eq!(read("99999999H").map(|timeout| timeout.as_secs()), Some(359_999_996_400));
        for bad in ["", "S", "999999999S", "1x", "-1S"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
