//! Whose turn it is in a queue that bounds its own starts.
//!
//! Where workers are what is scarce, the worker that has a slot says whose turn it is, among what it takes. Where the queue
//! is, the same rule has to hold among all that waits in it and finds a worker: else those whom few workers take would be
//! passed over at every start, by whoever comes first in the order of kinds, and nobody would count it.

use super::{
    Effect, Scheduler,
    lanes::{Head, OLDEST_EVERY},
    placement::Spared,
    queues::LaneId,
};
use crate::domain::{Now, WorkerId};

/// Who starts the next task of a queue.
struct Seat {
    worker: WorkerId,
    /// Whose oldest task is passed over by a worker that does not take it.
    passes: Option<LaneId>,
}

impl Scheduler {
    /// Starts what a limited queue may start of these lanes of it.
    pub(super) fn share_out(&mut self, now: Now, lanes: &[LaneId], spared: Spared, effects: &mut Vec<Effect>) {
        while let Some(Seat { worker, passes }) = self.next_seat(now, lanes, spared) {
            if let Some(lane) = passes {
                self.queues.pass_over(&lane);
            }
            if !self.feed(now, &worker, effects) {
                return;
            }
        }
    }

    /// Looks at the heads of the lanes, and for a worker only as often as it takes to find one.
    fn next_seat(&self, now: Now, lanes: &[LaneId], spared: Spared) -> Option<Seat> {
        let head = |lane| Some((self.queues.head(lane)?, self.queues.offers(now.monotonic, lane)?, lane));
        let mut heads: Vec<_> = lanes.iter().filter_map(head).collect();
        let seatable = |(head, suspect, lane): &(Head, bool, &'_ LaneId)| {
            let worker = self.fleet.pick(lane, *suspect)?;
            let waits = spared == Spared::Wait && self.is_spared(worker);
            (!waits).then_some((*head, *suspect, worker))
        };
        heads.sort_by_key(|(head, ..)| head.first);
        let (first, _, worker) = heads.iter().find_map(seatable)?;
        heads.sort_by_key(|(head, ..)| head.oldest);
        let mut older = heads.iter().take_while(|(head, ..)| head.oldest < first.oldest);
        let oldest = older.find_map(|entry| Some((seatable(entry)?, entry.2)));
        Some(match oldest {
            Some(((head, _, other), _)) if head.passed + 1 >= OLDEST_EVERY => {
                Seat { worker: other.clone(), passes: None }
            }
            Some(((_, suspect, _), lane)) if !self.fleet.takes(worker, lane, suspect) => {
                Seat { worker: worker.clone(), passes: Some(lane.clone()) }
            }
            // If it passes somebody over, it is the worker that counts it.
            Some(_) | None => Seat { worker: worker.clone(), passes: None },
        })
    }
}
