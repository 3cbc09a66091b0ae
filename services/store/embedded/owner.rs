//! The one thread that reads and writes the file. It takes orders from a bounded queue, one after the other, puts the
//! commits that wait into one write, and answers after fsync.
//!
//! It never goes on after a failed write: what is on disk is not known then, so it ends the process.

use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{file::StoreFile, tables::Refused};
use crate::{
    domain::{Change, Loaded, Term},
    store::{Committing, Doubt, StoreError},
};

/// Commits in flight. A leader keeps a few; this many means that it does not bound them.
const MAX_WAITING: usize = 256;
/// Commits in one write: what shares one fsync, and what is in doubt together.
const MAX_GROUP: usize = 64;

enum Order {
    Lead { lost: CancellationToken, reply: oneshot::Sender<Term> },
    Load { term: Term, reply: oneshot::Sender<Result<Loaded, StoreError>> },
    Commit(Commit),
}

struct Commit {
    term: Term,
    changes: Vec<Change>,
    reply: oneshot::Sender<Result<(), Doubt>>,
}

/// The handle of the thread. Dropping it lets the thread finish what waits, close the file and end.
pub(super) struct OwnerThread {
    /// None: being dropped.
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl OwnerThread {
    pub(super) fn spawn(file: StoreFile) -> Result<Self, StoreError> {
        let (orders, inbox) = mpsc::channel(MAX_WAITING);
        let thread = std::thread::Builder::new()
            .name("herdsman-store".into())
            .spawn(move || Owner { orders: inbox, file, leading: None }.run())
            .map_err(|error| StoreError::Broken(format!("cannot start the store's thread: {error}")))?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Begins a new term, durably; the one before can write no more. `lost` is cancelled when the term ends here.
    pub(super) async fn lead(&self, lost: CancellationToken) -> Result<Term, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Order::Lead { lost, reply }).await?;
        answer.await.map_err(|_| ended())
    }

    pub(super) async fn load(&self, term: Term) -> Result<Loaded, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Order::Load { term, reply }).await?;
        answer.await.map_err(|_| ended())?
    }

    /// Puts a commit in line, or refuses it at once.
    pub(super) fn commit(&self, term: Term, changes: Vec<Change>) -> Result<Committing, Doubt> {
        let (reply, answer) = oneshot::channel();
        let orders = self.orders.as_ref().ok_or_else(|| Doubt(ended().to_string()))?;
        orders.try_send(Order::Commit(Commit { term, changes, reply })).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Doubt(format!("more than {MAX_WAITING} commits in flight")),
            mpsc::error::TrySendError::Closed(_) => Doubt(ended().to_string()),
        })?;
        Ok(Box::pin(async { answer.await.unwrap_or_else(|_| Err(Doubt(ended().to_string()))) }))
    }

    async fn send(&self, order: Order) -> Result<(), StoreError> {
        self.orders.as_ref().ok_or_else(ended)?.send(order).await.map_err(|_| ended())
    }
}

impl Drop for OwnerThread {
    fn drop(&mut self) {
        self.orders = None;
        // Waiting makes the file free for the next open; what waits is at most a queue of commits.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn ended() -> StoreError {
    StoreError::Broken("the store's thread has ended".into())
}

struct Owner {
    orders: mpsc::Receiver<Order>,
    file: StoreFile,
    /// None: nobody led yet, or the last leadership asked for what cannot be.
    leading: Option<(Term, CancellationToken)>,
}

impl Owner {
    fn run(mut self) {
        let mut next = None;
        while let Some(order) = next.take().or_else(|| self.orders.blocking_recv()) {
            match order {
                Order::Lead { lost, reply } => {
                    let term = survive(self.file.tables.next_term());
                    self.leading = Some((term, lost));
                    let _ = reply.send(term);
                }
                Order::Load { term, reply } => {
                    let _ = reply.send(self.load(term));
                }
                Order::Commit(commit) => {
                    let mut group = vec![commit];
                    while group.len() < MAX_GROUP && next.is_none() {
                        match self.orders.try_recv() {
                            Ok(Order::Commit(commit)) => group.push(commit),
                            Ok(other) => next = Some(other),
                            Err(_) => break,
                        }
                    }
                    self.commit(group);
                }
            }
        }
    }

    fn leads(&self, term: Term) -> bool {
        self.leading.as_ref().is_some_and(|(leading, lost)| *leading == term && !lost.is_cancelled())
    }

    fn load(&self, term: Term) -> Result<Loaded, StoreError> {
        if self.leads(term) {
            Ok(survive(self.file.tables.load()))
        } else {
            Err(StoreError::Lost(format!("term {term} is over")))
        }
    }

    /// All of a group's changes in one write; those of a leadership that is over are in doubt and not in it.
    fn commit(&mut self, group: Vec<Commit>) {
        let (fit, late): (Vec<_>, Vec<_>) = group.into_iter().partition(|commit| self.leads(commit.term));
        for commit in late {
            let _ = commit.reply.send(Err(Doubt(format!("term {} is over", commit.term))));
        }
        let result = match self.file.tables.write(fit.iter().flat_map(|commit| &commit.changes)) {
            Ok(()) => Ok(()),
            Err(Refused::Unfit(problem)) => {
                tracing::error!(problem, "a commit does not fit what is stored; the leadership ends");
                if let Some((_, lost)) = self.leading.take() {
                    lost.cancel();
                }
                Err(Doubt(problem))
            }
            Err(Refused::Failed(error)) => survive(Err(error)),
        };
        for commit in fit {
            let _ = commit.reply.send(result.clone());
        }
    }
}

/// Ends the process on any trouble with the file: memory and disk may differ, and only a new start tells.
fn survive<T>(result: Result<T, redb::Error>) -> T {
    result.unwrap_or_else(|error| {
        tracing::error!(%error, "the store's file cannot be read or written; the process ends, start it again");
        std::process::abort()
    })
}
