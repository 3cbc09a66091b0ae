//! The commits of a leader over a tree in memory, which refuses what ZooKeeper would refuse, and what the next leader
//! makes of it.

mod damage;
mod lives;

use std::{collections::BTreeMap, sync::Arc};

use zookeeper_client::{CreateMode, Error};

use super::{
    assemble::{Found, assemble},
    commit::Chain,
    known::Known,
    multi::{Expect, Operations, Version},
    paths,
};
use crate::domain::{
    Assignment, Change, Fence, Incarnation, Loaded, Outcome, Revision, Status, Submission, TaskId, TaskSpec, Term,
    Wall, WorkerId,
};

const FENCE: &str = "/election/x-latch-0000000001";

/// A tree in memory.
#[derive(Debug, Clone, Default)]
struct Tree {
    nodes: BTreeMap<String, Vec<u8>>,
    /// Operations of the last request.
    operations: usize,
}

impl Tree {
    fn new() -> Self {
        let fixed = [paths::ROOT, paths::ELECTION, FENCE, paths::TASKS, paths::ASSIGN, paths::QUEUES, paths::DRAINS]
            .map(str::to_owned);
        let buckets = paths::buckets().map(|name| paths::child(paths::TASKS, &name));
        Self { nodes: fixed.into_iter().chain(buckets).map(|path| (path, Vec::new())).collect(), operations: 0 }
    }

    fn children(&self, path: &str) -> usize {
        let prefix = if path == paths::ROOT { path.to_owned() } else { format!("{path}/") };
        let below = self.nodes.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
        below.filter(|(path, _)| path.len() > prefix.len() && !path[prefix.len()..].contains('/')).count()
    }

    /// What the next leader finds, in the order of ids.
    fn load(&self) -> (Loaded, Known) {
        let found = |(path, data): (&String, &Vec<u8>)| {
            (path.clone(), Found { data: data.clone(), children: self.children(path), ephemeral: false })
        };
        let (mut loaded, known) = assemble(self.nodes.iter().map(found));
        loaded.tasks.sort_by(|a, b| a.submission.task_id.cmp(&b.submission.task_id));
        loaded.assignments.sort_by(|a, b| (&a.task_id, &a.worker).cmp(&(&b.task_id, &b.worker)));
        loaded.workers.sort();
        (loaded, known)
    }

    /// The nodes of tasks and assignments.
    fn written(&self) -> Vec<&str> {
        let ours = |path: &&String| path.matches('/').count() > 2 || path.starts_with("/assign/");
        self.nodes.keys().filter(ours).map(String::as_str).collect()
    }
}

impl Operations for Tree {
    fn check(&mut self, path: String, _: Expect) -> Result<(), Error> {
        self.operations += 1;
        self.nodes.get(&path).map(|_| ()).ok_or(Error::NoNode)
    }

    fn create(&mut self, path: String, data: &[u8], _: CreateMode) -> Result<(), Error> {
        self.operations += 1;
        let (parent, _) = path.rsplit_once('/').ok_or(Error::NoNode)?;
        if !self.nodes.contains_key(if parent.is_empty() { paths::ROOT } else { parent }) {
            return Err(Error::NoNode);
        }
        self.nodes.insert(path, data.to_vec()).map_or(Ok(()), |_| Err(Error::NodeExists))
    }

    fn set(&mut self, path: String, data: &[u8], _: Expect) -> Result<(), Error> {
        self.operations += 1;
        *self.nodes.get_mut(&path).ok_or(Error::NoNode)? = data.to_vec();
        Ok(())
    }

    fn delete(&mut self, path: String, _: Expect) -> Result<(), Error> {
        self.operations += 1;
        if self.children(&path) > 0 {
            return Err(Error::NotEmpty);
        }
        self.nodes.remove(&path).map(|_| ()).ok_or(Error::NoNode)
    }
}

/// A leader of the tree, from its load on.
struct Leader {
    chain: Chain,
    known: Known,
}

impl Leader {
    fn take_over(tree: &Tree, term: u64, packing: bool) -> (Self, Loaded) {
        let (loaded, known) = tree.load();
        let version = Version::new(0).expect("a version");
        (Self { chain: Chain::new(Term(term), version).packing(packing), known }, loaded)
    }

    /// Writes one commit, and returns how many operations it took beside the fence and the chain.
    fn commit(&mut self, tree: &mut Tree, changes: &[Change]) -> usize {
        tree.operations = 0;
        let committed = self.chain.follow_on(FENCE, &mut self.known, changes, tree);
        committed.unwrap_or_else(|doubt| panic!("{doubt}: {changes:#?}\n{:#?}", tree.written()));
        tree.operations - 2
    }
}

fn id(text: &str) -> TaskId {
    text.parse().unwrap()
}

fn worker(text: &str) -> WorkerId {
    text.parse().unwrap()
}

fn submission(task_id: &str, revision: u64, payload: &[u8]) -> Submission {
    Submission {
        task_id: id(task_id),
        spec: Arc::new(TaskSpec::new("echo".parse().unwrap(), payload)),
        create_time: Wall(1_000),
        revision: Revision(revision),
        traceparent: None,
        retry_of: None,
    }
}

fn assignment(task_id: &str, to: &str, attempt: u32, fence: u64) -> Assignment {
    let incarnation = Incarnation([7; 16]);
    Assignment { task_id: id(task_id), worker: worker(to), attempt, incarnation, fence: Fence(fence) }
}

fn status(attempt: u32, revision: u64, outcome: Option<Outcome>) -> Status {
    Status {
        attempt,
        revision: Revision(revision),
        worker_deaths: 0,
        worker: None,
        fence: Fence(0),
        end_time: outcome.as_ref().map(|_| Wall(2_000)),
        outcome,
        trials: None,
        start_time: None,
    }
}

fn submitted(task_id: &str, revision: u64) -> Change {
    Change::Submitted(submission(task_id, revision, b"x"))
}

fn assigned(task_id: &str, to: &str, attempt: u32, fence: u64) -> Change {
    Change::Assigned(assignment(task_id, to, attempt, fence))
}

fn finished(task_id: &str, from: &str, attempt: u32, revision: u64) -> Change {
    let status = status(attempt, revision, Some(Outcome::Cancelled));
    Change::Finished { task_id: id(task_id), assigned_to: Some(worker(from)), status }
}

fn removed(task_id: &str) -> Change {
    Change::Removed { task_id: id(task_id) }
}

fn names(loaded: &Loaded) -> Vec<&str> {
    loaded.tasks.iter().map(|task| task.submission.task_id.as_str()).collect()
}
