//! Which tasks: one filter for listing, watching and, later, acting on many.

use std::collections::{BTreeMap, BTreeSet};

use super::{Kind, QueueName, TaskSpec, TaskState};

/// All conditions hold; an empty one is no condition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct TaskFilter {
    pub queues: BTreeSet<QueueName>,
    pub kinds: BTreeSet<Kind>,
    pub states: BTreeSet<TaskState>,
    pub labels: BTreeMap<String, String>,
}

impl TaskFilter {
    /// Most queues, and most kinds, of one filter.
    pub const MAX_NAMES: usize = 64;

    pub fn matches(&self, spec: &TaskSpec, state: TaskState) -> bool {
        self.matches_spec(spec) && self.matches_state(state)
    }

    /// Whether a change of state is of interest: the task was in the filter before, or is now.
    pub fn concerns(&self, spec: &TaskSpec, before: TaskState, after: TaskState) -> bool {
        self.matches_spec(spec) && (self.matches_state(before) || self.matches_state(after))
    }

    fn matches_state(&self, state: TaskState) -> bool {
        self.states.is_empty() || self.states.contains(&state)
    }

    fn matches_spec(&self, spec: &TaskSpec) -> bool {
        (self.queues.is_empty() || self.queues.contains(&spec.queue()))
            && (self.kinds.is_empty() || self.kinds.contains(&spec.kind))
            && self.labels.iter().all(|(key, value)| spec.labels.get(key) == Some(value))
    }
}
