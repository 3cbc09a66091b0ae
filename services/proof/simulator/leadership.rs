//! A leadership on the imagined ensemble: a place in the line that the real commit task writes from.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{ensemble::SESSION_TIMEOUT, network::latency, session::Session, store::over};
use crate::{
    domain::{Change, Loaded, Term},
    proof::tree::{Node, Request, Tree},
    store::{
        Committing, Leadership, Members, StoreError,
        zookeeper::proof::{Error, Found, Known, MultiError, Orders, Place, assemble},
    },
};

/// A place in the line that was won.
pub struct Stand {
    pub path: String,
    pub session: Arc<Session>,
}

impl Place for Stand {
    type Write<'a> = Request;

    fn path(&self) -> &str {
        &self.path
    }

    fn session_timeout(&self) -> Duration {
        SESSION_TIMEOUT
    }

    fn trouble(&self) -> Option<String> {
        self.session.is_lost().then(|| "not connected".to_owned())
    }

    fn write(&self) -> Request {
        Request::default()
    }

    fn send(&self, write: Request) -> impl Future<Output = Result<(), MultiError>> + Send + '_ {
        let answer = self.session.write(write.0);
        let mut unknown = Unknown(Some(self.session.clone()));
        async move {
            match answer.await {
                Some(answer) => {
                    unknown.is_known();
                    answer.map_err(|refused| MultiError::Refused { path: refused.path, error: refused.error })
                }
                None => Err(MultiError::Unknown(Error::ConnectionLoss)),
            }
        }
    }
}

/// A write whose answer did not come while its process lived.
struct Unknown(Option<Arc<Session>>);

impl Unknown {
    fn is_known(&mut self) {
        self.0 = None;
    }
}

impl Drop for Unknown {
    fn drop(&mut self) {
        if let Some(session) = self.0.take().filter(|session| !session.gate.is_gone()) {
            session.ensemble.sim.oracle(|oracle| oracle.sights.unknown_outcomes += 1);
        }
    }
}

pub struct SimulatedLeadership {
    pub term: Term,
    pub orders: Orders,
    /// For the one load.
    pub reader: Option<Arc<Session>>,
    pub members: watch::Receiver<Members>,
}

#[async_trait]
impl Leadership for SimulatedLeadership {
    fn term(&self) -> Term {
        self.term
    }

    async fn load(&mut self) -> Result<Loaded, StoreError> {
        let reader = self.reader.take().ok_or_else(over)?;
        let (mut loaded, known) = reader.read(found).await.ok_or_else(over)?;
        // Reading takes its time.
        sleep(latency(&reader.ensemble.sim)).await;
        loaded.workers.sort_unstable();
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
    }
}

/// What the next leader finds in the tree.
pub fn found(tree: &Tree) -> (Loaded, Known) {
    let found = |(path, node): (&str, &Node)| {
        let children = tree.children(path).count();
        (path.to_owned(), Found { data: node.data.to_vec(), children, ephemeral: node.owner.is_some() })
    };
    assemble(tree.nodes().map(found))
}
