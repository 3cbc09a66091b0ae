//! What a node says. Everything that depends on how Herdsman lays out its tree is in this file, read from the description
//! in DESIGN's words and the schema of the records; nothing of Herdsman's code takes part but the generated types.
//!
//! A node may speak of many tasks: readers get facts, never nodes.

use herdsman::wire::proto::{
    internal::v1::{AssignmentPack, AssignmentRecord, StatusPack, StatusRecord, TaskPack, TaskRecord},
    v1::TaskState,
};
use prost::Message;
use serde::Deserialize;

use crate::proof::evidence::{Bytes, Node, Spec, State};

/// The node that every commit of a leader writes.
pub const CHAIN: &str = "/tasks";
const ELECTION: &str = "/election/";
const TASKS: &str = "/tasks/";
const ASSIGN: &str = "/assign";
const ASSIGNMENTS: &str = "/assign/";
const WORKERS: &str = "/workers/";
const MASTER: &str = "/master";
/// What the name of a node of several records begins with; that of a task cannot.
const PACK: char = '@';
/// What the name of such a node ends with if the records are statuses.
const STATUSES: &str = "-status";

/// One thing that a node says of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    Submitted(Submission),
    Status(Status),
    Assigned(Assignment),
    Removed(Removal),
    /// The record cannot be read, and why.
    Unreadable(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    pub task: String,
    pub spec: Spec,
    pub revision: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub task: String,
    pub state: State,
    pub attempt: u32,
    pub revision: u64,
    pub worker: String,
    pub fence: u64,
    pub result: Bytes,
    /// In the words of the contract.
    pub failure: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    pub task: String,
    pub worker: String,
    pub attempt: u32,
    /// As in the worker's membership node.
    pub incarnation: String,
    pub fence: u64,
}

/// A task is gone from a node that others still need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    pub task: String,
    /// The node's name.
    pub from: String,
}

/// Failures that are the loss of a worker: the attempt may not have begun.
pub const LOSSES: [&str; 2] = ["FAILURE_REASON_WORKER_LOST", "FAILURE_REASON_POISONED"];

/// What a node says when it is written: of a packed one, each of its entries, whether or not it still counts.
pub fn facts(path: &str, data: &[u8]) -> Vec<Fact> {
    let names: Vec<_> = path.trim_start_matches('/').split('/').collect();
    let read = match names.as_slice() {
        ["tasks", _, name] if name.starts_with(PACK) => match name.strip_suffix(STATUSES) {
            Some(name) => named(name).and_then(|()| packed_statuses(data)),
            None => named(name).and_then(|()| packed_tasks(data)),
        },
        ["assign", worker, name] if name.starts_with(PACK) => {
            named(name).and_then(|()| packed_assignments(worker, data))
        }
        ["tasks", _, id] => decode(data).and_then(|record| Ok(vec![Fact::Submitted(submission(id, &record)?)])),
        ["tasks", _, id, "status"] => decode(data).map(|record| vec![Fact::Status(status(id, &record))]),
        ["assign", worker, id] => {
            decode(data).and_then(|record| Ok(vec![Fact::Assigned(assignment(worker, id, &record)?)]))
        }
        _ => return Vec::new(),
    };
    read.unwrap_or_else(|error| vec![Fact::Unreadable(format!("{path}: {error}"))])
}

fn decode<R: Message + Default>(data: &[u8]) -> Result<R, String> {
    R::decode(data).map_err(|error| error.to_string())
}

/// Whether the name is that of a packed node: a term and a number.
fn named(name: &str) -> Result<(), String> {
    let numbers = name.strip_prefix(PACK).and_then(|rest| rest.split_once('-'));
    let is_number = |text: &str| text.parse::<u64>().is_ok();
    let is_name = numbers.is_some_and(|(term, number)| is_number(term) && is_number(number));
    if is_name { Ok(()) } else { Err("it has no name of a packed node".into()) }
}

