//! Where everything lies in the tree. Nothing else spells a path.

use crate::domain::{InvalidId, TaskId, Term, WorkerId};

pub const ROOT: &str = "/";
pub const ELECTION: &str = "/election";
pub const MASTER: &str = "/master";
pub const WORKERS: &str = "/workers";
pub const TASKS: &str = "/tasks";
pub const ASSIGN: &str = "/assign";

/// The name of a task's status node, under the task.
pub const STATUS: &str = "status";
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
}

/// # Errors
/// The node is none of ours; the text says why.
pub fn place(path: &str) -> Result<Place, String> {
    let names: Vec<_> = path.split('/').skip(1).filter(|name| !name.is_empty()).collect();
    let invalid = |error: InvalidId| error.to_string();
    match names.as_slice() {
        [] | ["election" | "master" | "workers" | "tasks" | "assign"] | ["election" | "workers", _] => Ok(Place::Fixed),
        ["tasks", name] if is_bucket(name) => Ok(Place::Fixed),
        ["tasks", _] => Err("is not a bucket".into()),
        ["tasks", here, name] => {
            let id = name.parse().map_err(invalid)?;
            if bucket(&id) == *here { Ok(Place::Task(id)) } else { Err("is in the wrong bucket".into()) }
        }
        ["tasks", here, name, STATUS] => {
            let id = name.parse().map_err(invalid)?;
            if bucket(&id) == *here { Ok(Place::Status(id)) } else { Err("is in the wrong bucket".into()) }
        }
        ["assign", worker] => Ok(Place::Worker(worker.parse().map_err(invalid)?)),
        ["assign", worker, name] => {
            Ok(Place::Assignment(worker.parse().map_err(invalid)?, name.parse().map_err(invalid)?))
        }
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
    fn a_candidates_number_is_its_term() {
        assert_eq!(term("/election/_c_0193e2b4-latch-0000000012"), Some(Term(12)));
        for foreign in ["latch-", "latch-12", "latch--000000001", "number-zero", "x-latch-00000000aa"] {
            assert_eq!(term(foreign), None, "{foreign}");
        }
    }
}
