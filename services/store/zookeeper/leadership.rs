//! The right to write, as its holder sees it. It decides nothing: the commit task writes, the vigil watches.

use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::info;
use zookeeper_client::{Client, OwnedLockClient};

use super::{
    commit::{Committer, Order, Won},
    election::Candidacy,
    load::load,
    membership,
    multi::Version,
    paths, vigil,
};
use crate::{
    domain::{Change, Loaded, Term},
    store::{Committing, Doubt, Leadership, Members, StoreError},
};

/// Commits that wait to be sent. The caller bounds its own commits in flight far below; who passes this has lost count,
/// and is better stopped than served.
const QUEUED_COMMITS: usize = 1_024;

pub struct ZooKeeperLeadership {
    term: Term,
    orders: mpsc::Sender<Order>,
    /// For the one load. Not kept after it: the session ends with the last hold on it.
    reader: Option<Client>,
    limit: Duration,
    members: watch::Receiver<Members>,
    lost: CancellationToken,
}

impl ZooKeeperLeadership {
    /// Everything that a leadership needs, on the session of its candidacy; `version` is where its chain begins.
    pub async fn begin(
        lock: OwnedLockClient,
        candidacy: Candidacy,
        term: Term,
        version: Version,
        packing: bool,
    ) -> Result<Self, StoreError> {
        let client = lock.client().clone();
        let limit = client.session_timeout();
        let lost = CancellationToken::new();
        let members = membership::follow(client.clone(), lost.clone()).await?;
        // A leader whose announcement is gone, or names another, is found by nobody new: it leads again under another term.
        for path in [lock.lock_path(), paths::MASTER] {
            tokio::spawn(vigil::keep_vigil(client.clone(), path.to_owned(), lost.clone()));
        }
        let (orders, inbox) = mpsc::channel(QUEUED_COMMITS);
        let won = Won { lock, _candidacy: candidacy };
        let committer = Committer::new(won, term, version, lost.clone()).packing(packing);
        tokio::spawn(committer.run(inbox));
        Ok(Self { term, orders, reader: Some(client), limit, members, lost })
    }
}

#[async_trait]
impl Leadership for ZooKeeperLeadership {
    fn term(&self) -> Term {
        self.term
    }

    async fn load(&mut self) -> Result<Loaded, StoreError> {
        let reader = self.reader.take().ok_or_else(|| StoreError::Broken("a leadership loads once".into()))?;
        let (loaded, known) = tokio::select! {
            () = self.lost.cancelled() => return Err(over()),
            loaded = load(&reader, self.limit) => loaded?,
        };
        self.orders.try_send(Order::Loaded(known)).map_err(|_| over())?;
        Ok(loaded)
    }

    fn members(&self) -> watch::Receiver<Members> {
        self.members.clone()
    }

    fn commit(&mut self, changes: Vec<Change>) -> Committing {
        let (reply, answer) = oneshot::channel();
        if self.orders.try_send(Order::Commit(changes, reply)).is_err() {
            self.lost.cancel();
        }
        async { answer.await.unwrap_or_else(|_| Err(Doubt("the leadership is over".into()))) }.boxed()
    }

    fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    async fn resign(self: Box<Self>) {
        let (reply, done) = oneshot::channel();
        if self.orders.send(Order::Resign(reply)).await.is_ok() {
            // An error: it was over already.
            let _ = done.await;
        }
        info!(term = %self.term, "leads no more");
    }
}

impl Drop for ZooKeeperLeadership {
    fn drop(&mut self) {
        self.lost.cancel();
    }
}

fn over() -> StoreError {
    StoreError::Lost("the leadership is over".into())
}
