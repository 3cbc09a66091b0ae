//! The tree for people, read straight from ZooKeeper: no master is needed, nothing is written, and what does not decode
//! is shown with its reason.

use std::{ops::ControlFlow, time::Duration};

use bytes::Bytes;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::Value;
use zookeeper_client::{Client, Error, Stat};

use super::{
    load::list,
    paths::{self, Place},
    read::read,
    session::{Sessions, ZooKeeperOptions, lost, within},
};
use crate::{store::StoreError, wire};

/// One node, and what it is.
#[derive(Debug, Clone)]
pub struct Entry {
    /// From the chroot on.
    pub path: String,
    /// `format`, `candidate`, `leader`, `worker`, `task`, `status`, `assignment`, `tasks`, `statuses`,
    /// `assignments` (of those three several in one node), `directory`, or `foreign`.
    pub what: &'static str,
    /// What it says, or why that cannot be read.
    pub value: Result<Value, String>,
    /// Of its data.
    pub bytes: usize,
    pub version: i32,
    /// Nodes directly under it.
    pub children: i32,
    /// Goes with its session.
    pub ephemeral: bool,
}

/// Visits every node at and under `path`, parents first, one bucket or worker at a time, so that a large tree is never
/// held as a whole; until there are no more or `visit` breaks.
///
/// # Errors
/// Unreachable, no such node, or the session was lost on the way.
pub async fn inspect(
    options: &ZooKeeperOptions,
    path: &str,
    visit: &mut (dyn FnMut(Entry) -> ControlFlow<()> + Send),
) -> Result<(), StoreError> {
    let client = Sessions::new(options)?.open_patiently().await?;
    let limit = client.session_timeout();
    let codec = Codec::new()?;
    let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    let (data, stat) = match within(limit, client.get_data(path)).await {
        Ok(node) => node,
        Err(Error::NoNode) => return Err(StoreError::Broken(format!("there is no node {path} in {}", client.path()))),
        Err(Error::BadArguments(problem)) => return Err(StoreError::Broken(format!("{path:?}: {problem}"))),
        Err(error) => return Err(lost("reading the tree")(error)),
    };
    if visit(codec.entry(path.to_owned(), &data, &stat)).is_break() || stat.num_children == 0 {
        return Ok(());
    }
    walk(&client, limit, &codec, path.to_owned(), visit).await
}

/// Visits what is under `top`, a directory at a time, from a list of those still to do.
async fn walk(
    client: &Client,
    limit: Duration,
    codec: &Codec,
    top: String,
    visit: &mut (dyn FnMut(Entry) -> ControlFlow<()> + Send),
) -> Result<(), StoreError> {
    let mut directories = vec![top];
    while let Some(directory) = directories.pop() {
        let (parent, name) = directory.rsplit_once('/').unwrap_or_default();
        let parent = if parent.is_empty() { paths::ROOT } else { parent };
        let mut listed = list(client, limit, parent, vec![name.to_owned()]).await?;
        let mut names = listed.pop().map(|(_, names)| names).unwrap_or_default();
        names.sort_unstable();
        // ZooKeeper's own, where the chroot is the root of everything.
        names.retain(|name| client.path() != paths::ROOT || directory != paths::ROOT || name != "zookeeper");
        let mut stop = false;
        let mut deeper = Vec::new();
        let children = names.iter().map(|name| paths::child(&directory, name));
        read(
            client,
            limit,
            children,
            |path| [path.clone()],
            |path, [node]| {
                // Gone since it was listed, or not to be read by us.
                let Ok((data, stat)) = node else { return };
                if stop {
                    return;
                }
                if stat.num_children > 0 {
                    deeper.push(path.clone());
                }
                stop = visit(codec.entry(path, &data, &stat)).is_break();
            },
        )
        .await
        .map_err(lost("reading the tree"))?;
        if stop {
            return Ok(());
        }
        directories.extend(deeper.into_iter().rev());
    }
    Ok(())
}

/// Reads each node as what its place says it is.
struct Codec {
    pool: DescriptorPool,
}

impl Codec {
    fn new() -> Result<Self, StoreError> {
        let pool = DescriptorPool::decode(wire::proto::DESCRIPTORS)
            .map_err(|error| StoreError::Broken(format!("this program's own descriptors: {error}")))?;
        Ok(Self { pool })
    }

