//! Which tasks: one filter for listing, watching and acting on many.

use std::collections::{BTreeMap, BTreeSet};

use super::{FailureReason, Kind, Outcome, QueueName, Task, TaskState, Wall};

/// All conditions hold; an empty one is no condition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct TaskFilter {
    pub queues: BTreeSet<QueueName>,
    pub kinds: BTreeSet<Kind>,
    pub states: BTreeSet<TaskState>,
    pub labels: BTreeMap<String, String>,
    /// Only tasks that failed for one of these.
    pub failure_reasons: BTreeSet<FailureReason>,
    pub created: TimeRange,
    /// Only tasks that have ended, if it has a bound.
    pub ended: TimeRange,
}

/// From one moment until before another; a bound that is not set is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct TimeRange {
    pub from: Option<Wall>,
    pub until: Option<Wall>,
}

impl TimeRange {
    fn is_open(self) -> bool {
        self == Self::default()
    }

    fn contains(self, time: Wall) -> bool {
        self.from.is_none_or(|from| from <= time) && self.until.is_none_or(|until| time < until)
    }
}

impl TaskFilter {
    /// Most queues, and most kinds, of one filter.
    pub const MAX_NAMES: usize = 64;

    /// Whether it has no condition: every task matches.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn matches(&self, task: &Task) -> bool {
        self.matches_state(task.state) && self.matches_but_for_its_state(task)
    }

    /// Whether a change of state is of interest: the task was in the filter before, or is now.
    pub fn concerns(&self, task: &Task, before: TaskState) -> bool {
        (self.matches_state(before) || self.matches_state(task.state)) && self.matches_but_for_its_state(task)
    }

    fn matches_state(&self, state: TaskState) -> bool {
        self.states.is_empty() || self.states.contains(&state)
    }

    fn matches_but_for_its_state(&self, task: &Task) -> bool {
        let spec = &task.spec;
        (self.queues.is_empty() || self.queues.contains(&spec.queue()))
            && (self.kinds.is_empty() || self.kinds.contains(&spec.kind))
            && self.labels.iter().all(|(key, value)| spec.labels.get(key) == Some(value.as_str()))
            && (self.failure_reasons.is_empty() || self.matches_failure(task))
            && self.created.contains(task.create_time)
            && (self.ended.is_open() || task.end_time.is_some_and(|end| self.ended.contains(end)))
    }

    fn matches_failure(&self, task: &Task) -> bool {
        matches!(&task.outcome, Some(Outcome::Failed(failure)) if self.failure_reasons.contains(&failure.reason))
    }
}
