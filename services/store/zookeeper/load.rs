//! Everything that a new leader has to know, read at once. What somebody else wrote wrongly is set aside, by name and with
//! its reason; it never stops a leader.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::{StreamExt, TryStreamExt, stream};
use tracing::{info, warn};
use zookeeper_client::{Client, Error};

use super::{
    known::Known,
    paths,
    read::{Node, read},
    session::{lost, within},
};
use crate::{
    domain::{Assignment, Loaded, LoadedTask, TaskId, WorkerId},
    store::StoreError,
    wire,
};

/// Listings on their way at once: of a million tasks, each carries about 200 KiB of names.
const LISTINGS: usize = 8;
/// Nodes whose reason is logged one by one, so that a tree full of them does not flood the log; the rest is counted.
const LOGGED: usize = 100;

/// Reads all tasks and assignments.
///
/// # Errors
/// The reading failed; what is wrong with a node is none.
pub async fn load(client: &Client, limit: Duration) -> Result<(Loaded, Known), StoreError> {
    let mut aside = Aside::default();
    let mut known = Known::default();
    let mut tasks = load_tasks(client, limit, &mut known, &mut aside).await?;
    let assignments = load_assignments(client, limit, &mut known, &mut aside).await?;
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
    Ok((loaded, known))
}

async fn load_tasks(
    client: &Client,
    limit: Duration,
    known: &mut Known,
    aside: &mut Aside,
) -> Result<BTreeMap<TaskId, LoadedTask>, StoreError> {
    let names = within(limit, client.list_children(paths::TASKS)).await.map_err(lost("listing the buckets"))?;
    let all: BTreeSet<_> = paths::buckets().collect();
    let (buckets, foreign): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| all.contains(name));
    for name in foreign {
        aside.ignore(&paths::child(paths::TASKS, &name), "is not a bucket");
    }
    let mut ids = Vec::new();
    for (bucket, names) in list(client, limit, paths::TASKS, buckets).await? {
        for name in names {
            let path = paths::child(&paths::child(paths::TASKS, &bucket), &name);
            match name.parse::<TaskId>() {
                Ok(id) if paths::bucket(&id) == bucket => ids.push(id),
                Ok(_) => aside.ignore(&path, "is in the wrong bucket"),
                Err(error) => aside.ignore(&path, error),
            }
        }
    }
    let mut tasks = BTreeMap::new();
    let both = |id: &TaskId| [paths::task(id), paths::status(id)];
    read(client, limit, ids, both, |id, nodes| {
        if nodes[1].is_ok() {
            known.statuses.insert(id.clone());
        }
        match judge_task(&id, nodes) {
            Ok(Some(task)) => drop(tasks.insert(id, task)),
            // Removed between the listing and here, by somebody who is not a leader.
            Ok(None) => {}
            Err(problem) => aside.set(id.clone(), &paths::task(&id), &problem),
        }
    })
    .await
    .map_err(lost("reading the tasks"))?;
    Ok(tasks)
}

/// The task, None if there is none, or why it cannot be used.
fn judge_task(id: &TaskId, [task, status]: [Node; 2]) -> Result<Option<LoadedTask>, String> {
    let (data, stat) = match task {
        Ok(node) => node,
        Err(Error::NoNode) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    if stat.ephemeral_owner != 0 {
        return Err("is ephemeral".into());
    }
    let submission = wire::decode_submission(id, &data).map_err(|error| error.to_string())?;
    let (status, children) = match status {
        Ok((data, stat)) if stat.num_children == 0 => {
            (Some(wire::decode_status(&data).map_err(|error| format!("{}: {error}", paths::STATUS))?), 1)
        }
        Ok(_) => return Err(format!("{}: has children, and could not be removed", paths::STATUS)),
        Err(Error::NoNode) => (None, 0),
        Err(error) => return Err(format!("{}: {error}", paths::STATUS)),
    };
    if stat.num_children != children {
        return Err(format!("has children besides {}, and could not be removed", paths::STATUS));
    }
    Ok(Some(LoadedTask { submission, status }))
}

async fn load_assignments(
    client: &Client,
    limit: Duration,
    known: &mut Known,
    aside: &mut Aside,
) -> Result<Vec<Assignment>, StoreError> {
    let names = within(limit, client.list_children(paths::ASSIGN)).await.map_err(lost("listing the workers"))?;
    let mut workers = BTreeMap::new();
    for name in names {
        match name.parse::<WorkerId>() {
            Ok(worker) => drop(workers.insert(name, worker)),
            Err(error) => aside.ignore(&paths::child(paths::ASSIGN, &name), error),
        }
    }
    let mut keys = Vec::new();
    for (name, tasks) in list(client, limit, paths::ASSIGN, workers.keys().cloned().collect()).await? {
        let worker = &workers[&name];
        known.workers.insert(worker.clone());
        for task in tasks {
            match task.parse::<TaskId>() {
                Ok(task) => keys.push((worker.clone(), task)),
                Err(error) => {
                    known.occupied.insert(worker.clone());
                    aside.ignore(&paths::child(&paths::assignments(worker), &task), error);
                }
            }
        }
    }
    let mut assignments = Vec::with_capacity(keys.len());
    let one = |(worker, task): &(WorkerId, TaskId)| [paths::assignment(worker, task)];
    read(client, limit, keys, one, |(worker, task), [node]| {
        let judged = match node {
            Ok((_, stat)) if stat.num_children > 0 => Err("has children, and could not be removed".to_owned()),
            Ok((data, _)) => wire::decode_assignment(&worker, &task, &data).map_err(|error| error.to_string()),
            Err(Error::NoNode) => return,
            Err(error) => Err(error.to_string()),
        };
        match judged {
            Ok(assignment) => assignments.push(assignment),
            Err(problem) => {
                aside.set(task.clone(), &paths::assignment(&worker, &task), &problem);
                known.occupied.insert(worker);
            }
        }
    })
    .await
    .map_err(lost("reading the assignments"))?;
    Ok(assignments)
}

/// The children of several nodes under one parent; a node that is gone has none.
pub async fn list(
    client: &Client,
    limit: Duration,
    parent: &str,
    names: Vec<String>,
) -> Result<Vec<(String, Vec<String>)>, StoreError> {
    let listings = names.into_iter().map(|name| async move {
        match within(limit, client.list_children(&paths::child(parent, &name))).await {
            Ok(children) => Ok((name, children)),
            Err(Error::NoNode) => Ok((name, Vec::new())),
            Err(error) => Err(lost("listing the tree")(error)),
        }
    });
    stream::iter(listings).buffer_unordered(LISTINGS).try_collect().await
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

    /// A node that is in nobody's way.
    fn ignore(&mut self, path: &str, problem: impl std::fmt::Display) {
        self.note(path, problem, "ignored a node that is none of ours");
    }

    fn note(&mut self, path: &str, problem: impl std::fmt::Display, what: &str) {
        self.count += 1;
        if self.count <= LOGGED {
            warn!(path, %problem, "{what}");
        }
    }
}