    fn entry(&self, path: String, data: &[u8], stat: &Stat) -> Entry {
        let names: Vec<_> = path.split('/').skip(1).filter(|name| !name.is_empty()).collect();
        let (what, value) = match names.as_slice() {
            [] => ("format", text(data)),
            ["master"] => ("leader", json(data)),
            ["tasks"] => ("directory", text(data)),
            ["election" | "workers" | "assign" | "queues" | "drains"] | ["tasks" | "assign", _] => {
                ("directory", empty(data))
            }
            ["election", name] if paths::term(name).is_some() => ("candidate", json(data)),
            ["workers", _] => ("worker", json(data)),
            ["tasks" | "assign", _, name] if name.starts_with('@') => self.pack(&path, data),
            ["queues", name] => ("queue", self.queue(name, data)),
            ["drains", worker] => ("drain", self.drain(worker, data)),
            ["tasks", _, id] => ("task", self.task(id, data)),
            ["tasks", _, _, paths::STATUS] => ("status", self.status(data)),
            ["assign", worker, id] => ("assignment", self.assignment(worker, id, data)),
            _ => ("foreign", text(data)),
        };
        let ephemeral = stat.ephemeral_owner != 0;
        Entry { what, value, bytes: data.len(), version: stat.version, children: stat.num_children, ephemeral, path }
    }

    fn task(&self, id: &str, data: &[u8]) -> Result<Value, String> {
        let id = id.parse().map_err(|error| format!("its name is not the id of a task: {error}"))?;
        wire::decode_submission(&id, data).map_err(|error| error.to_string())?;
        self.message("TaskRecord", data)
    }

    fn status(&self, data: &[u8]) -> Result<Value, String> {
        wire::decode_status(data).map_err(|error| error.to_string())?;
        self.message("StatusRecord", data)
    }

    fn assignment(&self, worker: &str, id: &str, data: &[u8]) -> Result<Value, String> {
        let worker = worker.parse().map_err(|error| format!("its parent's name is not the id of a worker: {error}"))?;
        let id = id.parse().map_err(|error| format!("its name is not the id of a task: {error}"))?;
        wire::decode_assignment(&worker, &id, data).map_err(|error| error.to_string())?;
        self.message("AssignmentRecord", data)
    }

    fn queue(&self, name: &str, data: &[u8]) -> Result<Value, String> {
        let name = name.parse().map_err(|error| format!("its name is not the name of a queue: {error}"))?;
        wire::decode_queue(&name, data).map_err(|error| error.to_string())?;
        self.message("QueueRecord", data)
    }

    fn drain(&self, worker: &str, data: &[u8]) -> Result<Value, String> {
        let worker = worker.parse().map_err(|error| format!("its name is not the id of a worker: {error}"))?;
        wire::decode_drain(&worker, data).map_err(|error| error.to_string())?;
        self.message("DrainRecord", data)
    }

    fn pack(&self, path: &str, data: &[u8]) -> (&'static str, Result<Value, String>) {
        let (what, message) = match paths::place(path) {
            Ok(Place::TaskPack(_)) => ("tasks", "TaskPack"),
            Ok(Place::StatusPack(_)) => ("statuses", "StatusPack"),
            Ok(Place::AssignmentPack(..)) => ("assignments", "AssignmentPack"),
            Ok(_) => return ("foreign", text(data)),
            Err(problem) => return ("foreign", Err(problem)),
        };
        let unreadable = |entry: &Bytes| match paths::place(path) {
            Ok(Place::TaskPack(_)) => wire::decode_packed_submission(entry).err(),
            Ok(Place::AssignmentPack(worker, _)) => wire::decode_assignment_entry(&worker, entry).err(),
            _ => wire::decode_status_entry(entry).err(),
        };
        let (entries, problem) = wire::decode_pack(data.to_vec());
        let problem =
            entries.iter().find_map(unreadable).map(|entry| entry.to_string()).or(problem.map(|p| p.to_string()));
        (what, problem.map_or_else(|| self.message(message, data), Err))
    }

    fn message(&self, name: &str, data: &[u8]) -> Result<Value, String> {
        let name = format!("herdsman.internal.v1.{name}");
        let descriptor = self.pool.get_message_by_name(&name).ok_or_else(|| format!("this program has no {name}"))?;
        let message = DynamicMessage::decode(descriptor, data).map_err(|error| error.to_string())?;
        serde_json::to_value(&message).map_err(|error| error.to_string())
    }
}

fn json(data: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(data).map_err(|error| error.to_string())
}

fn text(data: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(data).map_err(|_| format!("{} bytes that are not text", data.len()))?;
    Ok(if text.is_empty() { Value::Null } else { Value::from(text) })
}

fn empty(data: &[u8]) -> Result<Value, String> {
    if data.is_empty() {
        Ok(Value::Null)
    } else {
        Err(format!("has {} bytes of data, and should have none", data.len()))
    }
}
