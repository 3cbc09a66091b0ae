//! What the harness meant to do, and did: rounds, and the faults in each.

use std::{
    ops::Add,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Nanoseconds since the run began, by the monotonic clock of the harness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub u64);

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3}s", Duration::from_nanos(self.0).as_secs_f64())
    }
}

/// The clock of a run.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    /// What the wall clock said at the start, for [`Plan::began_epoch_ns`].
    pub began_epoch_ns: u64,
}

impl Clock {
    pub fn start() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
        Self { start: Instant::now(), began_epoch_ns: u64::try_from(epoch.as_nanos()).expect("it is before 2500") }
    }

    pub fn now(&self) -> Moment {
        Moment(0) + self.start.elapsed()
    }
}

/// `plan.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub seed: u64,
    /// The wall clock at [`Moment`] zero. Faults that move a clock move that of a process, not this one.
    pub began_epoch_ns: u64,
    /// The tree's chroot in ZooKeeper; empty if it is the root.
    pub chroot: String,
    pub session_timeout_ms: u64,
    pub reconnect_grace_ms: u64,
    /// When the load had stopped and everything was read for the last time.
    pub closed: Moment,
    pub rounds: Vec<Round>,
}

/// One round: some faults, their healing, and the calm after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    pub name: String,
    pub from: Moment,
    /// The end of the calm: the next round begins.
    pub until: Moment,
    pub faults: Vec<Fault>,
    /// Outages of ZooKeeper, with no other fault, that were shorter than the tasks that ran.
    pub outages: Vec<Outage>,
}

/// Something that the harness broke, until it was whole again: the process restarted or resumed, the network healed, the
/// ensemble serving.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// `kill`, `pause`, `partition`, …
    pub kind: String,
    /// The process or the connection: `master-1`, `worker-0 -> leader`.
    pub target: String,
    pub from: Moment,
    pub until: Moment,
}

/// An outage of ZooKeeper, and the attempts that had a start line and no end line when it began, none of which is of a
/// kind that kills its worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    pub from: Moment,
    pub until: Moment,
    pub running: Vec<RunningTask>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningTask {
    pub task: String,
    pub attempt: u32,
}

impl Plan {
    pub fn session_timeout(&self) -> Duration {
        Duration::from_millis(self.session_timeout_ms)
    }

    pub fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.rounds.iter().flat_map(|round| &round.faults)
    }

    /// When the last fault healed; zero if there was none.
    pub fn healed(&self) -> Moment {
        self.faults().map(|fault| fault.until).max().unwrap_or(Moment(0))
    }

    /// A moment of the wall clock, by the clock of the run. What was before the run is at zero.
    pub fn moment(&self, epoch_ns: u64) -> Moment {
        Moment(epoch_ns.saturating_sub(self.began_epoch_ns))
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).context("a plan has a JSON form")?;
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }

    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))
    }
}
