//! Several stored records in one node, in and out. Each pack is a list of entries in its first field, so that one entry
//! that cannot be read costs no other.

use bytes::Bytes;
use prost::Message;

use super::{
    InvalidField, name,
    proto::internal::v1 as records,
    record::{assignment_from_record, assignment_record, status_from_record, status_record, submission_from_record},
};
use crate::domain::{Assignment, Status, Submission, TaskId, WorkerId};

/// Any pack, its entries unread: on the wire an embedded message is its bytes.
#[derive(Clone, PartialEq, Message)]
struct Entries {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    entries: Vec<Bytes>,
}

/// What an entry says about a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatusEntry {
    Status(TaskId, Status),
    /// The task is gone from the pack with this name.
    Removed(TaskId, String),
}

/// An entry that cannot be read; its task, if that much can be said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", task_id.as_ref().map_or("an unknown task", TaskId::as_str))]
pub struct UnreadableEntry {
    pub task_id: Option<TaskId>,
    pub problem: InvalidField,
}

/// The node of a pack with these entries, each encoded by itself.
pub fn encode_pack(entries: Vec<Bytes>) -> Vec<u8> {
    Entries { entries }.encode_to_vec()
}

/// The entries of a pack, and why the rest of it cannot be read if that is so.
pub fn decode_pack(data: Vec<u8>) -> (Vec<Bytes>, Option<InvalidField>) {
    let mut pack = Entries::default();
    // A failed merge keeps what came before the failure.
    let problem = pack.merge(Bytes::from(data)).err().map(|error| InvalidField::new("pack", error));
    let empty = || pack.entries.is_empty().then(|| InvalidField::new("pack", "has no entries"));
    let problem = problem.or_else(empty);
    (pack.entries, problem)
}

/// # Errors
/// The entry is not the record of a task.
pub fn decode_packed_submission(entry: &Bytes) -> Result<Submission, UnreadableEntry> {
    let mut record = records::TaskRecord::default();
    let merged = record.merge(entry.clone());
    let task_id = record.task_id.clone();
    read(&task_id, merged, |id| submission_from_record(id, record))
}

pub fn encode_status_entry(task_id: &TaskId, status: &Status) -> Bytes {
    let status = Some(status_record(status));
    records::StatusEntry { task_id: task_id.to_string(), status, removed_from: String::new() }.encode_to_vec().into()
}

pub fn encode_removal_entry(task_id: &TaskId, pack: String) -> Bytes {
    records::StatusEntry { task_id: task_id.to_string(), status: None, removed_from: pack }.encode_to_vec().into()
}

/// # Errors
/// The entry is neither a status nor a removal.
pub fn decode_status_entry(entry: &Bytes) -> Result<StatusEntry, UnreadableEntry> {
    let mut record = records::StatusEntry::default();
    let merged = record.merge(entry.clone());
    let task_id = record.task_id.clone();
    read(&task_id, merged, |id| match record.status {
        Some(status) => Ok(StatusEntry::Status(id, status_from_record(status)?)),
        None if record.removed_from.is_empty() => Err(InvalidField::new("status", "must be set")),
        None => Ok(StatusEntry::Removed(id, record.removed_from)),
    })
}

pub fn encode_assignment_entry(assignment: &Assignment) -> Bytes {
    let task_id = assignment.task_id.to_string();
    records::AssignmentEntry { task_id, assignment: Some(assignment_record(assignment)) }.encode_to_vec().into()
}

/// # Errors
/// The entry is not an assignment.
pub fn decode_assignment_entry(worker: &WorkerId, entry: &Bytes) -> Result<Assignment, UnreadableEntry> {
    let mut record = records::AssignmentEntry::default();
    let merged = record.merge(entry.clone());
    let task_id = record.task_id.clone();
    read(&task_id, merged, |id| {
        let assignment = record.assignment.ok_or_else(|| InvalidField::new("assignment", "must be set"))?;
        assignment_from_record(worker, &id, &assignment)
    })
}

/// A record that does not merge as a whole may still have said whose it is: the id comes first.
fn read<T>(
    task_id: &str,
    merged: Result<(), prost::DecodeError>,
    convert: impl FnOnce(TaskId) -> Result<T, InvalidField>,
) -> Result<T, UnreadableEntry> {
    let id: TaskId = name("task_id", task_id).map_err(|problem| UnreadableEntry { task_id: None, problem })?;
    let problem = match merged {
        Ok(()) => match convert(id.clone()) {
            Ok(value) => return Ok(value),
            Err(problem) => problem,
        },
        Err(error) => InvalidField::new("record", error),
    };
    Err(UnreadableEntry { task_id: Some(id), problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removal(id: &str) -> Bytes {
        encode_removal_entry(&id.parse().unwrap(), "@1-2".into())
    }

    #[test]
    fn an_entry_that_cannot_be_read_says_whose_it_is_and_costs_no_other() {
        let mut damaged = removal("b").to_vec();
        damaged.extend([0x1a, 0x7f]);
        let data = encode_pack(vec![removal("a"), damaged.into(), Bytes::from_static(b"\xff"), removal("d")]);
        let (entries, problem) = decode_pack(data);
        assert_eq!(problem, None);
        let read: Vec<_> = entries.iter().map(decode_status_entry).collect();
        let removed = |id: &str| Ok(StatusEntry::Removed(id.parse().unwrap(), "@1-2".into()));
        assert_eq!([&read[0], &read[3]], [&removed("a"), &removed("d")]);
        assert_eq!(read[1].as_ref().unwrap_err().task_id, Some("b".parse().unwrap()));
        assert_eq!(read[2].as_ref().unwrap_err().task_id, None);
    }

    #[test]
    fn a_pack_that_breaks_off_keeps_what_came_before() {
        let whole = encode_pack(vec![removal("a"), removal("b")]);
        let (entries, problem) = decode_pack(whole[..whole.len() - 1].to_vec());
        assert_eq!(entries, [removal("a")]);
        assert!(problem.is_some());
        for nothing in [b"".as_slice(), b"\xff\xff garbage"] {
            let (entries, problem) = decode_pack(nothing.to_vec());
            assert!(entries.is_empty() && problem.is_some(), "{nothing:?}");
        }
    }
}