fn packed_tasks(data: &[u8]) -> Result<Vec<Fact>, String> {
    let pack: TaskPack = decode(data)?;
    pack.tasks.iter().map(|record| submission(&record.task_id, record).map(Fact::Submitted)).collect()
}

fn packed_statuses(data: &[u8]) -> Result<Vec<Fact>, String> {
    let pack: StatusPack = decode(data)?;
    let entries = pack.entries.into_iter().map(|entry| match entry.status {
        Some(record) => Ok(Fact::Status(status(&entry.task_id, &record))),
        None if entry.removed_from.is_empty() => Err(format!("it says nothing of {:?}", entry.task_id)),
        None => Ok(Fact::Removed(Removal { task: entry.task_id, from: entry.removed_from })),
    });
    entries.collect()
}

fn packed_assignments(worker: &str, data: &[u8]) -> Result<Vec<Fact>, String> {
    let pack: AssignmentPack = decode(data)?;
    let entries = pack.entries.iter().map(|entry| {
        let record = entry.assignment.as_ref().ok_or_else(|| format!("it says nothing of {:?}", entry.task_id))?;
        assignment(worker, &entry.task_id, record).map(Fact::Assigned)
    });
    entries.collect()
}

fn submission(id: &str, record: &TaskRecord) -> Result<Submission, String> {
    if record.task_id != id {
        return Err(format!("it speaks of {:?}", record.task_id));
    }
    let spec = record.spec.as_ref().ok_or("it has no spec")?;
    Ok(Submission { task: id.into(), spec: spec.into(), revision: record.revision })
}

fn status(id: &str, record: &StatusRecord) -> Status {
    Status {
        task: id.into(),
        state: TaskState::try_from(record.state).map_or(State::Other, State::from),
        attempt: record.attempt,
        revision: record.revision,
        worker: record.worker_id.clone(),
        fence: record.fence,
        result: Bytes(record.result.to_vec()),
        failure: record.failure.as_ref().map(|failure| failure.reason().as_str_name().to_owned()),
    }
}

fn assignment(worker: &str, id: &str, record: &AssignmentRecord) -> Result<Assignment, String> {
    let incarnation = uuid::Uuid::from_slice(&record.incarnation).map_err(|error| error.to_string())?;
    Ok(Assignment {
        task: id.into(),
        worker: worker.into(),
        attempt: record.attempt,
        incarnation: incarnation.to_string(),
        fence: record.fence,
    })
}

/// A worker's membership node: its id and its incarnation.
pub fn member(node: &Node) -> Option<(String, String)> {
    #[derive(Deserialize)]
    struct Member {
        incarnation: String,
    }
    let id = node.path.strip_prefix(WORKERS)?;
    let member: Member = serde_json::from_slice(&node.data.0).ok()?;
    Some((id.to_owned(), member.incarnation))
}

/// The node of a candidate in the line.
pub fn is_candidate(path: &str) -> bool {
    path.starts_with(ELECTION)
}

/// Only a leader may do this to the node; creating the tree's own empty places is anybody's.
pub fn is_leaders_write(path: &str, created_empty: bool) -> bool {
    let place = path == ASSIGN || path == CHAIN || path.strip_prefix(TASKS).is_some_and(is_bucket);
    let leaders = path == CHAIN || path == ASSIGN || path.starts_with(TASKS) || path.starts_with(ASSIGNMENTS);
    (leaders && !(place && created_empty)) || path == MASTER
}

/// The node that says who leads. Who leaves takes it along, with its own place in the line for a fence.
pub fn is_announcement(path: &str) -> bool {
    path == MASTER
}

/// Two hexadecimal digits.
fn is_bucket(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A node of assignments.
pub fn holds_assignments(path: &str) -> bool {
    path.strip_prefix(ASSIGNMENTS).is_some_and(|rest| rest.contains('/'))
}
