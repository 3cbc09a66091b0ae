//! What a new leader has to know, gathered from the nodes of a tree: no reading here, so that any tree will do. What
//! somebody else wrote wrongly is set aside, by name and with its reason; it never stops a leader.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use tracing::warn;

use super::{
    known::Known,
    packs::{Holds, Pack, PackId},
    paths::{self, PackName, Place},
};
use crate::{
    domain::{Assignment, QueueName, QueueSettings, Status, Submission, TaskId, WorkerId},
    wire::{self, StatusEntry, UnreadableEntry},
};

/// Nodes whose reason is logged one by one, so that a tree full of them does not flood the log; the rest is counted.
const LOGGED: usize = 100;

/// A node of the tree.
#[derive(Debug, Clone, Default)]
pub struct Found {
    pub data: Vec<u8>,
    /// Nodes directly under it.
    pub children: usize,
    pub ephemeral: bool,
}

/// A node that is there, or why it cannot be read.
pub type Readable = Result<Found, String>;

/// A whole tree, by path, in any order: what its next leader finds, and knows of it.
#[cfg(test)]
pub fn assemble<P: AsRef<str>>(nodes: impl IntoIterator<Item = (P, Found)>) -> (crate::domain::Loaded, Known) {
    let mut assembly = Assembly::default();
    for (path, found) in nodes {
        let path = path.as_ref();
        match paths::place(path) {
            Ok(place) => assembly.add(place, Ok(found)),
            Err(problem) => assembly.ignore(path, problem),
        }
    }
    assembly.finish()
}

/// A load on its way: every node is in one of these, and nothing is judged that another node may have a say in.
#[derive(Debug, Default)]
pub struct Assembly {
    pub(super) known: Known,
    pub(super) aside: Aside,
    /// Tasks with a node of their own.
    pub(super) own: BTreeMap<TaskId, Own>,
    /// What lies under those.
    pub(super) children: BTreeMap<TaskId, Result<Status, String>>,
    /// Tasks in packs; an id may come several times, once for each life.
    pub(super) packed: Vec<(PackId, Submission)>,
    /// The same where nothing but the id can be read.
    pub(super) unreadable: Vec<(PackId, TaskId, String)>,
    /// The latest status in a pack.
    pub(super) statuses: HashMap<TaskId, (PackId, Status)>,
    /// Removals: where each is said, whose, and from which pack.
    pub(super) removals: Vec<(PackId, TaskId, PackName)>,
    pub(super) assignments: Vec<Assignment>,
    pub(super) packed_assignments: Vec<(PackId, Assignment)>,
    pub(super) queues: Vec<(QueueName, QueueSettings)>,
    pub(super) drained: Vec<WorkerId>,
}

/// A task with a node of its own.
#[derive(Debug)]
pub(super) struct Own {
    pub submission: Result<Submission, String>,
    pub children: usize,
}

impl Assembly {
    pub fn add(&mut self, place: Place, node: Readable) {
        match place {
            Place::Fixed => {}
            Place::Task(id) => self.task(id, node),
            Place::Status(id) => self.status(id, node),
            Place::Worker(worker) => drop(self.known.workers.insert(worker)),
            Place::Assignment(worker, id) => self.assignment(worker, &id, node),
            Place::TaskPack(name) => self.task_pack(name, node),
            Place::StatusPack(name) => self.status_pack(name, node),
            Place::AssignmentPack(worker, name) => self.assignment_pack(&worker, name, node),
            Place::Queue(name) => self.queue(name, node),
            Place::Drain(worker) => self.drain(worker, node),
        }
    }

    /// A node that is none of ours, and in nobody's way, unless it lies among the assignments of a worker, whose place
    /// cannot be removed then.
    pub fn ignore(&mut self, path: &str, problem: impl std::fmt::Display) {
        if let Some((parent, _)) = path.rsplit_once('/')
            && let Ok(Place::Worker(worker)) = paths::place(parent)
        {
            self.known.occupied.insert(worker);
        }
        self.aside.note(path, problem, "ignored a node that is none of ours");
    }

