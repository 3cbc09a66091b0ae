//! The seam between the rules and where facts live. Three real implementations stand behind one small trait: ZooKeeper,
//! the embedded database, and memory. No other code knows which one it is on.
//!
//! The store never decides anything about tasks; it makes [`Change`]s durable, in order, for whoever leads.

pub mod embedded;
pub mod zookeeper;

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::domain::{Change, Loaded, Member, Term, WorkerId, WorkerOffer};

/// A process that would lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Fresh for each process.
    pub id: uuid::Uuid,
    /// host:port of its links, as others reach it.
    pub address: String,
}

/// Who leads, as everybody can read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    pub address: String,
    pub term: Term,
}

/// The workers that the store knows as alive.
pub type Members = BTreeMap<WorkerId, Member>;

/// What kept a store from doing something that is not a commit. After any of them the caller starts over.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing answered in time; the message names what was tried.
    #[error("{0}")]
    Unreachable(String),
    /// The tree was written by a Herdsman that this one does not know.
    #[error("the store has format {found}, this program knows {known}")]
    Format { found: String, known: u32 },
    /// The session, or the leadership that the operation belonged to, is over.
    #[error("{0}")]
    Lost(String),
    /// The store itself is broken or misused (no permission, a damaged file, a file in use).
    #[error("{0}")]
    Broken(String),
}

/// Why a commit is not known to have happened. All the same to the caller, on purpose: it may have happened, and the
/// leadership is over.
#[derive(Debug, Clone, thiserror::Error)]
#[error("commit in doubt: {0}")]
pub struct Doubt(pub String);

/// Resolves when the changes are durable. May be polled on any task, or dropped: the commit goes on either way.
pub type Committing = BoxFuture<'static, Result<(), Doubt>>;

#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Waits in line and resolves when this candidate leads: it has won, has announced itself, and nobody of an earlier
    /// term can write any more. Each call is a candidacy of its own, on a session of its own; dropping the future leaves
    /// the line.
    ///
    /// # Errors
    /// Any trouble on the way ends the candidacy; campaign again.
    async fn campaign(&self, candidate: &Candidate) -> Result<Box<dyn Leadership>, StoreError>;

    /// Who leads, kept up to date until every clone of the receiver is dropped. None: nobody, or not known. Survives
    /// the loss of sessions.
    fn follow(&self) -> watch::Receiver<Option<Leader>>;

    /// Makes a worker a member, in place of any earlier incarnation of the same id.
    ///
    /// # Errors
    /// The membership did not come to be, as far as is known; register again.
    async fn register(&self, offer: &WorkerOffer) -> Result<Box<dyn Registration>, StoreError>;

    /// Takes the leadership away from exactly this leader, if `candidate` is first in line behind it. True: it was
    /// taken. Safe on a wrong suspicion: every write of the leader is fenced, so that it notices at the next one.
    ///
    /// # Errors
    /// Not known whether it was taken.
    async fn depose(&self, suspect: &Leader, candidate: &Candidate) -> Result<bool, StoreError>;

    /// How long a process may be cut off before the store holds it for dead.
    fn session_timeout(&self) -> Duration;
}

/// The right to write, for one term. Only its holder can commit, however late anybody else wakes.
#[async_trait]
pub trait Leadership: Send + 'static {
    fn term(&self) -> Term;

    /// Reads everything; once, before the first commit.
    ///
    /// # Errors
    /// The leadership is over.
    async fn load(&mut self) -> Result<Loaded, StoreError>;

    /// The members, kept up to date while the leadership lasts.
    fn members(&self) -> watch::Receiver<Members>;

    /// Makes the changes durable, all or none, after those of every earlier call and only if those became durable.
    /// Returns at once, with the write on its way. Without changes it proves that the leadership still held after the
    /// call. The caller keeps [`MAX_COMMIT_BYTES`] and [`MAX_COMMIT_CHANGES`], and bounds the commits in flight.
    ///
    /// A change's own memory of what is in the store (first or second status, first assignment of a worker) is the
    /// store's business.
    fn commit(&mut self, changes: Vec<Change>) -> Committing;

    /// Cancelled when the leadership is over or can no longer be counted on.
    fn lost(&self) -> CancellationToken;

    /// Gives the leadership up, so that the next in line has it at once. Commits in flight are in doubt.
    async fn resign(self: Box<Self>);
}

/// A worker's membership.
#[async_trait]
pub trait Registration: Send + 'static {
    /// Cancelled when the membership may have ended without being asked to; register again.
    fn lost(&self) -> CancellationToken;

    /// Ends it at once.
    async fn unregister(self: Box<Self>);
}

/// ZooKeeper drops a connection that sends more than 1 MiB (jute.maxbuffer) and takes its neighbours along; half leaves
/// room for the estimate of [`Change::bytes`] to be wrong.
pub const MAX_COMMIT_BYTES: usize = 512 * 1024;
/// A multi of 4,000 small operations passed, one of 10,000 did not; a change is at most three operations. A little more
/// than a worker has slots, so that what a lost worker held can go back in one commit.
pub const MAX_COMMIT_CHANGES: usize = 1_024;
