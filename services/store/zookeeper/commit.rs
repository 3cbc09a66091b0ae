//! Commits happen in the order of their calls, or not at all. Every request checks the leader's own node in the line (the
//! fence: a deposed leader cannot write) and moves the version of `/tasks` from the one that the request before it left
//! (the chain: what is in flight behind a failed request fails too). The first result that is not a clean success ends it
//! all; nothing is sent again.

use std::time::Duration;

use futures::{StreamExt, stream::FuturesOrdered};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use zookeeper_client::{Error, OwnedLockClient, SessionState};

use super::{
    draft::{Draft, Names},
    election::Candidacy,
    known::Known,
    multi::{Expect, Multi, MultiError, Operations, Version},
    orders::{Order, Reply},
    paths,
};
use crate::{
    domain::{Change, Term},
    store::Doubt,
};

/// Requests on their way at once: more gain nothing (measured from 16 on), and with half a MiB each this is what the
/// client library may hold.
const IN_FLIGHT: usize = 64;

/// A leader's place in the line, and the session that holds it. Dropping it leaves the line.
pub trait Place: Send + Sync + 'static {
    type Write<'a>: Operations + Send + 'a;

    /// The path of its node.
    fn path(&self) -> &str;
    /// After which an answer is not waited for any more.
    fn session_timeout(&self) -> Duration;
    /// The session's state, if it is anything but connected.
    fn trouble(&self) -> Option<String>;
    fn write(&self) -> Self::Write<'_>;
    /// Sends at once; the future is only the answer.
    fn send<'a>(&'a self, write: Self::Write<'a>) -> impl Future<Output = Result<(), MultiError>> + Send + 'a;
}

/// The place that the lock recipe has won.
pub struct Won {
    pub lock: OwnedLockClient,
    /// Ends after the lock, so that the end is remembered when it has begun.
    pub _candidacy: Candidacy,
}

impl Place for Won {
    type Write<'a> = Multi<'a>;

    fn path(&self) -> &str {
        self.lock.lock_path()
    }

    fn session_timeout(&self) -> Duration {
        self.lock.client().session_timeout()
    }

    fn trouble(&self) -> Option<String> {
        let state = self.lock.client().state();
        (state != SessionState::SyncConnected).then(|| state.to_string())
    }

    fn write(&self) -> Multi<'_> {
        Multi::new(self.lock.client())
    }

    fn send<'a>(&'a self, write: Multi<'a>) -> impl Future<Output = Result<(), MultiError>> + Send + 'a {
        write.commit()
    }
}

/// Owns the place of a leadership, and writes on its session.
pub struct Committer<P> {
    place: P,
    chain: Chain,
    known: Known,
    lost: CancellationToken,
}

/// Where the next request follows on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Chain {
    /// The data of `/tasks`, which every commit writes: the term.
    term: String,
    /// None: the next version is the one that cannot be expected, and the chain ends.
    version: Option<Version>,
    names: Names,
    packing: bool,
}

impl<P: Place> Committer<P> {
    pub fn new(place: P, term: Term, version: Version, lost: CancellationToken) -> Self {
        Self { place, chain: Chain::new(term, version), known: Known::default(), lost }
    }

    /// As [`Chain::packing`].
    #[must_use]
    pub fn packing(mut self, packing: bool) -> Self {
        self.chain = self.chain.packing(packing);
        self
    }

