//! A crew whose handlers the test plays.

use std::{
    sync::{Arc, atomic::AtomicUsize, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Incarnation, MAX_RESULT_BYTES, QueueName, WorkerOffer},
    runtime::wall_clock::WallClock,
    worker::{
        crew::Crew,
        handler::{Attempt, Handler, HandlerError, Handlers},
        metrics::Metrics,
    },
};

/// Returns its payload when the test opens the gate, or an error when it is cancelled.
#[derive(Clone)]
pub struct Gate {
    pub open: Arc<Semaphore>,
    pub starts: Arc<AtomicUsize>,
}

#[async_trait]
impl Handler for Gate {
    async fn run(&self, attempt: Attempt) -> Result<Bytes, HandlerError> {
        self.starts.fetch_add(1, Ordering::SeqCst);
        tokio::select! {
            passed = self.open.acquire() => {
                passed.expect("the gate is never closed").forget();
                Ok(attempt.payload)
            }
            () = attempt.cancelled.cancelled() => Err(HandlerError::new("cancelled")),
        }
    }
}

/// Ignores that it is cancelled, and waits for the gate.
struct Stubborn(Gate);

#[async_trait]
impl Handler for Stubborn {
    async fn run(&self, mut attempt: Attempt) -> Result<Bytes, HandlerError> {
        attempt.cancelled = CancellationToken::new();
        self.0.run(attempt).await
    }
}

/// Returns as much as it may.
struct Large;

#[async_trait]
impl Handler for Large {
    async fn run(&self, _attempt: Attempt) -> Result<Bytes, HandlerError> {
        Ok(vec![7; MAX_RESULT_BYTES].into())
    }
}

struct Panics;

#[async_trait]
impl Handler for Panics {
    async fn run(&self, attempt: Attempt) -> Result<Bytes, HandlerError> {
        panic!("no {}", attempt.task_id);
    }
}

/// A crew, the gate of one of its kinds, and what stops it.
pub fn crew(slots: u32, drain: Duration) -> (Crew, Gate, CancellationToken) {
    let gate = Gate { open: Arc::new(Semaphore::new(0)), starts: Arc::default() };
    let kind = |name: &str| name.parse().unwrap();
    let handlers = Handlers::default()
        .with(kind("gate"), gate.clone())
        .with(kind("stubborn"), Stubborn(gate.clone()))
        .with(kind("large"), Large)
        .with(kind("panics"), Panics);
    let offer = WorkerOffer {
        worker_id: "w".parse().unwrap(),
        incarnation: Incarnation([1; 16]),
        address: "127.0.0.1:1".into(),
        slots,
        kinds: handlers.kinds().cloned().collect(),
        queues: [QueueName::default()].into(),
        labels: [].into(),
        version: "1".into(),
    };
    let shutdown = CancellationToken::new();
    let metrics = Metrics::new(&mut Registry::default(), slots);
    (Crew::new(offer, handlers, drain, shutdown.clone(), metrics, WallClock::system()), gate, shutdown)
}
