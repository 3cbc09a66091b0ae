//! What a new leader has to know, put together from the nodes of a tree: no reading here, so that any tree will do. What
//! somebody else wrote wrongly is set aside, by name and with its reason; it never stops a leader.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{info, warn};

use super::{
    known::Known,
    paths::{self, Place},
};
use crate::{
    domain::{Assignment, Loaded, LoadedTask, Status, Submission, TaskId, WorkerId},
    wire,
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
pub fn assemble<P: AsRef<str>>(nodes: impl IntoIterator<Item = (P, Found)>) -> (Loaded, Known) {
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

/// A load on its way.
#[derive(Debug, Default)]
pub struct Assembly {
    tasks: BTreeMap<TaskId, Own>,
    statuses: BTreeMap<TaskId, Result<Status, String>>,
    assignments: Vec<Assignment>,
    known: Known,
    aside: Aside,
}

/// A task with a node of its own.
#[derive(Debug)]
struct Own {
    submission: Result<Submission, String>,
    children: usize,
}

impl Assembly {
    pub fn add(&mut self, place: Place, node: Readable) {
        match place {
            Place::Fixed => {}
            Place::Task(id) => self.task(id, node),
            Place::Status(id) => self.status(id, node),
            Place::Worker(worker) => drop(self.known.workers.insert(worker)),
            Place::Assignment(worker, id) => self.assignment(worker, &id, node),
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
        self.tasks.insert(id, Own { submission, children });
    }

    fn status(&mut self, id: TaskId, node: Readable) {
        self.known.statuses.insert(id.clone());
        let status = node.and_then(|found| {
            if found.children > 0 {
                return Err("has children, and could not be removed".into());
            }
            wire::decode_status(&found.data).map_err(|error| error.to_string())
        });
        self.statuses.insert(id, status);
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

    pub fn finish(self) -> (Loaded, Known) {
        let Self { tasks: own, mut statuses, assignments, mut known, mut aside } = self;
        let mut tasks = BTreeMap::new();
        for (id, own) in own {
            match judge(own, statuses.remove(&id)) {
                Ok(task) => drop(tasks.insert(id, task)),
                Err(problem) => aside.set(id.clone(), &paths::task(&id), &problem),
            }
        }
        // An assignment that cannot be read sets its task aside too: nobody can say where it runs.
        tasks.retain(|id, _| !aside.ids.contains(id));
        // The leader leaves alone what is set aside, so the assignment of such a task stays, and its worker's place with it.
        let stay = assignments.iter().filter(|assignment| aside.ids.contains(&assignment.task_id));
        known.occupied.extend(stay.map(|assignment| assignment.worker.clone()));
        let loaded = Loaded {
            tasks: tasks.into_values().collect(),
            assignments,
            corrupt: aside.ids.iter().cloned().collect(),
            workers: known.workers.iter().cloned().collect(),
        };
        info!(tasks = loaded.tasks.len(), assignments = loaded.assignments.len(), "loaded");
        if aside.count > 0 {
            warn!(nodes = aside.count, tasks = loaded.corrupt.len(), "set aside what cannot be read");
        }
        (loaded, known)
    }
}

/// The task, or why it cannot be used.
fn judge(own: Own, status: Option<Result<Status, String>>) -> Result<LoadedTask, String> {
    let submission = own.submission?;
    let named = |problem| format!("{}: {problem}", paths::STATUS);
    let status = status.transpose().map_err(named)?;
    if own.children != usize::from(status.is_some()) {
        return Err(format!("has children besides {}, and could not be removed", paths::STATUS));
    }
    Ok(LoadedTask { submission, status })
}

/// What is set aside.
#[derive(Debug, Default)]
struct Aside {
    ids: BTreeSet<TaskId>,
    count: usize,
}

impl Aside {
    /// A node with the name of a task: the name stays occupied.
    fn set(&mut self, id: TaskId, path: &str, problem: &str) {
        self.note(path, problem, "set aside a node that cannot be read");
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
        let fixed = ["/", "/election", "/election/x-latch-0000000001", "/master", "/workers", "/tasks", "/tasks/0f"];
        let foreign = ["/Ours", "/tasks/zz", "/tasks/00/UPPER", "/assign/@w", "/assign/w1/UPPER"];
        let nodes = fixed.into_iter().chain(foreign).chain(["/assign", "/assign/w1"]);
        let (loaded, known) = assemble(nodes.map(|path| (path, Found::default())));
        assert!(loaded.tasks.is_empty() && loaded.assignments.is_empty() && loaded.corrupt.is_empty());
        let worker: WorkerId = "w1".parse().unwrap();
        assert_eq!(loaded.workers, std::slice::from_ref(&worker));
        assert!(known.occupied.contains(&worker), "it cannot be removed");
    }
}
