//! The work of benches/compare on NATS JetStream, with its best-known client for Rust:
//!
//!     compare-nats worker URL
//!     compare-nats submit URL TASKS BYTES OUTSTANDING
//!
//! Tasks are messages of a work-queue stream on file; a publish is awaited until the server has acknowledged it; a worker
//! pulls, tells the submitter by a plain message, and acknowledges. The submitter prints a line of JSON.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, pull},
    stream::{Config, RetentionPolicy, StorageType},
};
use futures::StreamExt;
use tokio::{sync::Semaphore, time::timeout};

type Error = Box<dyn std::error::Error + Send + Sync>;

const STREAM: &str = "TASKS";
const SUBJECT: &str = "tasks";
const DONE: &str = "done";
/// Messages of a pull, and messages that a worker may hold.
const PULL: usize = 1_000;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["worker", url] => worker(url).await,
        ["submit", url, tasks, bytes, outstanding] => {
            submit(url, tasks.parse()?, bytes.parse()?, outstanding.parse()?).await
        }
        _ => Err("usage: compare-nats worker URL | submit URL TASKS BYTES OUTSTANDING".into()),
    }
}

async fn stream(url: &str) -> Result<(async_nats::Client, jetstream::Context, jetstream::stream::Stream), Error> {
    let client = async_nats::connect(url).await?;
    let context = jetstream::new(client.clone());
    let config = Config {
        name: STREAM.into(),
        subjects: vec![SUBJECT.into()],
        retention: RetentionPolicy::WorkQueue,
        storage: StorageType::File,
        ..Config::default()
    };
    // Worker and submitter begin together: whoever finds it half made finds it whole the second time.
    let stream = match context.get_or_create_stream(config.clone()).await {
        Ok(stream) => stream,
        Err(_) => context.get_or_create_stream(config).await?,
    };
    Ok((client, context, stream))
}

async fn worker(url: &str) -> Result<(), Error> {
    let (client, _, stream) = stream(url).await?;
    let config = pull::Config {
        durable_name: Some("workers".into()),
        ack_policy: AckPolicy::Explicit,
        max_ack_pending: PULL as i64,
        ..pull::Config::default()
    };
    let consumer = stream.get_or_create_consumer("workers", config).await?;
    let mut messages = consumer.stream().max_messages_per_batch(PULL).messages().await?;
    while let Some(message) = messages.next().await {
        let message = message?;
        // The handler does nothing. Told first, so that a task whose worker dies here is told twice rather than never.
        client.publish(DONE, message.payload.slice(..8)).await?;
        message.ack().await?;
    }
    Ok(())
}

async fn submit(url: &str, tasks: u64, bytes: usize, outstanding: usize) -> Result<(), Error> {
    let (client, context, _) = stream(url).await?;
    let mut done = client.subscribe(DONE).await?;
    client.flush().await?;
    // The worker may be starting still.
    one(&context, &mut done, bytes).await?;
    let room = Arc::new(Semaphore::new(outstanding));
    let start = Instant::now();
    let submitting = async {
        for number in 0..tasks {
            let permit = room.clone().acquire_owned().await?;
            let published = context.publish(SUBJECT, payload(number, bytes).into()).await?;
            tokio::spawn(async move {
                let acknowledged = published.await;
                drop(permit);
                acknowledged.expect("JetStream takes every message")
            });
        }
        Ok::<_, Error>(())
    };
    let told = async {
        let mut ended = vec![false; usize::try_from(tasks)?];
        let mut left = ended.len();
        while left > 0 {
            let message = timeout(LIMIT, done.next()).await?.ok_or("NATS is gone")?;
            let number = u64::from_le_bytes(message.payload.as_ref().try_into()?);
            let ended = &mut ended[usize::try_from(number)?];
            left -= usize::from(!std::mem::replace(ended, true));
        }
        Ok::<_, Error>(())
    };
    tokio::try_join!(submitting, told)?;
    let seconds = start.elapsed().as_secs_f64();

    let mut latencies = Vec::new();
    for _ in 0..LATENCIES {
        let start = Instant::now();
        one(&context, &mut done, bytes).await?;
        latencies.push(start.elapsed().as_secs_f64() * 1_000.0);
    }
    println!("{}", serde_json::json!({ "seconds": seconds, "latencies_ms": latencies }));
    Ok(())
}

/// One task, submitted and told.
async fn one(context: &jetstream::Context, done: &mut async_nats::Subscriber, bytes: usize) -> Result<(), Error> {
    context.publish(SUBJECT, payload(0, bytes).into()).await?.await?;
    timeout(LIMIT, done.next()).await?.ok_or("NATS is gone")?;
    Ok(())
}

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(120);
/// Tasks one at a time, as for every peer.
const LATENCIES: u64 = 200;

fn payload(number: u64, bytes: usize) -> Vec<u8> {
    let mut payload = vec![b'x'; bytes.max(8)];
    payload[..8].copy_from_slice(&number.to_le_bytes());
    payload
}
