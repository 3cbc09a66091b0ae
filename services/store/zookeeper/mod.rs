//! The store on ZooKeeper. Only here is it known that there is a ZooKeeper; and here nothing is known of what the changes
//! mean. Each file owns one invariant, said at its head.

mod assemble;
mod commit;
mod draft;
mod election;
mod follow;
mod inspect;
mod known;
mod layout;
mod leadership;
mod load;
mod membership;
mod multi;
mod open_pack;
mod orders;
mod packs;
mod paths;
mod read;
mod session;
#[cfg(test)]
mod tests;
mod verdict;
mod vigil;

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, watch};
use tracing::info;
use zookeeper_client::{Client, SessionState};

pub use inspect::{Entry, inspect};
pub use session::{DEFAULT_CHROOT, ZooKeeperOptions};

use super::{Candidate, Leader, Leadership, Registration, Store, StoreError};
use crate::domain::WorkerOffer;
use election::EndedCandidacies;
use session::Sessions;

/// A store on ZooKeeper. Candidacies, registrations and followers have sessions of their own.
pub struct ZooKeeperStore {
    sessions: Sessions,
    session_timeout: Duration,
    /// The session of the first connection, until a registration takes it (a server admits few connections from one
    /// host by default: 60); otherwise for the store's own questions.
    spare: Mutex<Option<Client>>,
    ended: EndedCandidacies,
    packing: bool,
}

impl ZooKeeperStore {
    /// Connects, within 8 s.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] with the servers and the reason for each; [`StoreError::Broken`] for options that
    /// cannot be used.
    pub async fn connect(options: ZooKeeperOptions) -> Result<Self, StoreError> {
        let sessions = Sessions::new(&options)?;
        let client = sessions.open_patiently().await?;
        let session_timeout = client.session_timeout();
        info!(servers = options.servers_and_chroot, chroot = sessions.chroot(), ?session_timeout, "connected");
        Ok(Self {
            sessions,
            session_timeout,
            spare: Mutex::new(Some(client)),
            ended: EndedCandidacies::default(),
            packing: true,
        })
    }

    /// Whether a leader of this store lets tasks share nodes, as it does unless it is told. Of no matter to anybody else,
    /// and a leader that does not still reads, and clears away, what others packed.
    #[must_use]
    pub fn packing(mut self, packing: bool) -> Self {
        self.packing = packing;
        self
    }

    /// The spare session if it is connected, or a new one.
    async fn session(&self) -> Result<Client, StoreError> {
        match self.spare.lock().await.take() {
            Some(client) if client.state() == SessionState::SyncConnected => Ok(client),
            _ => self.sessions.open().await,
        }
    }
}

#[async_trait]
impl Store for ZooKeeperStore {
    async fn campaign(&self, candidate: &Candidate) -> Result<Box<dyn Leadership>, StoreError> {
        election::campaign(&self.sessions, candidate, &self.ended, self.packing).await
    }

    fn follow(&self) -> watch::Receiver<Option<Leader>> {
        follow::follow(self.sessions.clone())
    }

    async fn register(&self, offer: &WorkerOffer) -> Result<Box<dyn Registration>, StoreError> {
        membership::register(self.session().await?, offer).await
    }

    async fn depose(&self, suspect: &Leader, candidate: &Candidate) -> Result<bool, StoreError> {
        let client = self.session().await?;
        let deposed = election::depose(&client, suspect, candidate).await;
        *self.spare.lock().await = Some(client);
        deposed
    }

    fn session_timeout(&self) -> Duration {
        self.session_timeout
    }
}

/// What the proof drives over a tree in memory: the rules of a commit, and the layout of the tree.
#[cfg(test)]
pub mod proof {
    pub use zookeeper_client::{CreateMode, Error};

    pub use super::{
        assemble::{Found, assemble},
        commit::{Chain, Committer, Place},
        election::announce,
        known::Known,
        multi::{Expect, MultiError, Operations, Version},
        orders::Orders,
    };

    pub mod paths {
        pub use super::super::paths::*;
    }
}
