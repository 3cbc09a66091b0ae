//! A standby's watch over the leader. A link that ends without a goodbye is evidence of the leader's death: the first in
//! line takes its leadership away and need not wait for the session to time out. A wrong suspicion costs a re-election
//! and nothing else, for every write is fenced. A timeout is no evidence.

mod dial;

use std::{
    convert::Infallible,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::{SinkExt, Stream, StreamExt};
use tokio::time::{Instant, timeout};

#[cfg(test)]
pub use dial::Incoming;
pub use dial::{Dial, Grpc, Heard, Outgoing};

use crate::{
    domain::Term,
    runtime::heartbeat::{HEARTBEAT, LINK_IDLE_LIMIT},
    store::{Candidate, Leader, Store},
    wire::{LeaderToStandby, StandbyToLeader},
};

/// The first immunity of a leader that came by suspicion: much longer than a takeover takes.
const FIRST_IMMUNITY: Duration = Duration::from_secs(10);
/// It doubles up to this: two masters that cannot reach each other take turns ever more rarely.
const LONGEST_IMMUNITY: Duration = Duration::from_mins(10);
/// Pause before the leader is dialled again.
const DIAL_PAUSE: Duration = Duration::from_millis(200);
/// Longest wait for the election node of a suspect to go.
const DEPOSE_LIMIT: Duration = Duration::from_secs(2);

/// What this candidate's own reign will get, should it win now.
#[derive(Debug, Default)]
pub(super) struct Immunity(Mutex<Duration>);

impl Immunity {
    pub fn of_next_reign(&self) -> Duration {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, immunity: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = immunity;
    }
}

/// What a standby knows of the leader that it is linked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    immune_until: Instant,
    immunity: Duration,
}

impl Known {
    /// The immunity of a successor by suspicion. A leader that outlived its own immunity by as much again had the peace
    /// of a chosen one.
    fn of_successor(self, now: Instant) -> Duration {
        if self.immunity.is_zero() || now > self.immune_until + self.immunity {
            FIRST_IMMUNITY
        } else {
            (self.immunity * 2).min(LONGEST_IMMUNITY)
        }
    }
}

/// How a standby's link ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Evidence of death.
    Broken,
    /// On purpose, or by mere silence.
    Other,
}

/// Watches over the leader until the future is dropped.
pub(super) async fn stand_by(
    store: &dyn Store,
    dialler: &dyn Dial,
    candidate: &Candidate,
    immunity: &Immunity,
) -> Infallible {
    let mut follow = store.follow();
    loop {
        let leader = follow.borrow_and_update().clone();
        if let Some(leader) = leader.filter(|leader| leader.address != candidate.address) {
            let watched = tokio::select! {
                watched = watch(dialler, &leader, candidate) => watched,
                _ = follow.changed() => continue,
            };
            if let Some((End::Broken, known)) = watched {
                suspect(store, &leader, candidate, known, immunity).await;
            }
        }
        // The next look is due when the leader is another one, and soon in any case: this one may be linked again.
        let _ = timeout(DIAL_PAUSE, follow.changed()).await;
    }
}

/// Holds a link to the leader until it ends. None: it never came to be, which is no evidence of anything.
async fn watch(dialler: &dyn Dial, leader: &Leader, candidate: &Candidate) -> Option<(End, Known)> {
    let (mut outgoing, mut incoming) = dialler.dial(&leader.address).await?;
    let hello = StandbyToLeader::Hello { version: env!("CARGO_PKG_VERSION").to_owned(), candidate: candidate.id };
    outgoing.send(hello).await.ok()?;
    let known = welcome(&mut incoming, leader.term).await?;
    tracing::info!(leader = leader.address, term = %leader.term, "standing by");
    let end = tokio::select! {
        end = listen(incoming) => end,
        end = beat(outgoing) => end,
    };
    Some((end, known))
}

async fn welcome(messages: &mut (impl Stream<Item = Heard> + Unpin), expected: Term) -> Option<Known> {
    match timeout(LINK_IDLE_LIMIT, messages.next()).await.ok()?? {
        Ok(LeaderToStandby::Welcome { term, immune_for, immunity }) if term == expected => {
            Some(Known { immune_until: Instant::now() + immune_for, immunity })
        }
        _ => None,
    }
}

async fn listen(mut messages: impl Stream<Item = Heard> + Unpin) -> End {
    loop {
        match timeout(LINK_IDLE_LIMIT, messages.next()).await {
            Ok(Some(Ok(LeaderToStandby::Goodbye))) | Err(_) => return End::Other,
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(end))) => return end,
            Ok(None) => return End::Broken,
        }
    }
}

async fn beat(mut outgoing: Outgoing) -> End {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        if outgoing.send(StandbyToLeader::Heartbeat).await.is_err() {
            // The stream that listens says how it ended.
            std::future::pending::<()>().await;
        }
    }
}

async fn suspect(store: &dyn Store, leader: &Leader, candidate: &Candidate, known: Known, immunity: &Immunity) {
    let now = Instant::now();
    if now < known.immune_until {
        tracing::info!(term = %leader.term, "the leader's link broke, but it is immune to suspicion");
        return;
    }
    // Set first: the candidacy may be won before the answer comes.
    immunity.set(known.of_successor(now));
    match timeout(DEPOSE_LIMIT, store.depose(leader, candidate)).await {
        Ok(Ok(true)) => {
            tracing::warn!(term = %leader.term, leader = leader.address, "deposed a leader whose link broke");
        }
        Ok(Ok(false)) => immunity.set(Duration::ZERO),
        Ok(Err(error)) => tracing::warn!(%error, "it is not known whether the leader was deposed"),
        Err(_) => tracing::warn!("it is not known whether the leader was deposed: no answer"),
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::{dial::heard, *};

    #[test]
    fn masters_that_cannot_reach_each_other_take_turns_ever_more_rarely() {
        let now = Instant::now();
        let mut immunity = Duration::ZERO;
        let mut seen = Vec::new();
        for _ in 0..9 {
            immunity = Known { immune_until: now, immunity }.of_successor(now);
            seen.push(immunity.as_secs());
        }
        assert_eq!(seen, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
    }

    #[tokio::test]
    async fn only_a_link_that_broke_is_evidence_of_death() {
        let refused: Status = crate::wire::LinkRefusal::Silent.into();
        for (message, end) in [(Err(refused), End::Other), (Err(Status::unknown("reset")), End::Broken)] {
            assert_eq!(listen(futures::stream::iter([heard(message)])).await, end);
        }
        assert_eq!(listen(futures::stream::iter([Ok(LeaderToStandby::Goodbye)])).await, End::Other);
        assert_eq!(listen(futures::stream::iter([Ok(LeaderToStandby::Heartbeat)])).await, End::Broken, "end of file");
    }

    #[tokio::test]
    async fn a_leader_that_reigned_in_peace_leaves_the_first_immunity() {
        let ended = Instant::now();
        let known = Known { immune_until: ended, immunity: Duration::from_secs(80) };
        assert_eq!(known.of_successor(ended + Duration::from_secs(81)), FIRST_IMMUNITY);
        assert_eq!(known.of_successor(ended + Duration::from_secs(79)), Duration::from_secs(160));
    }
}
