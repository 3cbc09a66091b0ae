//! What a run leaves behind, and all that the checker is given: a directory of JSON lines written by those who saw it
//! happen, of lines that the handlers wrote themselves, and of ZooKeeper's own transaction logs.
//!
//! | file | what | written by |
//! |---|---|---|
//! | `plan.json` | the seed, the rounds and their faults: [`Plan`] | the harness, at the end |
//! | `history.jsonl` | what clients asked, and what they were told: [`Said`] | every client, at once |
//! | `watches.jsonl` | what watchers saw: [`Seen`] | every watcher, at once |
//! | `runs.log` | `start\|end TASK ATTEMPT FENCE PID EPOCH_NS`: [`Run`] | handlers, one write a line, `O_APPEND` |
//! | `processes.jsonl` | our processes, started, signalled and ended: [`Process`] | the harness |
//! | `children.jsonl` | the handlers' children that were alive: [`Scan`] | the harness |
//! | `tree.jsonl` | every node of the tree, at the end: [`TreeLine`] | the harness, through a client of its own |
//! | `zookeeper/NAME/version-2/` | the servers' transaction logs, one directory a server | ZooKeeper |
//!
//! All moments but those in `runs.log` and in ZooKeeper's logs are of the harness's monotonic clock; the plan says where
//! that clock began by the wall clock. A line counts from when it is in the file: an invocation is written before the
//! request is sent, and an outcome after it came.

mod children;
mod history;
mod lines;
mod plan;
mod runs;
mod task;
mod tree;
mod watches;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub use children::{Child, Process, ProcessEvent, Role, Scan};
pub use history::{Call, Outcome, Said};
pub use lines::Lines;
pub use plan::{Clock, Fault, Moment, Outage, Plan, Round, RunningTask};
pub use runs::{Run, RunKind};
pub use task::{Bytes, Spec, State, Told};
pub use tree::{Node, TreeLine, TreeRead};
pub use watches::{Closing, Seen, Target};

/// Where the evidence of one run lies.
#[derive(Debug, Clone)]
pub struct Directory(PathBuf);

impl Directory {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub fn plan(&self) -> PathBuf {
        self.0.join("plan.json")
    }

    pub fn history(&self) -> PathBuf {
        self.0.join("history.jsonl")
    }

    pub fn watches(&self) -> PathBuf {
        self.0.join("watches.jsonl")
    }

    pub fn runs(&self) -> PathBuf {
        self.0.join("runs.log")
    }

    pub fn processes(&self) -> PathBuf {
        self.0.join("processes.jsonl")
    }

    pub fn children(&self) -> PathBuf {
        self.0.join("children.jsonl")
    }

    pub fn tree(&self) -> PathBuf {
        self.0.join("tree.jsonl")
    }

    /// The copies of the servers' directories, each of which has a `version-2`.
    pub fn zookeeper(&self) -> PathBuf {
        self.0.join("zookeeper")
    }

    /// Copies the transaction logs of a server, whose data directory is given.
    pub fn keep_transaction_logs(&self, server: &str, data: &Path) -> Result<()> {
        let (from, to) = (data.join("version-2"), self.zookeeper().join(server).join("version-2"));
        std::fs::create_dir_all(&to).with_context(|| format!("creating {}", to.display()))?;
        for entry in std::fs::read_dir(&from).with_context(|| format!("reading {}", from.display()))? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("log.") {
                std::fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
        }
        Ok(())
    }
}

/// Everything but ZooKeeper's logs, as it was written.
#[derive(Debug, Clone)]
pub struct Evidence {
    pub plan: Plan,
    pub history: Vec<Said>,
    pub watches: Vec<Seen>,
    pub runs: Vec<Run>,
    pub processes: Vec<Process>,
    pub scans: Vec<Scan>,
    /// Every reading of the tree, in order; never empty.
    pub trees: Vec<TreeRead>,
}

impl Evidence {
    /// # Errors
    /// A file is missing, a line of it cannot be read, or the tree was never read.
    pub fn read(directory: &Directory) -> Result<Self> {
        let trees = tree::readings(lines::read(&directory.tree())?)?;
        Ok(Self {
            plan: Plan::read(&directory.plan())?,
            history: lines::read(&directory.history())?,
            watches: lines::read(&directory.watches())?,
            runs: runs::read(&directory.runs())?,
            processes: lines::read(&directory.processes())?,
            scans: lines::read(&directory.children())?,
            trees,
        })
    }

    /// The last reading of the tree.
    pub fn tree(&self) -> &TreeRead {
        self.trees.last().expect("it was read at least once")
    }
}

mod tests;
