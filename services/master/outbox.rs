//! Commit, then send, then answer: the one order of everything that leaves the leader.
//!
//! What follows from events is queued here in order. A commit takes changes from the front; everything that goes out is
//! bound to the commit before it, and leaves when that one is durable. Nothing overtakes. What stands for a commit on its
//! way is the caller's: a future that waits for the store, or whatever a model counts with.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::{
    domain::Change,
    store::{Committing, Doubt, MAX_COMMIT_BYTES, MAX_COMMIT_CHANGES},
};

/// Most commits in flight: enough to hide the store's latency; more only makes each one smaller (measured: with eight, a
/// task in batches costs all processes together a tenth more).
pub(super) const MAX_IN_FLIGHT: usize = 4;
/// Most waiting items before the driver stops taking inputs: some full commits.
const MAX_WAITING: usize = 16 * MAX_COMMIT_CHANGES;
/// The same for what makes work: what fills the next commit, so that what ends tasks has not much before it.
const MAX_WAITING_FOR_CALLS: usize = 4 * MAX_COMMIT_CHANGES;
/// And while there is more to do than the workers take: what else is in a commit makes their way longer.
const MAX_WAITING_WHEN_BEHIND: usize = MAX_COMMIT_CHANGES / 2;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Item<Out> {
    Change(Change),
    /// A commit has to be issued from here on, even an empty one: somebody asks whether this leader still leads.
    Barrier,
    Out(Out),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Commit<Out, OnItsWay> {
    on_its_way: OnItsWay,
    /// What leaves with it.
    outs: Vec<Out>,
    changes: usize,
}

/// A commit on its way to the store.
pub(super) struct Issued {
    committing: Committing,
    at: Instant,
}

impl Issued {
    pub fn now(committing: Committing) -> Self {
        Self { committing, at: Instant::now() }
    }
}

/// What a commit was, for the metrics.
#[derive(Debug, Clone, Copy)]
pub(super) struct Done {
    pub changes: usize,
    pub issue: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Outbox<Out, OnItsWay> {
    waiting: VecDeque<Item<Out>>,
    in_flight: VecDeque<Commit<Out, OnItsWay>>,
    /// What leaves with the commits in flight.
    bound: usize,
    /// Empty: room that was let out of, for the next commit.
    spare: Vec<Out>,
}

impl<Out, OnItsWay> Outbox<Out, OnItsWay> {
    pub fn new() -> Self {
        Self { waiting: VecDeque::new(), in_flight: VecDeque::new(), bound: 0, spare: Vec::new() }
    }

    pub fn change(&mut self, change: Change) {
        self.waiting.push_back(Item::Change(change));
    }

    /// Leaves after everything that was decided before it.
    pub fn out(&mut self, out: Out) {
        self.waiting.push_back(Item::Out(out));
    }

    /// Leaves after a commit that is issued after this call, even an empty one: what it says was true while this leader
    /// still led.
    pub fn answer(&mut self, out: Out) {
        self.waiting.push_back(Item::Barrier);
        self.out(out);
    }

    pub fn has_room(&self) -> bool {
        self.waiting.len() + self.bound < MAX_WAITING
    }

    /// Whether calls may come in; fewer if the workers have more to do than they take.
    pub fn has_room_for_calls(&self, behind: bool) -> bool {
        let most = if behind { MAX_WAITING_WHEN_BEHIND } else { MAX_WAITING_FOR_CALLS };
        self.has_room() && self.waiting.len() < most
    }

    /// Whether the finished may go: where the store is slow, so do they, and little waits behind them.
    pub fn has_room_for_removals(&self) -> bool {
        self.has_room_for_calls(false)
    }

    /// Hardly anything is on its way: there is time for what nobody waits for.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.len() <= 1
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty()
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Issues what can be issued, and returns what may leave at once because nothing before it is in flight.
    pub fn issue(&mut self, mut commit: impl FnMut(Vec<Change>) -> OnItsWay) -> Vec<Out> {
        let mut free = Vec::new();
        while !self.waiting.is_empty() && self.in_flight.len() < MAX_IN_FLIGHT {
            let (changes, barrier, outs) = self.take();
            let bound = outs.len();
            if changes.is_empty() && !barrier {
                match self.in_flight.back_mut() {
                    Some(last) => {
                        self.bound += bound;
                        last.outs.extend(outs);
                    }
                    None => free.extend(outs),
                }
            } else {
                self.bound += bound;
                let count = changes.len();
                self.in_flight.push_back(Commit { on_its_way: commit(changes), outs, changes: count });
            }
        }
        free
    }

    /// The next commit: as many changes as fit, whether it is wanted even without, and what leaves with it. Outs that
    /// come before the first change are alone in theirs, so that they do not wait for it.
    fn take(&mut self) -> (Vec<Change>, bool, Vec<Out>) {
        let likely = self.waiting.len().min(2 * MAX_COMMIT_CHANGES);
        let (mut changes, mut barrier) = (Vec::with_capacity(likely / 2), false);
        let mut outs = std::mem::take(&mut self.spare);
        let mut bytes = 0;
        while let Some(item) = self.waiting.pop_front() {
            match item {
                Item::Out(out) => outs.push(out),
                Item::Barrier | Item::Change(_) if changes.is_empty() && !barrier && !outs.is_empty() => {
                    self.waiting.push_front(item);
                    break;
                }
                Item::Barrier => barrier = true,
                Item::Change(change) => {
                    bytes += change.bytes();
                    let full = changes.len() == MAX_COMMIT_CHANGES || bytes > MAX_COMMIT_BYTES;
                    if full && !changes.is_empty() {
                        self.waiting.push_front(Item::Change(change));
                        break;
                    }
                    changes.push(change);
                }
            }
        }
        (changes, barrier, outs)
    }

    /// Takes back the room of what was let out.
    pub fn reuse(&mut self, mut outs: Vec<Out>) {
        outs.clear();
        if outs.capacity() > self.spare.capacity() {
            self.spare = outs;
        }
    }

    /// The oldest commit in flight is durable. Returns it, what leaves with it, and how many changes it made.
    pub fn landed(&mut self) -> Option<(OnItsWay, Vec<Out>, usize)> {
        let oldest = self.in_flight.pop_front()?;
        self.bound -= oldest.outs.len();
        Some((oldest.on_its_way, oldest.outs, oldest.changes))
    }
}

impl<Out> Outbox<Out, Issued> {
    /// Waits for the oldest commit in flight, and returns what leaves with it. To be called only if there is one.
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// The commit is in doubt, and with it everything after it.
    pub async fn committed(&mut self) -> Result<(Vec<Out>, Done), Doubt> {
        let Some(oldest) = self.in_flight.front_mut() else { return std::future::pending().await };
        (&mut oldest.on_its_way.committing).await?;
        let Some((issued, outs, changes)) = self.landed() else { return std::future::pending().await };
        Ok((outs, Done { changes, issue: issued.at }))
    }
}
