//! The live selectors, those of tasks that have not ended, each there once, with the workers that match it. What a lane or
//! a worker knows of a selector is its number: whether a worker may take a lane's tasks is then one look.
//!
//! Invariants: a selector is live if and only if a task that has not ended has it; its workers are those of the fleet with an
//! offer that it matches.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::domain::{Selector, TaskSpec, WorkerId, WorkerOffer};

/// Most live selectors; a submit with one more is refused. In each queue and kind of its worker a freed slot
/// looks at each that has a task waiting there, some 50 ns: a thousand cost what a few dozen starts do. A fleet has fewer sorts of
/// machines.
pub const MAX_LIVE_SELECTORS: usize = 1_000;

/// A selector's number, as long as it is live.
pub(super) type SelectorId = usize;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Selectors {
    ids: BTreeMap<Arc<Selector>, SelectorId>,
    live: BTreeMap<SelectorId, Live>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Live {
    selector: Arc<Selector>,
    /// Those that have it and have not ended.
    tasks: u64,
    workers: BTreeSet<WorkerId>,
}

impl Selectors {
    /// The number of a task's selector. None: it has none, or has ended.
    pub fn id(&self, spec: &TaskSpec) -> Option<SelectorId> {
        spec.selector.as_ref().and_then(|selector| self.ids.get(selector).copied())
    }

    /// Whether a submit with this selector is one too many.
    pub fn is_full(&self, selector: &Selector) -> bool {
        self.live.len() >= MAX_LIVE_SELECTORS && !self.ids.contains_key(selector)
    }

    /// The workers that match.
    pub fn workers(&self, id: SelectorId) -> Option<&BTreeSet<WorkerId>> {
        self.live.get(&id).map(|live| &live.workers)
    }

    /// One more task has it. Returns its number if it was not live: the workers that match must be told.
    pub fn hold(&mut self, selector: &Arc<Selector>) -> Option<SelectorId> {
        if let Some(live) = self.ids.get(selector).and_then(|id| self.live.get_mut(id)) {
            live.tasks += 1;
            return None;
        }
        let id = self.live.last_key_value().map_or(0, |(last, _)| last + 1);
        self.ids.insert(selector.clone(), id);
        self.live.insert(id, Live { selector: selector.clone(), tasks: 1, workers: BTreeSet::new() });
        Some(id)
    }

    /// A task that had it has ended. Returns its number and its workers if it is not live any more.
    pub fn let_go(&mut self, selector: &Selector) -> Option<(SelectorId, BTreeSet<WorkerId>)> {
        let id = *self.ids.get(selector)?;
        let live = self.live.get_mut(&id)?;
        live.tasks -= 1;
        if live.tasks > 0 {
            return None;
        }
        self.ids.remove(selector);
        self.live.remove(&id).map(|live| (id, live.workers))
    }

    /// Whether the selector matches this worker, who is remembered if it does.
    pub fn admit(&mut self, id: SelectorId, offer: &WorkerOffer) -> bool {
        let Some(live) = self.live.get_mut(&id).filter(|live| live.selector.matches(&offer.labels)) else {
            return false;
        };
        live.workers.insert(offer.worker_id.clone());
        true
    }

    /// The selectors that match a worker, who is remembered with each.
    pub fn join(&mut self, offer: &WorkerOffer) -> BTreeSet<SelectorId> {
        let matching = self.live.iter_mut().filter(|(_, live)| live.selector.matches(&offer.labels));
        let admitted = matching.map(|(id, live)| {
            live.workers.insert(offer.worker_id.clone());
            *id
        });
        admitted.collect()
    }

    /// A worker is gone, or has another offer.
    pub fn leave(&mut self, worker: &WorkerId, selectors: &BTreeSet<SelectorId>) {
        for id in selectors {
            if let Some(live) = self.live.get_mut(id) {
                live.workers.remove(worker);
            }
        }
    }

    /// Every live selector, with its tasks and its workers.
    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = (SelectorId, &Selector, u64, &BTreeSet<WorkerId>)> {
        self.live.iter().map(|(id, live)| (*id, &*live.selector, live.tasks, &live.workers))
    }
}
