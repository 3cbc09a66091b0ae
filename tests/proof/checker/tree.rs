//! What a node says. Everything that depends on how Herdsman lays out its tree is in this file, read from the description
//! in DESIGN's words and the schema of the records; nothing of Herdsman's code takes part but the generated types.
//!
//! A node may speak of many tasks: readers get facts, never nodes.

use herdsman::wire::proto::{
    internal::v1::{AssignmentEntry, AssignmentPack, AssignmentRecord, StatusPack, StatusRecord, TaskPack, TaskRecord},
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

/// One thing that a node says of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    Submitted(Submission),
    Status(Status),
    Assigned(Assignment),
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

/// Failures that are the loss of a worker: the attempt may not have begun.
pub const LOSSES: [&str; 2] = ["FAILURE_REASON_WORKER_LOST", "FAILURE_REASON_POISONED"];

/// What a node says when it is written.
pub fn facts(path: &str, data: &[u8]) -> Vec<Fact> {
    let names: Vec<_> = path.trim_start_matches('/').split('/').collect();
    let read = match names.as_slice() {
        ["tasks", _, name] if is_pack(name) && name.ends_with(STATUS) => statuses(data),
        ["tasks", _, name] if is_pack(name) => submissions(data),
        ["assign", worker, name] if is_pack(name) => assignments(worker, data),
        ["tasks", _, id] => submission(id, data).map(Fact::Submitted).map(alone),
        ["tasks", _, id, "status"] => status(id, data).map(Fact::Status).map(alone),
        ["assign", worker, id] => assignment(worker, id, data).map(Fact::Assigned).map(alone),
        _ => return Vec::new(),
    };
    read.unwrap_or_else(|error| vec![Fact::Unreadable(format!("{path}: {error}"))])
}

/// A node that speaks of the tasks of one commit: its name is outside the grammar of ids.
fn is_pack(name: &str) -> bool {
    name.starts_with('@')
}

/// The end of the name of a node that says what became of tasks.
const STATUS: &str = "-status";

fn alone(fact: Fact) -> Vec<Fact> {
    vec![fact]
}

fn submissions(data: &[u8]) -> Result<Vec<Fact>, String> {
    let pack = TaskPack::decode(data).map_err(|error| error.to_string())?;
    pack.tasks.iter().map(|record| submitted(record).map(Fact::Submitted)).collect()
}

/// Without the entries that say that a task was removed: the run keeps all.
fn statuses(data: &[u8]) -> Result<Vec<Fact>, String> {
    let pack = StatusPack::decode(data).map_err(|error| error.to_string())?;
    let told = pack.entries.iter().filter_map(|entry| Some((entry, entry.status.as_ref()?)));
    Ok(told.map(|(entry, record)| Fact::Status(ended(&entry.task_id, record))).collect())
}

fn assignments(worker: &str, data: &[u8]) -> Result<Vec<Fact>, String> {
    let pack = AssignmentPack::decode(data).map_err(|error| error.to_string())?;
    let read = |entry: &AssignmentEntry| {
        let record = entry.assignment.as_ref().ok_or("it has no assignment")?;
        assigned(worker, &entry.task_id, record).map(Fact::Assigned)
    };
    pack.entries.iter().map(read).collect()
}

fn submission(id: &str, data: &[u8]) -> Result<Submission, String> {
    let record = TaskRecord::decode(data).map_err(|error| error.to_string())?;
    if record.task_id != id {
        return Err(format!("it speaks of {:?}", record.task_id));
    }
    submitted(&record)
}

fn submitted(record: &TaskRecord) -> Result<Submission, String> {
    let spec = record.spec.as_ref().ok_or("it has no spec")?;
    Ok(Submission { task: record.task_id.clone(), spec: spec.into(), revision: record.revision })
}

fn status(id: &str, data: &[u8]) -> Result<Status, String> {
    StatusRecord::decode(data).map(|record| ended(id, &record)).map_err(|error| error.to_string())
}

fn ended(id: &str, record: &StatusRecord) -> Status {
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

fn assignment(worker: &str, id: &str, data: &[u8]) -> Result<Assignment, String> {
    let record = AssignmentRecord::decode(data).map_err(|error| error.to_string())?;
    assigned(worker, id, &record)
}

fn assigned(worker: &str, id: &str, record: &AssignmentRecord) -> Result<Assignment, String> {
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

mod tests {
    use herdsman::wire::proto::internal::v1::StatusEntry;

    use super::*;

    fn names(facts: &[Fact]) -> Vec<String> {
        let name = |fact: &Fact| match fact {
            Fact::Submitted(submission) => format!("{} submitted", submission.task),
            Fact::Status(status) => format!("{} {:?}", status.task, status.state),
            Fact::Assigned(assignment) => format!("{} to {}", assignment.task, assignment.worker),
            Fact::Unreadable(problem) => problem.clone(),
        };
        facts.iter().map(name).collect()
    }

    #[test]
    fn a_shared_node_speaks_of_every_task_in_it() {
        let task = |id: &str| TaskRecord { task_id: id.into(), spec: Some(<_>::default()), ..<_>::default() };
        let tasks = TaskPack { tasks: vec![task("a"), task("b")] }.encode_to_vec();
        assert_eq!(names(&facts("/tasks/0f/@12-271", &tasks)), ["a submitted", "b submitted"]);

        let ended = StatusRecord { state: TaskState::Failed.into(), ..<_>::default() };
        let entry = |id: &str, status| StatusEntry { task_id: id.into(), status, removed_from: String::new() };
        let entries = vec![entry("a", Some(ended)), entry("b", None)];
        let statuses = StatusPack { entries }.encode_to_vec();
        assert_eq!(names(&facts("/tasks/0f/@12-272-status", &statuses)), ["a Failed"], "the other was removed");

        let assignment = AssignmentRecord { incarnation: vec![7; 16].into(), ..<_>::default() };
        let entry = |id: &str, assignment| AssignmentEntry { task_id: id.into(), assignment };
        let whole = AssignmentPack { entries: vec![entry("a", Some(assignment))] }.encode_to_vec();
        assert_eq!(names(&facts("/assign/w/@12-273", &whole)), ["a to w"]);
        let empty = AssignmentPack { entries: vec![entry("a", None)] }.encode_to_vec();
        assert!(matches!(facts("/assign/w/@12-273", &empty)[..], [Fact::Unreadable(_)]));
    }
}
