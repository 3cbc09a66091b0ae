//! The open workers by what they serve. Workers that serve the same kinds and queues, as those of a fleet mostly do, are
//! one pool: a worker that fills up or frees moves in one place, and for a task hardly more than its pools are looked at.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{Kind, QueueName, WorkerId, WorkerOffer};

/// A pool's number, as long as it has members.
pub(super) type PoolId = usize;

/// What the workers of a pool serve.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Scope {
    kinds: BTreeSet<Kind>,
    queues: BTreeSet<QueueName>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Pool {
    scope: Scope,
    members: usize,
    /// The members that are open, the emptiest first.
    open: BTreeSet<(usize, WorkerId)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Pools {
    list: BTreeMap<PoolId, Pool>,
    ids: BTreeMap<Scope, PoolId>,
    serving: BTreeMap<Kind, BTreeMap<QueueName, BTreeSet<PoolId>>>,
}

impl Pools {
    /// The pool for workers with this offer, with one more member.
    pub fn join(&mut self, offer: &WorkerOffer) -> PoolId {
        let scope = Scope { kinds: offer.kinds.clone(), queues: offer.queues.clone() };
        if let Some(pool) = self.ids.get(&scope).and_then(|id| self.list.get_mut(id)) {
            pool.members += 1;
            return self.ids[&scope];
        }
        let id = self.list.last_key_value().map_or(0, |(last, _)| last + 1);
        for kind in &scope.kinds {
            let queues = self.serving.entry(kind.clone()).or_default();
            for queue in &scope.queues {
                queues.entry(queue.clone()).or_default().insert(id);
            }
        }
        self.ids.insert(scope.clone(), id);
        self.list.insert(id, Pool { scope, members: 1, open: BTreeSet::new() });
        id
    }

    /// A member is gone, and was not open.
    pub fn leave(&mut self, id: PoolId) {
        let Some(pool) = self.list.get_mut(&id) else { return };
        pool.members -= 1;
        if pool.members > 0 {
            return;
        }
        let Some(Pool { scope, .. }) = self.list.remove(&id) else { return };
        self.ids.remove(&scope);
        for kind in &scope.kinds {
            let Some(queues) = self.serving.get_mut(kind) else { continue };
            for queue in &scope.queues {
                if let Some(ids) = queues.get_mut(queue) {
                    ids.remove(&id);
                    if ids.is_empty() {
                        queues.remove(queue);
                    }
                }
            }
            if queues.is_empty() {
                self.serving.remove(kind);
            }
        }
    }

    /// A member has become open, as full as this.
    pub fn open(&mut self, id: PoolId, load: usize, worker: WorkerId) {
        if let Some(pool) = self.list.get_mut(&id) {
            pool.open.insert((load, worker));
        }
    }

    /// It is not open any more, or not that full.
    pub fn close(&mut self, id: PoolId, key: &(usize, WorkerId)) {
        if let Some(pool) = self.list.get_mut(&id) {
            pool.open.remove(key);
        }
    }

    /// The emptiest open worker that serves the kind and the queue, and is able.
    pub fn pick(&self, kind: &Kind, queue: &QueueName, able: impl Fn(&WorkerId) -> bool) -> Option<&WorkerId> {
        let pools = self.serving.get(kind)?.get(queue)?.iter().filter_map(|id| self.list.get(id));
        let emptiest = pools.filter_map(|pool| pool.open.iter().find(|(_, worker)| able(worker)));
        emptiest.min().map(|(_, worker)| worker)
    }
}