    fn task(&mut self, id: TaskId, node: Readable) {
        let children = node.as_ref().map_or(0, |found| found.children);
        let submission = node.and_then(|found| {
            if found.ephemeral {
                return Err("is ephemeral".into());
            }
            wire::decode_submission(&id, &found.data).map_err(|error| error.to_string())
        });
        self.own.insert(id, Own { submission, children });
    }

    fn status(&mut self, id: TaskId, node: Readable) {
        let status = node.and_then(|found| {
            if found.children > 0 {
                return Err("has children, and could not be removed".into());
            }
            wire::decode_status(&found.data).map_err(|error| error.to_string())
        });
        self.children.insert(id, status);
    }

    fn assignment(&mut self, worker: WorkerId, id: &TaskId, node: Readable) {
        let assignment = node.and_then(|found| {
            if found.children > 0 {
                return Err("has children, and could not be removed".into());
            }
            wire::decode_assignment(&worker, id, &found.data).map_err(|error| error.to_string())
        });
        match assignment {
            Ok(assignment) => self.assignments.push(assignment),
            Err(problem) => {
                self.aside.set(id.clone(), &paths::assignment(&worker, id), &problem);
                self.known.occupied.insert(worker);
            }
        }
    }

    /// A queue of which nobody can say what holds is paused: nothing starts that was not to, and who resumes it writes it
    /// anew.
    fn queue(&mut self, name: QueueName, node: Readable) {
        let removable = node.as_ref().is_ok_and(|found| found.children == 0);
        let settings = node.and_then(|found| wire::decode_queue(&name, &found.data).map_err(|error| error.to_string()));
        let settings = settings.unwrap_or_else(|problem| {
            let what = "what holds for a queue cannot be read; it is paused until it is resumed";
            self.aside.note(&paths::queue(&name), problem, what);
            QueueSettings { paused: true, ..QueueSettings::default() }
        });
        self.known.queues.insert(name.clone(), removable);
        self.queues.push((name, settings));
    }

    /// That there is a node says that the worker is drained, unless the node says otherwise.
    fn drain(&mut self, worker: WorkerId, node: Readable) {
        let removable = node.as_ref().is_ok_and(|found| found.children == 0);
        let drained =
            node.and_then(|found| wire::decode_drain(&worker, &found.data).map_err(|error| error.to_string()));
        let drained = drained.unwrap_or_else(|problem| {
            let what = "whether a worker is drained cannot be read; it is until it is undrained";
            self.aside.note(&paths::drain(&worker), problem, what);
            true
        });
        self.known.drains.insert(worker.clone(), removable);
        self.drained.extend(drained.then_some(worker));
    }

    fn task_pack(&mut self, name: PackName, node: Readable) {
        let (pack, entries) = self.pack(Pack::new(name, Holds::Tasks), node);
        for entry in entries {
            match wire::decode_packed_submission(&entry) {
                Ok(submission) => self.packed.push((pack, submission)),
                Err(UnreadableEntry { task_id: Some(id), problem }) => {
                    self.unreadable.push((pack, id, problem.to_string()));
                }
                Err(UnreadableEntry { task_id: None, problem }) => self.damaged(pack, &problem),
            }
        }
    }

    fn status_pack(&mut self, name: PackName, node: Readable) {
        let (pack, entries) = self.pack(Pack::new(name, Holds::Statuses), node);
        for entry in entries {
            match wire::decode_status_entry(&entry) {
                Ok(StatusEntry::Status(id, status)) => self.packed_status(pack, id, status),
                Ok(StatusEntry::Removed(id, from)) => match from.parse() {
                    Ok(from) => self.removals.push((pack, id, from)),
                    Err(problem) => self.damaged(pack, &problem),
                },
                Err(problem) => self.unreadable_entry(pack, problem),
            }
        }
    }

    /// Of the statuses of a task the one with the highest revision counts; they grow with every change, over attempts and
    /// over the lives of an id.
    fn packed_status(&mut self, pack: PackId, id: TaskId, status: Status) {
        let age = |pack: PackId, status: &Status| (status.revision, self.known.packs.get(pack).name);
        match self.statuses.get(&id) {
            Some((in_pack, known)) if age(*in_pack, known) > age(pack, &status) => {}
            _ => drop(self.statuses.insert(id, (pack, status))),
        }
    }

