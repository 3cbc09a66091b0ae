//! The lines that handlers write themselves: `start|end TASK ATTEMPT FENCE PID EPOCH_NS`.

use std::{fmt, path::Path, str::FromStr};

use anyhow::{Context, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunKind {
    Start,
    End,
}

/// One line of `runs.log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub kind: RunKind,
    pub task: String,
    pub attempt: u32,
    pub fence: u64,
    /// Of the handler's program.
    pub pid: u32,
    /// By the wall clock.
    pub epoch_ns: u64,
}

impl FromStr for Run {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let words: Vec<_> = line.split(' ').collect();
        let [kind, task, attempt, fence, pid, epoch_ns] = words.as_slice() else {
            anyhow::bail!("{} words, not six: {line:?}", words.len());
        };
        let kind = match *kind {
            "start" => RunKind::Start,
            "end" => RunKind::End,
            _ => anyhow::bail!("neither start nor end: {line:?}"),
        };
        let read = || -> Result<Self, std::num::ParseIntError> {
            let (attempt, fence, pid, epoch_ns) = (attempt.parse()?, fence.parse()?, pid.parse()?, epoch_ns.parse()?);
            Ok(Self { kind, task: (*task).to_owned(), attempt, fence, pid, epoch_ns })
        };
        read().with_context(|| format!("a number is none: {line:?}"))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            RunKind::Start => "start",
            RunKind::End => "end",
        };
        write!(f, "{kind} {} {} {} {} {}", self.task, self.attempt, self.fence, self.pid, self.epoch_ns)
    }
}

/// Reads all lines; a file that is not there has none, for then no handler ran.
pub fn read(path: &Path) -> Result<Vec<Run>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    text.lines().map(|line| line.parse().with_context(|| path.display().to_string())).collect()
}
