//! The tree as it lies in ZooKeeper, read by somebody who knows nothing of Herdsman.

use anyhow::{Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use zookeeper_client::{Client, Error};

use super::{Bytes, Lines, Moment};

/// Questions on their way at once: a tree of 100,000 nodes is read in seconds.
const QUESTIONS: usize = 64;

/// One line of `tree.jsonl`: the beginning of a reading, then a line for each node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum TreeLine {
    /// Everything that follows was read after this moment.
    Reading {
        at: Moment,
    },
    Node(Node),
}

impl TreeLine {
    /// Reads every node at and below the client's chroot, and writes it down. What comes or goes meanwhile may be there or
    /// not.
    ///
    /// # Errors
    /// The tree cannot be read.
    pub async fn keep(client: &Client, at: Moment, lines: &Lines<Self>) -> Result<()> {
        lines.write(&Self::Reading { at });
        // A follower may lag behind.
        client.sync("/").await?;
        let mut level = vec!["/".to_owned()];
        while !level.is_empty() {
            let reading = stream::iter(level.into_iter().map(|path| read(client, path))).buffer_unordered(QUESTIONS);
            let read: Vec<_> = reading.try_collect().await?;
            level = Vec::new();
            for (node, children) in read.into_iter().flatten() {
                let parent = node.path.trim_end_matches('/');
                level.extend(children.iter().map(|child| format!("{parent}/{child}")));
                lines.write(&Self::Node(node));
            }
        }
        Ok(())
    }
}

/// A node and the names below it; None: it is gone.
async fn read(client: &Client, path: String) -> Result<Option<(Node, Vec<String>)>, Error> {
    let (data, stat) = match client.get_data(&path).await {
        Ok(node) => node,
        Err(Error::NoNode) => return Ok(None),
        Err(error) => return Err(error),
    };
    let children = match client.list_children(&path).await {
        Ok(children) => children,
        Err(Error::NoNode) => Vec::new(),
        Err(error) => return Err(error),
    };
    let (version, czxid, mzxid, ephemeral_owner) = (stat.version, stat.czxid, stat.mzxid, stat.ephemeral_owner);
    Ok(Some((Node { path, data: Bytes(data), version, czxid, mzxid, ephemeral_owner }, children)))
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// From the chroot on.
    pub path: String,
    pub data: Bytes,
    pub version: i32,
    pub czxid: i64,
    pub mzxid: i64,
    /// Zero: not ephemeral.
    pub ephemeral_owner: i64,
}

/// One reading of the whole tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeRead {
    pub at: Moment,
    pub nodes: Vec<Node>,
}

pub fn readings(lines: Vec<TreeLine>) -> Result<Vec<TreeRead>> {
    let mut readings: Vec<TreeRead> = Vec::new();
    for line in lines {
        match (line, readings.last_mut()) {
            (TreeLine::Reading { at }, _) => readings.push(TreeRead { at, nodes: Vec::new() }),
            (TreeLine::Node(node), Some(reading)) => reading.nodes.push(node),
            (TreeLine::Node(node), None) => anyhow::bail!("{} stands before any reading of the tree", node.path),
        }
    }
    ensure!(!readings.is_empty(), "the tree was never read");
    Ok(readings)
}