    fn assignment_pack(&mut self, worker: &WorkerId, name: PackName, node: Readable) {
        let (pack, entries) = self.pack(Pack::new(name, Holds::Assignments(worker.clone())), node);
        for entry in entries {
            match wire::decode_assignment_entry(worker, &entry) {
                Ok(assignment) => self.packed_assignments.push((pack, assignment)),
                Err(problem) => self.unreadable_entry(pack, problem),
            }
        }
    }

    /// A packed node, and those of its entries that can be told apart.
    fn pack(&mut self, pack: Pack, node: Readable) -> (PackId, Vec<Bytes>) {
        let pack = self.known.packs.add(pack);
        match node {
            Err(problem) => {
                self.damaged(pack, &problem);
                (pack, Vec::new())
            }
            Ok(found) => {
                if found.children > 0 || found.ephemeral {
                    let what = if found.ephemeral { "is ephemeral" } else { "has children" };
                    self.damaged(pack, &format!("{what}, and could not be removed"));
                }
                let (entries, problem) = wire::decode_pack(found.data);
                if let Some(problem) = problem {
                    self.damaged(pack, &problem);
                }
                (pack, entries)
            }
        }
    }

    /// Without a status or an assignment that can be read nobody can say how its task stands.
    fn unreadable_entry(&mut self, pack: PackId, UnreadableEntry { task_id, problem }: UnreadableEntry) {
        match task_id {
            Some(id) => {
                let pack = self.known.packs.get_mut(pack);
                pack.pinned = true;
                self.aside.set(id, &pack.path(), &problem.to_string());
            }
            None => self.damaged(pack, &problem),
        }
    }

    /// A pack of which something cannot be read stays, for somebody to look at; what can be read of it counts.
    fn damaged(&mut self, pack: PackId, problem: &dyn std::fmt::Display) {
        let pack = self.known.packs.get_mut(pack);
        pack.pinned = true;
        self.aside.note(
            &pack.path(),
            problem,
            "a packed node cannot be read as a whole; what is lost of it is not known",
        );
    }
}

/// What is set aside.
#[derive(Debug, Default)]
pub(super) struct Aside {
    pub ids: BTreeSet<TaskId>,
    pub count: usize,
}

impl Aside {
    /// A node or an entry with the name of a task: the name stays occupied.
    pub fn set(&mut self, id: TaskId, path: &str, problem: &str) {
        self.note(path, format_args!("{id}: {problem}"), "set aside what cannot be read");
        self.ids.insert(id);
    }

    fn note(&mut self, path: &str, problem: impl std::fmt::Display, what: &str) {
        self.count += 1;
        if self.count <= LOGGED {
            warn!(path, %problem, "{what}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_of_the_fixed_nodes_alone_is_empty_and_what_is_foreign_in_it_is_in_nobodys_way() {
        let fixed = [
            "/",
            "/election",
            "/election/x-latch-0000000001",
            "/master",
            "/workers",
            "/tasks",
            "/tasks/0f",
            "/queues",
            "/drains",
        ];
        let foreign = [
            "/Ours",
            "/queues/UPPER",
            "/queues/q/below",
            "/drains/UPPER",
            "/drains/w/below",
            "/tasks/zz",
            "/tasks/00/UPPER",
            "/assign/@w",
            "/assign/w1/UPPER",
        ];
        let nodes = fixed.into_iter().chain(foreign).chain(["/assign", "/assign/w1"]);
        let (loaded, known) = assemble(nodes.map(|path| (path, Found::default())));
        assert!(loaded.tasks.is_empty() && loaded.assignments.is_empty() && loaded.corrupt.is_empty());
        let worker: WorkerId = "w1".parse().unwrap();
        assert_eq!(loaded.workers, std::slice::from_ref(&worker));
        assert!(known.occupied.contains(&worker), "it cannot be removed");
    }
}
