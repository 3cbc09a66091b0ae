//! What reaches the driver from the links, and the handles by which it reaches them.

use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Call, Incarnation, Report, TaskId, WorkerHello, WorkerId},
    wire::{InvalidField, LeaderToClient, LeaderToWorker, LinkRefusal},
};

/// Numbers the links of one leadership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LinkId(pub u64);

/// One message, or one fate, of a link.
#[derive(Debug)]
pub(super) enum Input {
    WorkerHello { hello: Box<WorkerHello>, link: Handle<LeaderToWorker> },
    Report { link: LinkId, worker: WorkerId, incarnation: Incarnation, report: Report },
    Draining { link: LinkId, worker: WorkerId, incarnation: Incarnation },
    WorkerGone { link: LinkId, worker: WorkerId, incarnation: Incarnation, goodbye: bool },
    ClientHello { link: Handle<LeaderToClient> },
    Call { link: LinkId, call_id: u64, call: Call, arrival: Instant },
    Malformed { link: LinkId, call_id: u64, error: InvalidField },
    Unwatch { link: LinkId, task_ids: Vec<TaskId>, filter_ids: Vec<u64> },
    ClientGone { link: LinkId },
}

/// The driver's end of a link. Dropping it ends the link.
#[derive(Debug, Clone)]
pub(super) struct Handle<M> {
    pub id: LinkId,
    to: mpsc::Sender<Result<M, LinkRefusal>>,
    cut: CancellationToken,
}

impl<M> Handle<M> {
    pub fn new(id: LinkId, to: mpsc::Sender<Result<M, LinkRefusal>>, cut: CancellationToken) -> Self {
        Self { id, to, cut }
    }

    /// Sends, or cuts a link whose other end does not keep up: it comes back, and is told what it missed.
    pub fn send(&self, message: M) {
        self.put(Ok(message));
    }

    /// Ends the link with a reason.
    pub fn refuse(&self, refusal: LinkRefusal) {
        self.put(Err(refusal));
    }

    pub fn cut(&self) {
        self.cut.cancel();
    }

    fn put(&self, item: Result<M, LinkRefusal>) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.to.try_send(item) {
            tracing::warn!(link = self.id.0, "cutting a link that does not keep up");
            self.cut.cancel();
        }
    }
}
