//! The workers as the leader knows them. Its invariants: a worker is open if and only if it is linked, a member, neither
//! stopping nor drained, not resting and has a free slot; the indexes agree with the workers.

mod choice;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use super::{
    drains::{Drains, absent},
    pools::{PoolId, Pools},
    selectors::{SelectorId, Selectors},
};
use crate::domain::{
    AttemptId, Incarnation, Member, Monotonic, TaskId, WorkerId, WorkerOffer, WorkerState, WorkerView,
};

/// What a held slot is held for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Hold {
    /// The task's current attempt.
    Current { suspect: bool },
    /// An attempt whose outcome is no longer wanted; the slot frees when the worker says that it stopped.
    Stopping,
}

impl Hold {
    fn is_suspect(self) -> bool {
        self == Self::Current { suspect: true }
    }
}

/// Why a worker is to get nothing new, if any of it is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Retired {
    /// Its process is stopping.
    stopping: bool,
    /// As the drains have it.
    drained: bool,
}

impl Retired {
    fn at_all(self) -> bool {
        self.stopping || self.drained
    }
}

/// The load of a worker without a free slot.
const FULL: usize = 1_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Worker {
    pub incarnation: Incarnation,
    /// None: it has not said hello to this leader.
    pub offer: Option<WorkerOffer>,
    /// Of those with this offer.
    pool: Option<PoolId>,
    /// The live ones that match it.
    selectors: BTreeSet<SelectorId>,
    /// The load that it has with nothing to do: [`FULL`] if it is spared, so that nobody who is not is fuller.
    base_load: usize,
    pub linked: bool,
    member: bool,
    retired: Retired,
    /// Without a link: when it is lost. With one: until when it rests.
    due: Option<Monotonic>,
    holds: BTreeMap<AttemptId, Hold>,
    suspects: usize,
}

impl Worker {
    fn new(incarnation: Incarnation, drained: bool, due: Option<Monotonic>) -> Self {
        Self {
            incarnation,
            offer: None,
            pool: None,
            selectors: BTreeSet::new(),
            base_load: 0,
            linked: false,
            member: false,
            retired: Retired { stopping: false, drained },
            due,
            holds: BTreeMap::new(),
            suspects: 0,
        }
    }

    pub fn holds(&self) -> impl Iterator<Item = (&AttemptId, Hold)> {
        self.holds.iter().map(|(attempt, hold)| (attempt, *hold))
    }

    /// May get another task that some worker died of.
    pub fn takes_suspects(&self) -> bool {
        self.suspects == 0
    }

    /// Every slot holds an attempt.
    pub fn is_full(&self) -> bool {
        self.holds.len() >= self.slots()
    }

    /// Whether a live selector matches it. None, that of a task without one, matches any.
    pub fn is_selected(&self, selector: Option<SelectorId>) -> bool {
        selector.is_none_or(|selector| self.selectors.contains(&selector))
    }

    /// Its process is stopping.
    pub fn is_stopping(&self) -> bool {
        self.retired.stopping
    }

    fn slots(&self) -> usize {
        self.offer.as_ref().map_or(0, |offer| offer.slots as usize)
    }

    pub fn state(&self) -> WorkerState {
        if !self.linked {
            WorkerState::Disconnected
        } else if !self.retired.stopping && self.retired.drained && self.holds.is_empty() {
            WorkerState::Drained
        } else if self.retired.at_all() {
            WorkerState::Draining
        } else if self.member {
            WorkerState::Ready
        } else {
            WorkerState::Unregistered
        }
    }

    fn view(&self, id: &WorkerId) -> WorkerView {
        WorkerView {
            worker_id: id.clone(),
            incarnation: Some(self.incarnation),
            state: self.state(),
            busy_slots: narrow(self.holds.len()),
            drained: self.retired.drained,
            offer: self.offer.clone(),
        }
    }

    /// It is given only what nobody else with room takes.
    pub fn is_spared(&self) -> bool {
        self.base_load >= FULL
    }

    /// For the moment it gets nothing new.
    pub fn rests(&self) -> bool {
        self.linked && self.due.is_some()
    }

