//! Which workers take what: by kind, queue and selector, and how full they are.

use super::{Fleet, Worker};
use crate::domain::{
    Kind, QueueName, TaskSpec, WorkerId,
    scheduler::{
        queues::{LaneId, Takes},
        selectors::Selectors,
    },
};

/// Up to so many workers that match a selector each is looked at; of more, the emptiest of all are, until one matches.
const FEW: usize = 32;

impl Worker {
    fn serves(&self, queue: &QueueName, kind: &Kind) -> bool {
        self.offer.as_ref().is_some_and(|offer| offer.kinds.contains(kind) && offer.queues.contains(queue))
    }
}

impl Fleet {
    /// The emptiest open worker that may take the tasks of this lane, or only those of it that one more death would end.
    pub fn pick(&self, (queue, kind, selector): &LaneId, suspect: bool) -> Option<&WorkerId> {
        let willing = |id: &WorkerId| !suspect || self.workers.get(id).is_some_and(Worker::takes_suspects);
        let Some(selector) = selector else { return self.pools.pick(kind, queue, willing) };
        let matching = self.selectors.workers(*selector)?;
        if matching.len() > FEW {
            return self.pools.pick(kind, queue, |id| matching.contains(id) && willing(id));
        }
        let open = matching.iter().filter_map(|id| {
            let worker = self.workers.get(id).filter(|worker| worker.serves(queue, kind) && willing(id))?;
            Some((worker.load()?, id))
        });
        open.min().map(|(_, id)| id)
    }

    /// Whether a worker takes the tasks of this lane, or those of it that one more death would end, when it has room.
    pub fn takes(&self, id: &WorkerId, (queue, kind, selector): &LaneId, suspect: bool) -> bool {
        self.workers.get(id).is_some_and(|worker| {
            worker.serves(queue, kind) && worker.is_selected(*selector) && (!suspect || worker.takes_suspects())
        })
    }

    /// What a worker takes that could take a task at once.
    pub fn open(&self, id: &WorkerId) -> Option<Takes<'_>> {
        let worker = self.workers.get(id).filter(|worker| worker.load().is_some())?;
        let (offer, selectors) = (worker.offer.as_ref()?, &worker.selectors);
        let suspects = worker.takes_suspects();
        Some(Takes { kinds: &offer.kinds, queues: &offer.queues, selectors, suspects })
    }

    pub fn selectors(&self) -> &Selectors {
        &self.selectors
    }

    /// There is one more task that has not ended.
    pub fn hold_selector(&mut self, spec: &TaskSpec) {
        let Some(selector) = &spec.selector else { return };
        let Some(id) = self.selectors.hold(selector) else { return };
        for worker in self.workers.values_mut() {
            if worker.offer.as_ref().is_some_and(|offer| self.selectors.admit(id, offer)) {
                worker.selectors.insert(id);
            }
        }
    }

    /// A task has ended.
    pub fn let_go_selector(&mut self, spec: &TaskSpec) {
        let Some(selector) = &spec.selector else { return };
        let Some((id, workers)) = self.selectors.let_go(selector) else { return };
        for worker in workers {
            if let Some(worker) = self.workers.get_mut(&worker) {
                worker.selectors.remove(&id);
            }
        }
    }
}
