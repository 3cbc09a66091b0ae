//! The store of `herdsman dev`: one file under the data directory, or memory only, with master, worker and client
//! service in one process. Facts are on disk when a commit returns; election and membership live in the process and end
//! with it.
//!
//! It refuses to be shared: a second process on the same directory is turned away. It never goes on after a failed
//! write, because memory and disk may differ then: it ends the process.

mod file;
mod line;
mod membership;
mod owner;
mod tables;
#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::{
    line::{Line, Place},
    membership::{Membership, Seat},
    owner::OwnerThread,
};
use super::{Candidate, Committing, Doubt, Leader, Leadership, Members, Registration, Store, StoreError};
use crate::domain::{Change, Loaded, Term, WorkerOffer};

/// Nobody can be cut off from a store in its own process. What remains is how long a new leader waits for the workers
/// that it finds in the assignments: as long as for one that lost its link.
const SESSION_TIMEOUT: Duration = Duration::from_secs(2);

/// A store in this process; shared by everybody in it as an `Arc`.
pub struct EmbeddedStore {
    owner: Arc<OwnerThread>,
    line: Arc<Line>,
    membership: Arc<Membership>,
}

impl EmbeddedStore {
    /// Opens the store in the directory `path`, and makes both where they are missing. Reads and checks the whole file.
    ///
    /// Dropping the store and everything that came from it closes the file, and waits for that.
    ///
    /// # Errors
    /// The directory cannot be used, another process has it, or the file is damaged or of another format.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        file::open(path).and_then(Self::over)
    }

    /// A store without a file, for one life of the process.
    ///
    /// # Errors
    /// No memory or no thread for it.
    pub fn in_memory() -> Result<Self, StoreError> {
        file::in_memory().and_then(Self::over)
    }

    fn over(file: file::StoreFile) -> Result<Self, StoreError> {
        Ok(Self {
            owner: Arc::new(OwnerThread::spawn(file)?),
            line: Arc::new(Line::default()),
            membership: Arc::new(Membership::default()),
        })
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn campaign(&self, candidate: &Candidate) -> Result<Box<dyn Leadership>, StoreError> {
        let place = self.line.join(candidate);
        place.first().await?;
        let term = self.owner.lead(place.lost()).await?;
        place.announce(term);
        let membership = Arc::clone(&self.membership);
        Ok(Box::new(EmbeddedLeadership { term, place, owner: Arc::clone(&self.owner), membership }))
    }

    fn follow(&self) -> watch::Receiver<Option<Leader>> {
        self.line.leader()
    }

    async fn register(&self, offer: &WorkerOffer) -> Result<Box<dyn Registration>, StoreError> {
        Ok(Box::new(EmbeddedRegistration(self.membership.seat(offer))))
    }

    async fn depose(&self, suspect: &Leader, candidate: &Candidate) -> Result<bool, StoreError> {
        Ok(self.line.depose(suspect, candidate))
    }

    fn session_timeout(&self) -> Duration {
        SESSION_TIMEOUT
    }
}

/// Ends when it is dropped.
struct EmbeddedLeadership {
    term: Term,
    place: Place,
    owner: Arc<OwnerThread>,
    membership: Arc<Membership>,
}

#[async_trait]
impl Leadership for EmbeddedLeadership {
    fn term(&self) -> Term {
        self.term
    }

    async fn load(&mut self) -> Result<Loaded, StoreError> {
        self.owner.load(self.term).await
    }

    fn members(&self) -> watch::Receiver<Members> {
        self.membership.members()
    }

    fn commit(&mut self, changes: Vec<Change>) -> Committing {
        // Once a commit was refused, no later one may get through: a full queue ends the leadership.
        let lost = self.place.lost();
        if lost.is_cancelled() {
            return Box::pin(async { Err(Doubt("the leadership is over".into())) });
        }
        match self.owner.commit(self.term, changes) {
            Ok(committing) => committing,
            Err(doubt) => {
                lost.cancel();
                Box::pin(async { Err(doubt) })
            }
        }
    }

    fn lost(&self) -> CancellationToken {
        self.place.lost()
    }

    async fn resign(self: Box<Self>) {}
}

/// Ends when it is dropped.
struct EmbeddedRegistration(Seat);

#[async_trait]
impl Registration for EmbeddedRegistration {
    fn lost(&self) -> CancellationToken {
        self.0.lost()
    }

    async fn unregister(self: Box<Self>) {}
}
