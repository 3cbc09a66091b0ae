//! One stream's end of the hub.

use std::sync::Arc;

use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Request,
    mailbox::{End, Next, Update},
    registry::StreamId,
    slot::Slot,
};
use crate::{client::leader_link::LeaderLink, domain::TaskId, wire::CallError};

/// Why a watch ended with an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchError {
    pub error: CallError,
    /// The task that it is about, if it is about one.
    pub task_id: Option<TaskId>,
}

/// A stream that is open. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    id: StreamId,
    slot: Arc<Slot>,
    hub: mpsc::Sender<Request>,
    link: LeaderLink,
    expires: Instant,
    draining: CancellationToken,
    _places: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

impl Watch {
    pub(super) fn new(
        id: StreamId,
        slot: Arc<Slot>,
        hub: mpsc::Sender<Request>,
        link: LeaderLink,
        expires: Instant,
        draining: CancellationToken,
        places: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
    ) -> Self {
        Self { id, slot, hub, link, expires, draining, _places: places }
    }

    /// The next thing to tell; None at the end, which means success, or "watch again" if something is still to come.
    ///
    /// # Errors
    /// The stream ends with it: a task is unknown, this service stops, or there was no leader for too long.
    pub async fn next(&mut self) -> Option<Result<Update, WatchError>> {
        loop {
            if self.draining.is_cancelled() {
                return Some(Err(CallError::Draining.into()));
            }
            if Instant::now() >= self.expires {
                return None;
            }
            let (next, wants_step) = self.slot.next();
            if wants_step && self.hub.send(Request::Step(self.id)).await.is_err() {
                return Some(Err(CallError::Draining.into()));
            }
            match next {
                Next::Update(update) => return Some(Ok(update)),
                Next::End(End::Complete | End::Resume) => return None,
                Next::End(End::Failed { error, task_id }) => return Some(Err(WatchError { error, task_id })),
                Next::Nothing => {}
            }
            tokio::select! {
                () = self.slot.filled() => {}
                () = sleep_until(self.expires) => {}
                () = self.draining.cancelled() => {}
                () = self.link.leaderless() => return Some(Err(CallError::NoLeader.into())),
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // If there is no room, the hub finds out by itself.
        let _ = self.hub.try_send(Request::Leave(self.id));
    }
}

impl From<CallError> for WatchError {
    fn from(error: CallError) -> Self {
        Self { error, task_id: None }
    }
}
