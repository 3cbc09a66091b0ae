//! The line of candidates: who comes first leads. It knows nothing of what is stored; a place in it is given up by
//! dropping it, so that a candidate that goes away in any manner never blocks the next one.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::Term,
    store::{Candidate, Leader, StoreError},
};

#[derive(Default)]
pub(super) struct Line {
    queue: watch::Sender<Queue>,
    leader: watch::Sender<Option<Leader>>,
}

#[derive(Default)]
struct Queue {
    next_ticket: u64,
    waiting: VecDeque<Entry>,
}

struct Entry {
    ticket: u64,
    candidate: Candidate,
    /// Set once it has announced itself as the leader.
    term: Option<Term>,
    lost: CancellationToken,
}

impl Entry {
    fn is(&self, leader: &Leader) -> bool {
        self.term == Some(leader.term) && self.candidate.address == leader.address
    }
}

impl Line {
    pub(super) fn leader(&self) -> watch::Receiver<Option<Leader>> {
        self.leader.subscribe()
    }

    /// Takes the last place.
    pub(super) fn join(self: &Arc<Self>, candidate: &Candidate) -> Place {
        let lost = CancellationToken::new();
        let mut ticket = 0;
        self.queue.send_modify(|queue| {
            ticket = queue.next_ticket;
            queue.next_ticket += 1;
            queue.waiting.push_back(Entry { ticket, candidate: candidate.clone(), term: None, lost: lost.clone() });
        });
        Place { line: Arc::clone(self), ticket, lost }
    }

    /// True: exactly this leader was removed, with exactly this candidate next behind it.
    pub(super) fn depose(&self, suspect: &Leader, candidate: &Candidate) -> bool {
        let mut deposed = false;
        self.queue.send_if_modified(|queue| {
            let leads = queue.waiting.front().is_some_and(|entry| entry.is(suspect));
            let next = queue.waiting.get(1).is_some_and(|entry| entry.candidate.id == candidate.id);
            if leads && next {
                let ticket = queue.waiting[0].ticket;
                deposed = self.remove(queue, ticket);
            }
            deposed
        });
        deposed
    }

    /// False: it was gone already. Called with the queue locked, so that `leader` never lags behind it.
    fn remove(&self, queue: &mut Queue, ticket: u64) -> bool {
        let Some(at) = queue.waiting.iter().position(|entry| entry.ticket == ticket) else { return false };
        let Some(entry) = queue.waiting.remove(at) else { return false };
        entry.lost.cancel();
        if entry.term.is_some() {
            self.leader.send_replace(None);
        }
        true
    }
}

/// A candidate's place in the line, until it is dropped or deposed.
pub(super) struct Place {
    line: Arc<Line>,
    ticket: u64,
    lost: CancellationToken,
}

impl Place {
    /// Cancelled when the place is no longer held.
    pub(super) fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Waits until nobody is before it.
    pub(super) async fn first(&self) -> Result<(), StoreError> {
        let mut queue = self.line.queue.subscribe();
        let first =
            queue.wait_for(|queue| queue.waiting.front().is_some_and(|entry| entry.ticket == self.ticket)).await;
        first.map(|_| ()).map_err(|_| StoreError::Lost("the line of candidates is gone".into()))
    }

    /// Tells everybody that it leads.
    pub(super) fn announce(&self, term: Term) {
        self.line.queue.send_modify(|queue| {
            if let Some(entry) = queue.waiting.front_mut().filter(|entry| entry.ticket == self.ticket) {
                entry.term = Some(term);
                self.line.leader.send_replace(Some(Leader { address: entry.candidate.address.clone(), term }));
            }
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.line.queue.send_if_modified(|queue| self.line.remove(queue, self.ticket));
    }
}
