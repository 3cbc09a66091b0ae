//! Processes: ours, and those that handlers start.

use serde::{Deserialize, Serialize};

use super::Moment;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    ZooKeeper,
    Master,
    Worker,
    Client,
}

/// One line of `processes.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub role: Role,
    /// `worker-1`; the same after a restart.
    pub name: String,
    /// Unique in the run: `worker-1.2` is the second life of `worker-1`.
    pub life: String,
    pub pid: u32,
    pub at: Moment,
    pub event: ProcessEvent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessEvent {
    Started,
    /// SIGSTOP.
    Paused,
    /// SIGCONT.
    Resumed,
    /// SIGTERM; it has yet to end.
    Asked,
    /// It is gone, whether killed or by itself.
    Ended,
}

/// One line of `children.jsonl`: every process that a handler had started and that was alive, found in /proc by its
/// environment. A worker's life is in its own environment, and its handlers' `pass_env` hands it on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// Before the first of them was looked at.
    pub at: Moment,
    pub children: Vec<Child>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    pub pid: u32,
    /// The life of the worker that it belongs to.
    pub life: String,
    pub task: String,
    pub attempt: u32,
}
