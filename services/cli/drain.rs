//! `drain` and `undrain`: workers out of service and back.

use std::time::{Duration, Instant};

use clap::Args;
use tokio::time::{sleep, timeout};
use tonic::{Status, Streaming, transport::Channel};

use super::{
    cluster::show_workers,
    exit::{Failure, complain, in_doubt, note},
    output::Output,
    server::{CALL_TIMEOUT, Server, call},
};
use crate::wire::proto::v1::{self, cluster_service_client::ClusterServiceClient};

/// How long nobody may answer before the wait gives up: a client service restarts, and a leader is replaced, in less.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// Pause before a stream is opened again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
#[command(after_help = "\
What a drained worker holds goes on; it gets nothing new, even after a restart of the worker
or another master's takeover, until `herdsman undrain`.

Examples:
  herdsman drain worker-7
  herdsman drain worker-7 --wait && ssh worker-7 sudo systemctl poweroff
  herdsman undrain worker-7")]
pub(super) struct Drain {
    #[command(flatten)]
    server: Server,
    /// The workers
    #[arg(value_name = "WORKER_ID", required = true)]
    worker_ids: Vec<String>,
    /// Return when they hold nothing any more
    #[arg(long, env = "HERDSMAN_DRAIN_WAIT", hide_env_values = true)]
    wait: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  herdsman undrain worker-7")]
pub(super) struct Undrain {
    #[command(flatten)]
    server: Server,
    /// The workers
    #[arg(value_name = "WORKER_ID", required = true)]
    worker_ids: Vec<String>,
}

type Client = ClusterServiceClient<Channel>;

impl Drain {
    /// Drains all of them before it waits for the first.
    pub(super) async fn run(self, output: &Output) -> Result<(), Failure> {
        let mut client = self.server.cluster().await?;
        let mut workers = Vec::new();
        for worker_id in self.worker_ids.clone() {
            let request = v1::DrainWorkerRequest { worker_id: worker_id.clone() };
            let reply = client.drain_worker(call(request)).await.map_err(|status| about(&worker_id, &status))?;
            workers.push(reply.into_inner().worker.unwrap_or_default());
        }
        if self.wait {
            workers.clear();
            for worker_id in &self.worker_ids {
                workers.push(until_empty(&client, worker_id).await?);
            }
        }
        let given_back: Vec<_> =
            workers.iter().filter(|worker| !worker.drained).map(|it| it.worker_id.clone()).collect();
        show_workers(workers, output)?;
        for worker_id in &given_back {
            complain(format!("worker {worker_id} was undrained meanwhile"));
        }
        if given_back.is_empty() { Ok(()) } else { Err(Failure::Untrue) }
    }
}

impl Undrain {
    pub(super) async fn run(self, output: &Output) -> Result<(), Failure> {
        let mut client = self.server.cluster().await?;
        let mut workers = Vec::new();
        for worker_id in self.worker_ids {
            let request = v1::UndrainWorkerRequest { worker_id: worker_id.clone() };
            let reply = client.undrain_worker(call(request)).await.map_err(|status| about(&worker_id, &status))?;
            workers.push(reply.into_inner().worker.unwrap_or_default());
        }
        show_workers(workers, output)
    }
}

/// Follows a worker until it holds nothing, or is not drained any more, across broken streams.
async fn until_empty(client: &Client, worker_id: &str) -> Result<v1::Worker, Failure> {
    let mut last_answer = Instant::now();
    loop {
        let broken = match open(client.clone(), worker_id).await {
            Ok(mut drains) => {
                let broken = loop {
                    match drains.message().await {
                        Ok(Some(drain)) => {
                            let worker = drain.worker.unwrap_or_default();
                            if drain.empty || !worker.drained {
                                return Ok(worker);
                            }
                            note(format_args!("worker {worker_id} holds {}", attempts(worker.busy_slot_count)));
                        }
                        Ok(None) => break None,
                        Err(status) => break Some(status),
                    }
                };
                // However quiet, it was open until now.
                last_answer = Instant::now();
                broken
            }
            Err(status) => Some(status),
        };
        if let Some(status) = broken {
            if !in_doubt(&status) || last_answer.elapsed() > SILENCE_LIMIT {
                return Err(about(worker_id, &status));
            }
            tracing::debug!(%status, "watching again");
        }
        sleep(RETRY_PAUSE).await;
    }
}

async fn open(mut client: Client, worker_id: &str) -> Result<Streaming<v1::WatchDrainResponse>, Status> {
    let request = v1::WatchDrainRequest { worker_id: worker_id.to_owned() };
    match timeout(CALL_TIMEOUT, client.watch_drain(request)).await {
        Ok(opened) => opened.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("nobody answered in time")),
    }
}

fn attempts(count: i32) -> String {
    match count {
        0 => "nothing that the new leader knows of, which waits to hear from it".to_owned(),
        1 => "1 attempt".to_owned(),
        more => format!("{more} attempts"),
    }
}

fn about(worker_id: &str, status: &Status) -> Failure {
    Failure::from(status.clone()).about(format_args!("worker {worker_id}"))
}
