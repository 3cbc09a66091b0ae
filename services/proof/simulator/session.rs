//! A session with the imagined ensemble, as its process holds it: what is asked on it, and that it is lost for good when
//! its connection is.

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep},
};

use super::{
    ensemble::{ENSEMBLE, Ensemble},
    gate::Gate,
    network::{Host, latency},
};
use crate::proof::tree::{self, Operation, Refused, Tree};

/// What a session sends, and where the answer goes.
pub enum Asked {
    Write(Vec<Operation>, oneshot::Sender<Result<(), Refused>>),
    Stand { prefix: String, data: Vec<u8>, reply: oneshot::Sender<Result<String, Refused>> },
    Close,
}

/// A session as its process holds it. Dropped by a process that lives, it is closed.
pub struct Session {
    pub id: tree::Session,
    pub host: Host,
    pub ensemble: Ensemble,
    pub(super) requests: mpsc::UnboundedSender<(Instant, Asked)>,
    pub(super) lost: watch::Sender<bool>,
    pub(super) breaks: watch::Receiver<u64>,
    pub gate: Gate,
}

impl Session {
    pub fn is_lost(&self) -> bool {
        *self.lost.borrow() || self.breaks.has_changed().unwrap_or(true)
    }

    /// Resolves when the connection is lost; it never comes back.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut lost = self.lost.subscribe();
        async move {
            let _ = lost.wait_for(|lost| *lost).await;
        }
    }

    /// Sends at once; the future is the answer. None: nobody knows.
    pub fn write(
        &self,
        operations: Vec<Operation>,
    ) -> impl Future<Output = Option<Result<(), Refused>>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        self.send(Asked::Write(operations, reply));
        self.answered(answer)
    }

    /// Creates the session's node in a line; its path.
    pub fn stand(
        &self,
        prefix: String,
        data: Vec<u8>,
    ) -> impl Future<Output = Option<Result<String, Refused>>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        self.send(Asked::Stand { prefix, data, reply });
        self.answered(answer)
    }

    /// Looks at the tree as it is when the question arrives. None: the connection is lost.
    pub async fn read<T>(&self, look: impl FnOnce(&Tree) -> T) -> Option<T> {
        let host = self.host;
        let reading = async {
            sleep(latency(&self.ensemble.sim) + self.ensemble.delay(host)).await;
            self.ensemble.network.passes(host, ENSEMBLE).await;
            let seen = self.ensemble.with_tree(look);
            self.ensemble.network.passes(ENSEMBLE, host).await;
            sleep(latency(&self.ensemble.sim)).await;
            seen
        };
        tokio::select! {
            () = self.lost() => None,
            seen = reading => Some(seen),
        }
    }

    fn answered<T: Send>(&self, answer: oneshot::Receiver<T>) -> impl Future<Output = Option<T>> + Send + use<T> {
        let lost = self.lost();
        async move {
            tokio::select! {
                () = lost => None,
                // Lost on the way: whoever waits finds that out by the connection's end, or by its own limit.
                Ok(answer) = answer => Some(answer),
                else => std::future::pending().await,
            }
        }
    }

    fn send(&self, asked: Asked) {
        let ensemble = &self.ensemble;
        let more = ensemble.delay(self.host);
        // The connection's end, which a broken one has reached, takes nothing.
        let _ = self.requests.send((Instant::now() + latency(&ensemble.sim) + more, asked));
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.gate.is_gone() {
            self.send(Asked::Close);
        }
    }
}
