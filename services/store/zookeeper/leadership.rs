//! The right to write, as its holder sees it. It decides nothing: the commit task writes, the vigil watches.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;
use zookeeper_client::{Client, OwnedLockClient};

use super::{
    commit::{Committer, Won},
    election::Candidacy,
    load::load,
    membership,
    multi::Version,
    orders::{Orders, over},
    paths, vigil,
};
use crate::{
    domain::{Change, Loaded, Term},
    store::{Committing, Leadership, Members, StoreError},
};

pub struct ZooKeeperLeadership {
    term: Term,
    orders: Orders,
    /// For the one load. Not kept after it: the session ends with the last hold on it.
    reader: Option<Client>,
    limit: Duration,
    members: watch::Receiver<Members>,
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
        let (orders, inbox) = Orders::new(lost.clone());
        let won = Won { lock, _candidacy: candidacy };
        let committer = Committer::new(won, term, version, lost).packing(packing);
        tokio::spawn(committer.run(inbox));
        Ok(Self { term, orders, reader: Some(client), limit, members })
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
            () = self.orders.lost().cancelled() => return Err(over()),
            loaded = load(&reader, self.limit) => loaded?,
        };
        self.orders.loaded(known)?;
        Ok(loaded)
    }

    fn members(&self) -> watch::Receiver<Members> {
        self.members.clone()
    }

    fn commit(&mut self, changes: Vec<Change>) -> Committing {
        self.orders.commit(changes)
    }

    fn lost(&self) -> CancellationToken {
        self.orders.lost().clone()
    }

    async fn resign(self: Box<Self>) {
        self.orders.resign().await;
        info!(term = %self.term, "leads no more");
    }
}
