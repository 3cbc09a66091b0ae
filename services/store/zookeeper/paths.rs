//! Where everything lies in the tree. Nothing else spells a path.

use std::{fmt, str::FromStr};

use crate::domain::{InvalidId, QueueName, TaskId, Term, WorkerId};

pub const ROOT: &str = "/";
pub const ELECTION: &str = "/election";
pub const MASTER: &str = "/master";
pub const WORKERS: &str = "/workers";
pub const TASKS: &str = "/tasks";
pub const ASSIGN: &str = "/assign";
pub const QUEUES: &str = "/queues";
pub const DRAINS: &str = "/drains";

/// The name of a task's status node, under the task.
pub const STATUS: &str = "status";
/// What the name of a pack of statuses ends with.
const STATUS_PACK: &str = "-status";
/// What stands between the unique part and the sequence number of a candidate's node; Curator's name for it.
pub const LATCH: &str = "latch-";
/// Created and removed with the tree, so that the first candidate's number, the first term, is 1: 0 means no term.
pub const NUMBER_ZERO: &str = "/election/number-zero";

/// How many nodes the tasks are spread over: with a million tasks, 4,000 names a node, which one answer carries easily.
pub const BUCKETS: u16 = 256;

pub fn task(id: &TaskId) -> String {
    format!("{TASKS}/{}/{id}", bucket(id))
}

pub fn status(id: &TaskId) -> String {
    format!("{TASKS}/{}/{id}/{STATUS}", bucket(id))
}

/// The place of all assignments to a worker.
pub fn assignments(worker: &WorkerId) -> String {
    format!("{ASSIGN}/{worker}")
}

pub fn assignment(worker: &WorkerId, id: &TaskId) -> String {
    format!("{ASSIGN}/{worker}/{id}")
}

/// The name of a packed node, outside the grammar of ids: `@<term>-<number>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackName {
    pub term: Term,
    pub number: u64,
}

impl PackName {
    fn bucket(self) -> String {
        format!("{:02x}", self.number % u64::from(BUCKETS))
    }
}

impl fmt::Display for PackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}-{}", self.term, self.number)
    }
}

impl FromStr for PackName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let split = text.strip_prefix('@').and_then(|rest| rest.split_once('-'));
        let numbers = split.and_then(|(term, number)| Some((term.parse().ok()?, number.parse().ok()?)));
        let name = numbers.map(|(term, number)| Self { term: Term(term), number });
        // The same number in other digits would be another node.
        name.filter(|name| name.to_string() == text).ok_or_else(|| format!("{text:?} is not the name of a packed node"))
    }
}

pub fn task_pack(name: PackName) -> String {
    format!("{TASKS}/{}/{name}", name.bucket())
}

pub fn status_pack(name: PackName) -> String {
    format!("{TASKS}/{}/{name}{STATUS_PACK}", name.bucket())
}

pub fn assignment_pack(worker: &WorkerId, name: PackName) -> String {
    format!("{ASSIGN}/{worker}/{name}")
}

pub fn queue(name: &QueueName) -> String {
    format!("{QUEUES}/{name}")
}

pub fn drain(worker: &WorkerId) -> String {
    format!("{DRAINS}/{worker}")
}

pub fn worker(id: &WorkerId) -> String {
    format!("{WORKERS}/{id}")
}

pub fn child(parent: &str, name: &str) -> String {
    if parent == ROOT { format!("/{name}") } else { format!("{parent}/{name}") }
}

/// The names of all buckets.
pub fn buckets() -> impl Iterator<Item = String> {
    (0..BUCKETS).map(|number| format!("{number:02x}"))
}

/// The bucket of a task. Part of the format: a task that lies in another bucket is not found.
pub fn bucket(id: &TaskId) -> String {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let hash = id.as_str().bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    // All bytes of the hash, because the last letters of an id do not reach every one of them.
    format!("{:02x}", hash.to_be_bytes().into_iter().fold(0, |folded, byte| folded ^ byte))
}

/// What the path of a node says it is, as far as a leader's own nodes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Not a leader's to write, or there with the tree.
    Fixed,
    Task(TaskId),
    Status(TaskId),
    /// The place of all assignments to a worker.
    Worker(WorkerId),
    Assignment(WorkerId, TaskId),
    TaskPack(PackName),
    StatusPack(PackName),
    AssignmentPack(WorkerId, PackName),
    /// What holds for a queue.
    Queue(QueueName),
    /// Whether a worker is drained.
    Drain(WorkerId),
}

