//! The worker's membership in the store. It registers only while a leader has welcomed it: of two processes with one id
//! the leader refuses one, and that one must not take the other's node.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Term, WorkerOffer},
    store::{Registration, Store},
};

/// Longest wait for one registration. The store has limits of its own; this one is for a store that forgot one.
const REGISTER_LIMIT: Duration = Duration::from_secs(30);
/// Between two registrations: the store may be the one in trouble.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest wait for the end of a membership; the store ends it by itself a session timeout later.
const UNREGISTER_LIMIT: Duration = Duration::from_millis(500);

/// Keeps the worker registered until `stop` is cancelled, then ends the membership.
pub async fn keep(
    store: Arc<dyn Store>,
    offer: WorkerOffer,
    mut linked: watch::Receiver<Option<Term>>,
    stop: CancellationToken,
) {
    let mut registration = None;
    let keeping = async {
        loop {
            if linked.wait_for(Option::is_some).await.is_err() {
                return;
            }
            match register(store.as_ref(), &offer).await {
                Some(registered) => {
                    let lost = registered.lost();
                    registration = Some(registered);
                    lost.cancelled().await;
                    tracing::warn!("the membership is lost: registering again");
                    registration = None;
                }
                None => sleep(PAUSE).await,
            }
        }
    };
    stop.run_until_cancelled(keeping).await;
    if let Some(registration) = registration
        && timeout(UNREGISTER_LIMIT, registration.unregister()).await.is_err()
    {
        tracing::debug!("the end of the membership is left to the store");
    }
}

/// None: not registered, as far as is known; the reason is logged.
async fn register(store: &dyn Store, offer: &WorkerOffer) -> Option<Box<dyn Registration>> {
    match timeout(REGISTER_LIMIT, store.register(offer)).await {
        Ok(Ok(registration)) => Some(registration),
        Ok(Err(error)) => {
            tracing::warn!("cannot register: {error}");
            None
        }
        Err(_) => {
            tracing::warn!("cannot register: no answer within {REGISTER_LIMIT:?}");
            None
        }
    }
}