    /// How full it is, in thousandths, if it is open; one that is spared is fuller than any that is not.
    pub fn load(&self) -> Option<usize> {
        let open = self.state() == WorkerState::Ready && !self.rests() && !self.is_full();
        open.then(|| self.base_load + self.holds.len() * FULL / self.slots())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Fleet {
    workers: BTreeMap<WorkerId, Worker>,
    members: BTreeMap<WorkerId, Incarnation>,
    /// The open workers.
    pools: Pools,
    selectors: Selectors,
    /// When a worker is due.
    due: BTreeSet<(Monotonic, WorkerId)>,
    /// Workers that may have become able to take more since the last placement.
    hungry: BTreeSet<WorkerId>,
    pub drains: Drains,
}

impl Fleet {
    pub fn get(&self, id: &WorkerId) -> Option<&Worker> {
        self.workers.get(id)
    }

    /// Whether this is the incarnation that the leader knows under this id.
    pub fn is(&self, id: &WorkerId, incarnation: Incarnation) -> bool {
        self.workers.get(id).is_some_and(|worker| worker.incarnation == incarnation)
    }

    /// The workers that may take more than at the last call.
    pub fn take_hungry(&mut self) -> BTreeSet<WorkerId> {
        std::mem::take(&mut self.hungry)
    }

    /// A worker that is known from its assignments only, and lost unless it says hello until then.
    pub fn expect(&mut self, id: WorkerId, incarnation: Incarnation, lost_at: Monotonic) {
        self.due.insert((lost_at, id.clone()));
        let drained = self.drains.has(&id);
        self.workers.insert(id, Worker::new(incarnation, drained, Some(lost_at)));
    }

    pub fn link(&mut self, offer: WorkerOffer, stopping: bool, spared: bool) {
        let (id, incarnation) = (offer.worker_id.clone(), offer.incarnation);
        let member = self.members.get(&id) == Some(&incarnation);
        let drained = self.drains.has(&id);
        self.workers.entry(id.clone()).or_insert_with(|| Worker::new(incarnation, drained, None));
        self.drains.hear(&id);
        let pool = self.pools.join(&offer);
        if let Some(worker) = self.workers.get(&id) {
            self.selectors.leave(&id, &worker.selectors);
        }
        let selectors = self.selectors.join(&offer);
        let mut before = None;
        self.change(&id, |worker| {
            worker.selectors = selectors;
            worker.base_load = if spared { FULL } else { 0 };
            worker.offer = Some(offer);
            before = worker.pool.replace(pool);
            worker.linked = true;
            worker.member = member;
            worker.retired.stopping = stopping;
            worker.due = None;
        });
        if let Some(before) = before {
            self.pools.leave(before);
        }
    }

    pub fn unlink(&mut self, id: &WorkerId, lost_at: Monotonic) {
        self.change(id, |worker| {
            worker.linked = false;
            worker.due = Some(lost_at);
        });
    }

    /// A linked worker gets nothing new until then.
    pub fn rest(&mut self, id: &WorkerId, until: Monotonic) {
        self.change(id, |worker| {
            if worker.linked {
                worker.due = Some(until);
            }
        });
    }

    pub fn wake(&mut self, id: &WorkerId) {
        self.change(id, |worker| worker.due = None);
    }

    /// It gets nothing new for the rest of its life.
    pub fn stop(&mut self, id: &WorkerId) {
        self.change(id, |worker| worker.retired.stopping = true);
    }

    /// Whether it is there, or registered.
    pub fn knows(&self, id: &WorkerId) -> bool {
        self.workers.contains_key(id) || self.members.contains_key(id)
    }

    pub fn set_drained(&mut self, now: Monotonic, id: &WorkerId, drained: bool) {
        self.drains.set(id, drained);
        if drained && self.workers.get(id).is_none_or(|worker| worker.offer.is_none()) {
            self.drains.miss(now, id);
        }
        self.change(id, |worker| worker.retired.drained = drained);
    }

    pub fn set_members(&mut self, members: Vec<Member>) {
        self.members = members.into_iter().map(|member| (member.worker_id, member.incarnation)).collect();
        let standing = |(id, worker): (&WorkerId, &Worker)| {
            let member = self.members.get(id) == Some(&worker.incarnation);
            (member != worker.member).then(|| (id.clone(), member))
        };
        let changed: Vec<_> = self.workers.iter().filter_map(standing).collect();
        for (id, member) in changed {
            self.change(&id, |worker| worker.member = member);
        }
    }

    pub fn set_hold(&mut self, id: &WorkerId, attempt: AttemptId, hold: Hold) {
        self.change(id, |worker| {
            let before = worker.holds.insert(attempt, hold);
            worker.suspects += usize::from(hold.is_suspect());
            worker.suspects -= usize::from(before.is_some_and(Hold::is_suspect));
        });
    }

    pub fn release(&mut self, id: &WorkerId, attempt: &AttemptId) {
        self.change(id, |worker| {
            let before = worker.holds.remove(attempt);
            worker.suspects -= usize::from(before.is_some_and(Hold::is_suspect));
        });
    }

    /// Forgets a worker, and returns the tasks whose current attempts it held.
    pub fn remove(&mut self, id: &WorkerId) -> Vec<TaskId> {
        self.change(id, |worker| {
            worker.linked = false;
            worker.due = None;
        });
        let Some(worker) = self.workers.remove(id) else { return Vec::new() };
        self.selectors.leave(id, &worker.selectors);
        if let Some(pool) = worker.pool {
            self.pools.leave(pool);
        }
        if worker.retired.drained {
            self.drains.stir(id);
        }
        let current =
            |(attempt, hold): (AttemptId, Hold)| matches!(hold, Hold::Current { .. }).then_some(attempt.task_id);
        worker.holds.into_iter().filter_map(current).collect()
    }

    /// Gives every worker without a link this long.
    pub fn grant_grace(&mut self, lost_at: Monotonic) {
        for (_, id) in std::mem::take(&mut self.due) {
            self.change(&id, |worker| worker.due = Some(lost_at));
        }
        self.drains.grant_grace(lost_at);
    }

    pub fn next_due(&self) -> Option<Monotonic> {
        [self.due.first().map(|(at, _)| *at), self.drains.next_due()].into_iter().flatten().min()
    }

    /// The workers whose grace or whose rest is over.
    pub fn overdue(&self, now: Monotonic) -> Vec<WorkerId> {
        self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| id.clone()).collect()
    }

    /// The linked workers, their slots, and how many of these are held.
    pub fn totals(&self) -> (u32, u32, u32) {
        let linked = self.workers.values().filter(|worker| worker.linked);
        linked.fold((0, 0, 0), |(workers, slots, busy), worker| {
            (workers + 1, slots + narrow(worker.slots()), busy + narrow(worker.holds.len()))
        })
    }

    pub fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.workers.values()
    }

