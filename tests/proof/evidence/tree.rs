//! The tree as it lies in ZooKeeper, read by somebody who knows nothing of Herdsman.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::{Bytes, Moment};

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
