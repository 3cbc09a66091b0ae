//! What watchers saw. A watcher follows one target for as long as it lives, through one stream after the other.

use serde::{Deserialize, Serialize};

use super::{Moment, State};

/// One line of `watches.jsonl`. `stream` is unique in the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Seen {
    /// The stream was asked for.
    Opened {
        stream: u64,
        watcher: String,
        at: Moment,
        target: Target,
        after_revision: u64,
        /// Its reader does not read until it is told to, if ever.
        stalled: bool,
    },
    Event {
        stream: u64,
        at: Moment,
        task: String,
        revision: u64,
        state: State,
        attempt: i32,
        skipped: u32,
    },
    Closed {
        stream: u64,
        at: Moment,
        closing: Closing,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// These tasks, until each has ended.
    Tasks(Vec<String>),
    /// Whatever matches a filter.
    Filter,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "closing", rename_all = "snake_case")]
pub enum Closing {
    /// The server ended it with OK.
    Ok,
    /// The server, or the connection, ended it with an error.
    Failed { code: String, reason: Option<String> },
    /// The watcher was done with it.
    Dropped,
}
