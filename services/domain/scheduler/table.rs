//! The table of tasks. Its invariants: the counts and the bytes are those of its tasks; the order has their ids.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{Hash, Hasher},
    ops::Bound,
    sync::Arc,
};

use crate::domain::{Outcome, Revision, Selector, Task, TaskId, TaskSpec, TaskState, Trials};

/// What a task costs in the store beside its payload and its result: two nodes with their paths and small fields.
/// Measured: 700 to 840 bytes of server memory for a node of 64 bytes.
const TASK_OVERHEAD_BYTES: u64 = 1_600;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    /// As watchers and readers get it: shared with whom it was shown to, until it changes.
    pub task: Arc<Task>,
    /// Revision of the submit: the age of the task among its equals.
    pub submitted: Revision,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Table {
    /// Hashed: ids that were made one after the other differ at their ends only, and a tree compares them at every level.
    entries: HashMap<TaskId, Entry>,
    /// The same ids, in order, for listings.
    order: BTreeSet<TaskId>,
    /// Ids whose records cannot be read.
    corrupt: BTreeSet<TaskId>,
    /// By state, in the order of [`TaskState::ALL`].
    counts: [u64; TaskState::ALL.len()],
    bytes: u64,
}

impl Table {
    pub fn get(&self, id: &TaskId) -> Option<&Entry> {
        self.entries.get(id)
    }

    pub fn is_corrupt(&self, id: &TaskId) -> bool {
        self.corrupt.contains(id)
    }

    pub fn insert(&mut self, entry: Entry) {
        self.counts[entry.task.state as usize] += 1;
        self.bytes += cost(&entry.task);
        self.order.insert(entry.task.id.clone());
        self.entries.insert(entry.task.id.clone(), entry);
    }

    pub fn set_corrupt(&mut self, ids: impl IntoIterator<Item = TaskId>) {
        self.corrupt.extend(ids);
    }

    /// Changes a task, and returns it as it is after the change, with its state before.
    pub fn update(&mut self, id: &TaskId, change: impl FnOnce(&mut Task)) -> Option<(&Entry, TaskState)> {
        let entry = self.entries.get_mut(id)?;
        let (before, cost_before) = (entry.task.state, cost(&entry.task));
        change(Arc::make_mut(&mut entry.task));
        let after = entry.task.state;
        self.bytes = self.bytes - cost_before + cost(&entry.task);
        self.counts[before as usize] -= 1;
        self.counts[after as usize] += 1;
        Some((entry, before))
    }

    pub fn remove(&mut self, id: &TaskId) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        self.order.remove(id);
        self.counts[entry.task.state as usize] -= 1;
        self.bytes -= cost(&entry.task);
        Some(entry)
    }

    /// Every task, in the order of ids, after one of them.
    pub fn after(&self, id: Option<&TaskId>) -> impl Iterator<Item = &Entry> {
        let start = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.order.range((start, Bound::Unbounded)).filter_map(|id| self.entries.get(id))
    }

    pub fn tasks(&self) -> u64 {
        (self.entries.len() + self.corrupt.len()) as u64
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn corrupt(&self) -> u64 {
        self.corrupt.len() as u64
    }

    pub fn count(&self, state: TaskState) -> u64 {
        self.counts[state as usize]
    }
}

/// In the order of ids, which is the same for equal tables; what else there is follows from the entries.
impl Hash for Table {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.after(None).for_each(|entry| entry.hash(state));
        self.corrupt.hash(state);
    }
}

/// What a task with this spec occupies in the store before it has an outcome; roughly, in bytes.
pub(super) fn cost_of_spec(spec: &TaskSpec) -> u64 {
    let selector = spec.selector.as_deref().map_or(0, Selector::bytes_in_record);
    TASK_OVERHEAD_BYTES + (spec.payload.len() + spec.labels.bytes() + selector) as u64
}

fn cost(task: &Task) -> u64 {
    let outcome = task.outcome.as_ref().map_or(0, Outcome::bytes);
    cost_of_spec(&task.spec) + (outcome + task.trials.as_deref().map_or(0, Trials::bytes)) as u64
}
