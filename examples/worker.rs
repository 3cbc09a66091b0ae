//! A team's own worker: one handler in Rust, beside the built-in ones.
//!
//! ```text
//! cargo run --example worker -- --zookeeper 127.0.0.1:2181
//! herdsman submit --kind count-primes --payload 1000000 --watch
//! ```

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use clap::Parser;
use herdsman::{
    domain::{QueueName, WorkerId},
    runtime::{serve, shutdown, telemetry},
    store::zookeeper::{ZooKeeperOptions, ZooKeeperStore},
    worker::{
        self,
        handler::{Attempt, Handler, HandlerError, Handlers},
    },
};
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Options {
    /// HOST:PORT[,HOST:PORT…][/CHROOT]
    #[arg(long)]
    zookeeper: String,
    #[arg(long, default_value = "prime-counter")]
    id: WorkerId,
    #[arg(long, default_value_t = 2)]
    slots: u32,
}

/// Counts the primes below the number in its payload.
struct CountPrimes;

#[async_trait::async_trait]
impl Handler for CountPrimes {
    async fn run(&self, attempt: Attempt) -> Result<Bytes, HandlerError> {
        let text = String::from_utf8_lossy(&attempt.payload);
        let limit = text.trim().parse().map_err(|error| HandlerError::new(format!("{text:?}: {error}")))?;
        let counted = tokio::task::spawn_blocking(move || count_primes(limit, &attempt.cancelled)).await;
        let primes = counted.map_err(|error| HandlerError::new(error.to_string()))?;
        primes.map(|primes| primes.to_string().into()).ok_or_else(|| HandlerError::new("cancelled"))
    }
}

/// None: nobody wants to know any more.
fn count_primes(limit: u32, cancelled: &CancellationToken) -> Option<usize> {
    let mut primes: Vec<u32> = Vec::new();
    for n in 2..limit {
        if cancelled.is_cancelled() {
            return None;
        }
        if primes.iter().take_while(|&&prime| prime <= n / prime).all(|prime| n % prime != 0) {
            primes.push(n);
        }
    }
    Some(primes.len())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let _telemetry = telemetry::init("worker")?;
    let shutdown = shutdown::on_signal();
    let session_timeout = Duration::from_secs(4);
    let store = ZooKeeperStore::connect(ZooKeeperOptions { servers_and_chroot: options.zookeeper, session_timeout });
    let listener = serve::bind(([127, 0, 0, 1], 0).into(), false).await?;

    worker::run(
        worker::Options {
            store: Arc::new(store.await?),
            advertise: listener.local_addr()?.to_string(),
            listener,
            worker_id: options.id,
            slots: options.slots,
            queues: [QueueName::default()].into(),
            labels: [].into(),
            handlers: Handlers::built_in().with("count-primes".parse()?, CountPrimes),
            drain: worker::DEFAULT_DRAIN,
            beside: None,
        },
        shutdown,
    )
    .await
    .context("the worker ended")
}
