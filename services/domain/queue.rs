//! Queues: what an operator says of them, and what readers are told.

use super::{QueueName, TaskState, Wall};

/// What holds for a queue. Only a queue with other settings than the default ones is kept in the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QueueSettings {
    /// Nothing new starts.
    pub paused: bool,
    /// Its share of the starts beside other queues, 1 to [`QueueSettings::MAX_WEIGHT`].
    pub weight: u32,
    /// Most tasks that are assigned or running at once; at least 1. None: no limit; likewise below.
    pub max_running: Option<u32>,
    pub max_starts: Option<Rate>,
    /// Most tasks that are pending, for a submit to be accepted; at least 1.
    pub max_pending: Option<u32>,
}

impl QueueSettings {
    pub const MAX_WEIGHT: u32 = 1_000;
    /// Queues with settings of their own: so many that every team can have some, so few that a new leader reads them at
    /// once.
    pub const MAX_CONFIGURED: usize = 1_000;

    /// With what the update says.
    #[must_use]
    pub fn with(&self, update: &QueueUpdate) -> Self {
        Self {
            paused: update.paused.unwrap_or(self.paused),
            weight: update.weight.unwrap_or(self.weight),
            max_running: update.max_running.of(self.max_running),
            max_starts: update.max_starts.of(self.max_starts),
            max_pending: update.max_pending.of(self.max_pending),
        }
    }
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { paused: false, weight: 1, max_running: None, max_starts: None, max_pending: None }
    }
}

/// How often something may happen, in thousandths a second: one every quarter of an hour is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u32);

impl Rate {
    /// A million a second: more than any leader starts.
    pub const MAX_THOUSANDTHS: u32 = 1_000_000_000;

    /// None for 0, or above a million a second.
    pub fn from_thousandths(thousandths: u32) -> Option<Self> {
        (1..=Self::MAX_THOUSANDTHS).contains(&thousandths).then_some(Self(thousandths))
    }

    /// A second.
    pub fn thousandths(self) -> u32 {
        self.0
    }
}

/// A change of some settings; what is None or as it is stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct QueueUpdate {
    pub paused: Option<bool>,
    pub weight: Option<u32>,
    pub max_running: LimitUpdate<u32>,
    pub max_starts: LimitUpdate<Rate>,
    pub max_pending: LimitUpdate<u32>,
}

/// What becomes of a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum LimitUpdate<T> {
    #[default]
    AsItIs,
    /// There is none any more.
    Lifted,
    To(T),
}

impl<T: Copy> LimitUpdate<T> {
    fn of(self, before: Option<T>) -> Option<T> {
        match self {
            Self::AsItIs => before,
            Self::Lifted => None,
            Self::To(limit) => Some(limit),
        }
    }
}

/// Whether tasks of a queue may start, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueueState {
    Open,
    Paused,
    /// As many run as may.
    AtMaxRunning,
    /// As many were started as may for now.
    AtMaxStarts,
}

/// One queue, as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QueueView {
    pub name: QueueName,
    pub settings: QueueSettings,
    pub state: QueueState,
    /// Tasks by state, in the order of [`TaskState::ALL`].
    pub tasks: [u64; TaskState::ALL.len()],
    /// When the task was submitted that has waited longest for a worker.
    pub oldest_pending: Option<Wall>,
}

/// One page of the queues, in the order of names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QueueQuery {
    /// 1 to [`super::ListQuery::MAX_PAGE`].
    pub page_size: u32,
    pub after: Option<QueueName>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct QueuePage {
    pub queues: Vec<QueueView>,
    /// Set: there is more after this name.
    pub next_after: Option<QueueName>,
}
