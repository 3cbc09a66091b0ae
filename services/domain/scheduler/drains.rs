//! Workers that an operator has taken out of service: each gets nothing new, whatever becomes of its process and of the leader,
//! until it is put back; and whoever waits for it to be empty is told.
//!
//! A drained worker is empty when it holds no attempt. A new leader does not know what a worker still stops that has not said
//! hello to it; so it takes a drained one for empty when that has, or when the takeover grace is over: also one that is drained
//! within the grace.

use std::{collections::BTreeSet, ops::Bound};

use super::{Effect, Note, Scheduler};
use crate::domain::{
    Answer, Change, DrainView, MAX_DRAINED_WORKERS, Monotonic, Now, Refusal, WorkerId, WorkerState, WorkerView,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Drains {
    /// There or not.
    drained: BTreeSet<WorkerId>,
    /// Those of them of which a new leader has heard nothing.
    unheard: BTreeSet<WorkerId>,
    /// Until when it waits for that. None: the takeover grace is over.
    unheard_until: Option<Monotonic>,
    /// Those of which there may be something new to tell.
    stirred: BTreeSet<WorkerId>,
}

impl Drains {
    pub fn restore(&mut self, drained: impl IntoIterator<Item = WorkerId>, until: Monotonic) {
        self.drained = drained.into_iter().collect();
        self.unheard = self.drained.clone();
        self.grant_grace(until);
    }

    /// Waits this long for those that it has not heard of.
    pub fn grant_grace(&mut self, until: Monotonic) {
        self.unheard_until = Some(until);
    }

    pub fn has(&self, id: &WorkerId) -> bool {
        self.drained.contains(id)
    }

    pub fn len(&self) -> usize {
        self.drained.len()
    }

    /// In the order of ids, after one of them.
    pub fn after(&self, id: Option<&WorkerId>) -> impl Iterator<Item = &WorkerId> {
        let start = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.drained.range::<WorkerId, _>((start, Bound::Unbounded))
    }

    pub fn set(&mut self, id: &WorkerId, drained: bool) {
        if drained {
            self.drained.insert(id.clone());
        } else {
            self.drained.remove(id);
            self.hear(id);
        }
        self.stir(id);
    }

    /// It was drained without having said hello: within the grace it may still say what it is stopping.
    pub fn miss(&mut self, now: Monotonic, id: &WorkerId) {
        if self.unheard_until.is_some_and(|until| now < until) {
            self.unheard.insert(id.clone());
        }
    }

    /// It holds another number of attempts.
    pub fn stir(&mut self, id: &WorkerId) {
        self.stirred.insert(id.clone());
    }

    pub fn take_stirred(&mut self) -> BTreeSet<WorkerId> {
        std::mem::take(&mut self.stirred)
    }

    /// It has said hello.
    pub fn hear(&mut self, id: &WorkerId) {
        if self.unheard.remove(id) {
            self.stir(id);
        }
    }

    pub fn is_unheard(&self, id: &WorkerId) -> bool {
        self.unheard.contains(id)
    }

    /// When it is no use to wait any longer for those that it has not heard of.
    pub fn next_due(&self) -> Option<Monotonic> {
        self.unheard_until.filter(|_| !self.unheard.is_empty())
    }

    pub fn wake(&mut self, now: Monotonic) {
        if self.unheard_until.is_some_and(|at| at <= now) {
            self.unheard_until = None;
            self.stirred.append(&mut self.unheard);
        }
    }
}

impl Scheduler {
    /// Takes a worker out of service, or puts it back; whoever does either twice has done it once.
    pub(super) fn set_drained(
        &mut self,
        now: Now,
        worker: &WorkerId,
        drained: bool,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        if drained != self.fleet.drains.has(worker) {
            if drained && !self.fleet.knows(worker) {
                return Answer::Refused(Refusal::WorkerNotFound);
            }
            if drained && self.fleet.drains.len() >= MAX_DRAINED_WORKERS {
                return Answer::Refused(Refusal::TooManyDrained);
            }
            self.fleet.set_drained(now.monotonic, worker, drained);
            effects.push(Effect::Change(Change::DrainSet { worker: worker.clone(), drained }));
        }
        Answer::Worker(Box::new(self.worker(worker)))
    }

    /// Whether it is there, or registered, or drained.
    pub fn knows(&self, worker: &WorkerId) -> bool {
        self.fleet.knows(worker) || self.fleet.drains.has(worker)
    }

    /// How far the drain of a worker is; of one that nobody knows, too.
    pub fn drain(&self, worker: &WorkerId) -> DrainView {
        let worker = self.worker(worker);
        let empty = worker.drained && worker.busy_slots == 0 && !self.fleet.drains.is_unheard(&worker.worker_id);
        DrainView { worker, empty }
    }

    /// Tells what has become of drains in a step.
    pub(super) fn tell_drains(&mut self, effects: &mut Vec<Effect>) {
        for worker in self.fleet.drains.take_stirred() {
            if self.drain(&worker).empty {
                effects.push(Effect::Note(Note::Emptied { worker: worker.clone() }));
            }
            effects.push(Effect::Drain { worker });
        }
    }

    fn worker(&self, worker: &WorkerId) -> WorkerView {
        self.fleet.view(worker).unwrap_or_else(|| absent(worker, false))
    }
}

/// A worker of which nothing is known but whether it is drained.
pub(super) fn absent(id: &WorkerId, drained: bool) -> WorkerView {
    WorkerView {
        worker_id: id.clone(),
        incarnation: None,
        state: WorkerState::Disconnected,
        busy_slots: 0,
        drained,
        offer: None,
    }
}
