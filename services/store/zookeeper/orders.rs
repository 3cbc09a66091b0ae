//! The holder's end of the commit task: what it asks for, and that with the holder the leadership goes.

use futures::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::known::Known;
use crate::{
    domain::Change,
    store::{Committing, Doubt, StoreError},
};

/// Commits that wait to be sent. The caller bounds its own commits in flight far below; who passes this has lost count,
/// and is better stopped than served.
const QUEUED_COMMITS: usize = 1_024;

pub type Reply = oneshot::Sender<Result<(), Doubt>>;

/// What the holder of the leadership asks for.
pub enum Order {
    /// What is in the tree; before the first commit.
    Loaded(Box<Known>),
    Commit(Vec<Change>, Reply),
    Resign(oneshot::Sender<()>),
}

/// Dropped, it ends the leadership.
pub struct Orders {
    sender: mpsc::Sender<Order>,
    lost: CancellationToken,
}

impl Orders {
    /// With where they come out. `lost` is cancelled when the leadership is over, by whomever.
    pub fn new(lost: CancellationToken) -> (Self, mpsc::Receiver<Order>) {
        let (sender, inbox) = mpsc::channel(QUEUED_COMMITS);
        (Self { sender, lost }, inbox)
    }

    /// # Errors
    /// The leadership is over.
    pub fn loaded(&self, known: Known) -> Result<(), StoreError> {
        self.sender.try_send(Order::Loaded(Box::new(known))).map_err(|_| over())
    }

    /// As [`crate::store::Leadership::commit`].
    pub fn commit(&self, changes: Vec<Change>) -> Committing {
        let (reply, answer) = oneshot::channel();
        if self.sender.try_send(Order::Commit(changes, reply)).is_err() {
            self.lost.cancel();
        }
        async { answer.await.unwrap_or_else(|_| Err(Doubt("the leadership is over".into()))) }.boxed()
    }

    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Returns when the line is left, or was before.
    pub async fn resign(&self) {
        let (reply, done) = oneshot::channel();
        if self.sender.send(Order::Resign(reply)).await.is_ok() {
            // An error: it was over already.
            let _ = done.await;
        }
    }
}

impl Drop for Orders {
    fn drop(&mut self) {
        self.lost.cancel();
    }
}

pub fn over() -> StoreError {
    StoreError::Lost("the leadership is over".into())
}
