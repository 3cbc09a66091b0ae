//! Finds the leader, keeps a link to it, and finds the next one.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Dial, LinkState, Notice, Request,
    calls::Calls,
    link::{Link, LinkEnd},
};
use crate::{
    domain::Term,
    runtime::heartbeat::{HEARTBEAT, LINK_IDLE_LIMIT},
    store::Leader,
};

/// The first wait after a failed attempt; the attempt before it was made at once.
const FIRST_DELAY: Duration = Duration::from_millis(25);
/// The longest wait: a leader is back, or another one there, within seconds, and an attempt is cheap.
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// Waits between attempts: none, then doubling, each cut by up to a half so that client services do not knock together.
#[derive(Debug, Default)]
struct BackOff {
    attempts: u32,
}

impl BackOff {
    fn next_delay(&mut self) -> Duration {
        let doublings = self.attempts.checked_sub(1);
        self.attempts = self.attempts.saturating_add(1);
        let Some(doublings) = doublings else { return Duration::ZERO };
        let full = FIRST_DELAY.saturating_mul(1 << doublings.min(16)).min(LONGEST_DELAY);
        let cut = u32::try_from(RandomState::new().hash_one(doublings) % 512).unwrap_or(0);
        full * (1_024 - cut) / 1_024
    }
}

struct Driver {
    dialler: Arc<dyn Dial>,
    leader: watch::Receiver<Option<Leader>>,
    requests: mpsc::Receiver<Request>,
    notices: mpsc::Sender<Notice>,
    state: watch::Sender<LinkState>,
    /// Shared by the two halves of a link, which run in this one task; never held across an await.
    calls: Mutex<Calls>,
    links: u64,
}

pub(super) async fn run(
    dialler: Arc<dyn Dial>,
    leader: watch::Receiver<Option<Leader>>,
    requests: mpsc::Receiver<Request>,
    notices: mpsc::Sender<Notice>,
    state: watch::Sender<LinkState>,
    shutdown: CancellationToken,
) {
    let calls = Mutex::default();
    let mut driver = Driver { dialler, leader, requests, notices, state, calls, links: 0 };
    let mut back_off = BackOff::default();
    loop {
        let leader = tokio::select! {
            leader = driver.known_leader() => leader,
            () = shutdown.cancelled() => None,
        };
        let Some(leader) = leader else { return };
        let start = Instant::now();
        let end = driver.link(&leader, &shutdown).await;
        if matches!(end, LinkEnd::Stopped) {
            return;
        }
        tracing::info!(address = leader.address, term = leader.term.0, reason = %end, "no link to the leader");
        if start.elapsed() >= HEARTBEAT {
            back_off = BackOff::default();
        }
        tokio::select! {
            () = sleep(back_off.next_delay()) => {}
            () = driver.other_leader(&leader) => back_off = BackOff::default(),
            () = shutdown.cancelled() => return,
        }
    }
}

impl Driver {
    fn highest_term(&self) -> Term {
        self.state.borrow().term
    }

    /// The leader as the store has it, once it has one that is not older than one seen before. None: the store is gone.
    async fn known_leader(&mut self) -> Option<Leader> {
        let highest = self.highest_term();
        let current = |leader: &Option<Leader>| leader.as_ref().is_some_and(|leader| leader.term >= highest);
        self.leader.wait_for(current).await.ok().and_then(|leader| leader.clone())
    }

    /// Resolves when the store has another leader than this one; none is not another.
    async fn other_leader(&mut self, than: &Leader) {
        let highest = self.highest_term();
        let other =
            |leader: &Option<Leader>| leader.as_ref().is_some_and(|leader| leader != than && leader.term >= highest);
        if self.leader.wait_for(other).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn link(&mut self, leader: &Leader, shutdown: &CancellationToken) -> LinkEnd {
        let opened = tokio::select! {
            opened = timeout(LINK_IDLE_LIMIT, self.dialler.dial(&leader.address)) => opened,
            () = shutdown.cancelled() => return LinkEnd::Stopped,
        };
        let (outgoing, incoming) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return LinkEnd::Lost(error),
            Err(_) => return LinkEnd::Silent,
        };
        let mut link = Link { outgoing, incoming, calls: &self.calls };
        let welcome = tokio::select! {
            welcome = link.greet(self.state.borrow().term) => welcome,
            () = shutdown.cancelled() => return LinkEnd::Stopped,
        };
        let term = match welcome {
            Ok(term) => term,
            Err(end) => return end,
        };
        self.links += 1;
        tracing::info!(address = leader.address, term = term.0, "linked to the leader");
        self.state.send_replace(LinkState { up: true, term, since: Instant::now() });
        // The hub ends only after the link.
        let _ = self.notices.send(Notice::Up { link: self.links }).await;
        let mut changes = self.leader.clone();
        let stop = async {
            tokio::select! {
                Ok(_) = changes.wait_for(|known| known.as_ref().is_some_and(|known| known.term > term)) => {
                    LinkEnd::Superseded
                }
                () = shutdown.cancelled() => LinkEnd::Stopped,
            }
        };
        let end = link.carry(self.links, &mut self.requests, &self.notices, stop).await;
        self.state.send_replace(LinkState { up: false, term, since: Instant::now() });
        let _ = self.notices.send(Notice::Down).await;
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_attempt_is_at_once_and_no_wait_is_longer_than_the_longest() {
        let mut back_off = BackOff::default();
        assert_eq!(back_off.next_delay(), Duration::ZERO);
        for _ in 0..100 {
            let delay = back_off.next_delay();
            assert!(delay >= FIRST_DELAY / 2 && delay <= LONGEST_DELAY, "{delay:?}");
        }
    }
}
