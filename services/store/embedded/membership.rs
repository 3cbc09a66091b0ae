//! Who of the workers is alive, as far as this process knows: a worker is a member while it holds its seat.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Member, WorkerId, WorkerOffer},
    store::Members,
};

#[derive(Default)]
pub(super) struct Membership {
    seats: Mutex<Seats>,
    members: watch::Sender<Members>,
}

#[derive(Default)]
struct Seats {
    next_number: u64,
    taken: BTreeMap<WorkerId, (u64, CancellationToken)>,
}

impl Membership {
    pub(super) fn members(&self) -> watch::Receiver<Members> {
        self.members.subscribe()
    }

    /// Seats a worker, in place of whoever had its id.
    pub(super) fn seat(self: &Arc<Self>, offer: &WorkerOffer) -> Seat {
        let worker_id = offer.worker_id.clone();
        let lost = CancellationToken::new();
        let member = Member { worker_id: worker_id.clone(), incarnation: offer.incarnation };
        let number = self.change(|seats, members| {
            let number = seats.next_number;
            seats.next_number += 1;
            if let Some((_, earlier)) = seats.taken.insert(worker_id.clone(), (number, lost.clone())) {
                earlier.cancel();
            }
            members.insert(worker_id.clone(), member);
            number
        });
        Seat { membership: Arc::clone(self), worker_id, number, lost }
    }

    fn leave(&self, worker_id: &WorkerId, number: u64) {
        self.change(|seats, members| {
            if seats.taken.get(worker_id).is_some_and(|(taken, _)| *taken == number) {
                seats.taken.remove(worker_id);
                members.remove(worker_id);
            }
        });
    }

    /// Changes seats and members as one.
    fn change<T>(&self, change: impl FnOnce(&mut Seats, &mut Members) -> T) -> T {
        let mut seats = self.seats.lock().expect("nothing that holds it panics");
        let mut result = None;
        self.members.send_modify(|members| result = Some(change(&mut seats, members)));
        result.expect("send_modify calls its function once")
    }
}

/// A worker's membership, until it is dropped or another incarnation takes it.
pub(super) struct Seat {
    membership: Arc<Membership>,
    worker_id: WorkerId,
    number: u64,
    lost: CancellationToken,
}

impl Seat {
    /// Cancelled when another incarnation took the seat.
    pub(super) fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.membership.leave(&self.worker_id, self.number);
    }
}