    /// Serves the orders until the leadership is over. What was ordered and is not answered by then is in doubt: its
    /// reply is dropped.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let limit = self.place.session_timeout();
        let resigned = self.serve(&mut orders, limit).await;
        self.lost.cancel();
        if let Some(resigned) = resigned {
            self.give_up(limit).await;
            // The holder may have stopped waiting.
            let _ = resigned.send(());
        }
    }

    async fn serve(&mut self, orders: &mut mpsc::Receiver<Order>, limit: Duration) -> Option<oneshot::Sender<()>> {
        let Self { place, chain, known, lost } = self;
        let mut in_flight = FuturesOrdered::new();
        loop {
            tokio::select! {
                biased;
                () = lost.cancelled() => return None,
                Some((reply, result)) = in_flight.next(), if !in_flight.is_empty() => {
                    if !answer(reply, result) {
                        return None;
                    }
                }
                order = orders.recv(), if in_flight.len() < IN_FLIGHT => match order? {
                    Order::Loaded(found) => *known = *found,
                    Order::Resign(resigned) => return Some(resigned),
                    Order::Commit(changes, reply) => match request(place, chain, known, &changes) {
                        Ok(write) => {
                            // On its way from here on; only the answer is waited for below.
                            let committed = timeout(limit, place.send(write));
                            in_flight.push_back(async move {
                                let result = match committed.await {
                                    Ok(result) => result.map_err(|error| Doubt(error.to_string())),
                                    Err(_) => Err(Doubt(format!("no answer within {limit:?}"))),
                                };
                                (reply, result)
                            });
                        }
                        Err(doubt) => {
                            answer(reply, Err(doubt));
                            return None;
                        }
                    }
                },
            }
        }
    }

    /// Hands over at once: the node in the line goes, and with it nobody is announced any more.
    async fn give_up(&self, limit: Duration) {
        let place = &self.place;
        let removed = |with_master: bool| {
            let mut write = place.write();
            write.delete(place.path().to_owned(), Expect::Present)?;
            if with_master {
                write.delete(paths::MASTER.to_owned(), Expect::Present)?;
            }
            Ok::<_, Error>(timeout(limit, place.send(write)))
        };
        for with_master in [true, false] {
            if place.trouble().is_some() {
                break;
            }
            if let Ok(answer) = removed(with_master)
                && let Ok(Ok(())) = answer.await
            {
                return;
            }
        }
        // The end of the session, which follows, does the same a little later.
        warn!(path = place.path(), "could not leave the line");
    }
}

/// The request of one commit. After an error nothing may follow.
fn request<'a, P: Place>(
    place: &'a P,
    chain: &mut Chain,
    known: &mut Known,
    changes: &[Change],
) -> Result<P::Write<'a>, Doubt> {
    if let Some(state) = place.trouble() {
        return Err(Doubt(format!("the session is {state}")));
    }
    let mut write = place.write();
    chain.follow_on(place.path(), known, changes, &mut write)?;
    Ok(write)
}

impl Chain {
    pub fn new(term: Term, version: Version) -> Self {
        Self { term: term.to_string(), version: Some(version), names: Names::new(term), packing: false }
    }

    /// Whether what comes in one commit shares nodes.
    #[must_use]
    pub fn packing(mut self, packing: bool) -> Self {
        self.packing = packing;
        self
    }

    /// Puts one commit together, behind the one before it. After an error nothing may follow.
    ///
    /// # Errors
    /// The commit cannot be put into operations.
    pub fn follow_on(
        &mut self,
        fence: &str,
        known: &mut Known,
        changes: &[Change],
        operations: &mut impl Operations,
    ) -> Result<(), Doubt> {
        let version = self.version.ok_or_else(|| Doubt("the versions of /tasks have to begin anew".into()))?;
        let added = (|| {
            operations.check(fence.to_owned(), Expect::Present)?;
            operations.set(paths::TASKS.to_owned(), self.term.as_bytes(), Expect::Version(version))?;
            let mut draft = Draft::new(known, &mut self.names, self.packing, operations);
            changes.iter().try_for_each(|change| draft.add(change))?;
            draft.finish()
        })();
        added.map_err(|error: Error| Doubt(error.to_string()))?;
        self.version = version.next();
        Ok(())
    }
}

/// False: the leadership is over. Whoever asked may have stopped waiting, which changes nothing.
fn answer(reply: Reply, result: Result<(), Doubt>) -> bool {
    let clean = result.is_ok();
    if let Err(doubt) = &result {
        warn!(%doubt, "the leadership ends");
    }
    let _ = reply.send(result);
    clean
}
