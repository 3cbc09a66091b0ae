//! Finds the leader, keeps a link to it, and finds the next one.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    Dial, LinkState, Notice, Request,
    calls::Calls,
    link::{Link, LinkEnd},
};
use crate::{
    domain::Term,
    runtime::{backoff::Backoff, heartbeat::HEARTBEAT},
    store::Leader,
};

/// The first wait after a failed attempt; the attempt before it was made at once.
const FIRST_DELAY: Duration = Duration::from_millis(25);
/// The longest wait: a leader is back, or another one there, within seconds, and an attempt is cheap.
const LONGEST_DELAY: Duration = Duration::from_secs(1);

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
    let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
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
            backoff.reset();
        }
        tokio::select! {
            () = sleep(backoff.next_wait(&leader)) => {}
            () = driver.other_leader(&leader) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

impl Driver {
    fn highest_term(&self) -> Term {
        self.state.borrow().term
    }

    /// The leader as the store has it, once it has one that is not older than one seen before. None: the store is gone.
    async fn known_leader(&self) -> Option<Leader> {
        let highest = self.highest_term();
        let current = |leader: &Option<Leader>| leader.as_ref().is_some_and(|leader| leader.term >= highest);
        self.leader.clone().wait_for(current).await.ok().and_then(|leader| leader.clone())
    }

    /// Resolves when the store has another leader than this one; none is not another.
    async fn other_leader(&self, than: &Leader) {
        let highest = self.highest_term();
        let other =
            |leader: &Option<Leader>| leader.as_ref().is_some_and(|leader| leader != than && leader.term >= highest);
        if self.leader.clone().wait_for(other).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn link(&mut self, leader: &Leader, shutdown: &CancellationToken) -> LinkEnd {
        let opened = tokio::select! {
            opened = Link::open(&*self.dialler, &leader.address, self.highest_term(), &self.calls) => opened,
            // A leader that hangs still accepts: what tells is that another one leads.
            () = self.other_leader(leader) => Err(LinkEnd::Superseded),
            () = shutdown.cancelled() => Err(LinkEnd::Stopped),
        };
        let (link, term) = match opened {
            Ok(opened) => opened,
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
    use futures::{SinkExt, StreamExt, poll};

    use super::*;
    use crate::client::leader_link::{Incoming, LinkError, Outgoing};

    /// A leader that hangs: it may still be dialled, but it never says a word.
    struct Hangs {
        accepts: bool,
    }

    #[async_trait::async_trait]
    impl Dial for Hangs {
        async fn dial(&self, _: &str) -> Result<(Outgoing, Incoming), LinkError> {
            if !self.accepts {
                std::future::pending::<()>().await;
            }
            let outgoing = futures::sink::drain().sink_map_err(|never| match never {});
            Ok((Box::pin(outgoing), futures::stream::pending().boxed()))
        }
    }

    #[tokio::test]
    async fn a_leader_that_hangs_is_left_as_soon_as_another_one_is_known() {
        for accepts in [false, true] {
            let hung = Leader { address: "here:1".into(), term: Term(1) };
            let known = watch::Sender::new(Some(hung.clone()));
            let mut driver = Driver {
                dialler: Arc::new(Hangs { accepts }),
                leader: known.subscribe(),
                requests: mpsc::channel(1).1,
                notices: mpsc::channel(1).0,
                state: watch::Sender::new(LinkState { up: false, term: Term(1), since: Instant::now() }),
                calls: Mutex::default(),
                links: 0,
            };
            let shutdown = CancellationToken::new();
            let mut attempt = std::pin::pin!(driver.link(&hung, &shutdown));
            assert!(poll!(&mut attempt).is_pending());
            known.send_replace(None);
            assert!(poll!(&mut attempt).is_pending());
            known.send_replace(Some(Leader { address: "there:1".into(), term: Term(2) }));
            // Polled once: no time passes.
            assert!(matches!(poll!(&mut attempt), std::task::Poll::Ready(LinkEnd::Superseded)), "accepts: {accepts}");
        }
    }
}