    /// Every worker, in the order of ids, after one of them; the drained ones also while they are away.
    pub fn views(&self, after: Option<&WorkerId>) -> impl Iterator<Item = WorkerView> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let known = self.workers.range::<WorkerId, _>((start, Bound::Unbounded)).map(|(id, worker)| worker.view(id));
        let away = self.drains.after(after).filter(|id| !self.workers.contains_key(*id)).map(|id| absent(id, true));
        let (mut known, mut away) = (known.peekable(), away.peekable());
        std::iter::from_fn(move || match (known.peek(), away.peek()) {
            (Some(first), Some(other)) if other.worker_id < first.worker_id => away.next(),
            (Some(_), _) => known.next(),
            (None, _) => away.next(),
        })
    }

    pub fn view(&self, id: &WorkerId) -> Option<WorkerView> {
        let known = self.workers.get(id).map(|worker| worker.view(id));
        known.or_else(|| self.drains.has(id).then(|| absent(id, true)))
    }

    /// Changes one worker and keeps every index in agreement with it.
    fn change(&mut self, id: &WorkerId, change: impl FnOnce(&mut Worker)) {
        let Some(worker) = self.workers.get_mut(id) else { return };
        if let Some((pool, load)) = worker.pool.zip(worker.load()) {
            self.pools.close(pool, &(load, id.clone()));
        }
        if let Some(at) = worker.due {
            self.due.remove(&(at, id.clone()));
        }
        let held = worker.holds.len();
        change(worker);
        if worker.retired.drained && worker.holds.len() != held {
            self.drains.stir(id);
        }
        if let Some((pool, load)) = worker.pool.zip(worker.load()) {
            self.pools.open(pool, load, id.clone());
            self.hungry.insert(id.clone());
        }
        if let Some(at) = worker.due {
            self.due.insert((at, id.clone()));
        }
    }
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