/// # Errors
/// The node is none of ours; the text says why.
pub fn place(path: &str) -> Result<Place, String> {
    let names: Vec<_> = path.split('/').skip(1).filter(|name| !name.is_empty()).collect();
    let invalid = |error: InvalidId| error.to_string();
    match names.as_slice() {
        []
        | ["election" | "master" | "workers" | "tasks" | "assign" | "queues" | "drains"]
        | ["election" | "workers", _] => Ok(Place::Fixed),
        ["tasks", name] if is_bucket(name) => Ok(Place::Fixed),
        ["tasks", _] => Err("is not a bucket".into()),
        ["tasks", here, name] if name.starts_with('@') => {
            let (name, statuses) = name.strip_suffix(STATUS_PACK).map_or((*name, false), |name| (name, true));
            let name: PackName = name.parse()?;
            if name.bucket() != *here {
                return Err("is in the wrong bucket".into());
            }
            Ok(if statuses { Place::StatusPack(name) } else { Place::TaskPack(name) })
        }
        ["tasks", here, name] => {
            let id = name.parse().map_err(invalid)?;
            if bucket(&id) == *here { Ok(Place::Task(id)) } else { Err("is in the wrong bucket".into()) }
        }
        ["tasks", here, name, STATUS] => {
            let id = name.parse().map_err(invalid)?;
            if bucket(&id) == *here { Ok(Place::Status(id)) } else { Err("is in the wrong bucket".into()) }
        }
        ["assign", worker] => Ok(Place::Worker(worker.parse().map_err(invalid)?)),
        ["assign", worker, name] if name.starts_with('@') => {
            Ok(Place::AssignmentPack(worker.parse().map_err(invalid)?, name.parse()?))
        }
        ["assign", worker, name] => {
            Ok(Place::Assignment(worker.parse().map_err(invalid)?, name.parse().map_err(invalid)?))
        }
        ["queues", name] => Ok(Place::Queue(name.parse().map_err(invalid)?)),
        ["drains", worker] => Ok(Place::Drain(worker.parse().map_err(invalid)?)),
        _ => Err("is no node of Herdsman's".into()),
    }
}

fn is_bucket(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The term that a candidate would lead in, from the name or path of its node. None: not the node of a candidate.
pub fn term(candidate: &str) -> Option<Term> {
    let (_, number) = candidate.rsplit_once(LATCH)?;
    (number.len() == 10).then(|| number.parse().ok().map(Term)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_the_same_in_every_version() {
        for (id, expected) in [("a", "bb"), ("resize-1", "99"), ("0193e2b4-0000-7000-8000-000000000000", "e2")] {
            assert_eq!(bucket(&id.parse().unwrap()), expected, "{id}");
        }
    }

    #[test]
    fn consecutive_ids_spread_over_all_buckets() {
        let mut counts = std::collections::BTreeMap::<String, u32>::new();
        for number in 0..25_600 {
            *counts.entry(bucket(&format!("task-{number:06}").parse().unwrap())).or_default() += 1;
        }
        assert_eq!(counts.len(), usize::from(BUCKETS));
        assert!(counts.values().all(|&count| (30..300).contains(&count)), "{counts:?}");
    }

    #[test]
    fn a_packed_node_has_one_name_and_one_place() {
        let name = PackName { term: Term(12), number: 0x1_0f };
        assert_eq!(task_pack(name), "/tasks/0f/@12-271");
        assert_eq!(place("/tasks/0f/@12-271"), Ok(Place::TaskPack(name)));
        assert_eq!(place("/tasks/0f/@12-271-status"), Ok(Place::StatusPack(name)));
        let worker: WorkerId = "w".parse().unwrap();
        assert_eq!(place(&assignment_pack(&worker, name)), Ok(Place::AssignmentPack(worker, name)));
        for foreign in
            ["/tasks/00/@12-271", "/tasks/0f/@12-0271", "/tasks/0f/@12", "/tasks/0f/@+12-271", "/assign/w/@1-2-x"]
        {
            assert!(place(foreign).is_err(), "{foreign}");
        }
    }

    #[test]
    fn a_candidates_number_is_its_term() {
        assert_eq!(term("/election/_c_0193e2b4-latch-0000000012"), Some(Term(12)));
        for foreign in ["latch-", "latch-12", "latch--000000001", "number-zero", "x-latch-00000000aa"] {
            assert_eq!(term(foreign), None, "{foreign}");
        }
    }
}
