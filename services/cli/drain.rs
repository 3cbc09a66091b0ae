//! `drain` and `undrain`: workers out of service and back.

use std::time::{Duration, Instant};

use clap::Args;
use tokio::time::{sleep, timeout};
use tonic::{Status, Streaming, transport::Channel};
use tonic_types::StatusExt;

use super::{
    cluster::show_workers,
    exit::{Failure, complain, in_doubt, note},
    output::Output,
    server::{CALL_TIMEOUT, Server, call},
};
use crate::wire::proto::v1::{self, cluster_service_client::ClusterServiceClient};

/// How long nobody may answer, or all may refuse, before the wait gives up: a client service restarts, a leader is replaced,
/// and the places of streams that are gone are free again, in less.
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

/// Follows a worker until it holds nothing, or is not drained any more, across broken streams, and past refusals that say
/// when to try again, as one for want of room does.
async fn until_empty(client: &Client, worker_id: &str) -> Result<v1::Worker, Failure> {
    let mut last_answer = Instant::now();
    let mut told = None;
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
                            if told.replace(worker.busy_slot_count) != Some(worker.busy_slot_count) {
                                note(format_args!("worker {worker_id} holds {}", attempts(worker.busy_slot_count)));
                            }
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
        let mut pause = RETRY_PAUSE;
        if let Some(status) = broken {
            let Some(after) = pause_after(&status, last_answer.elapsed()) else {
                return Err(about(worker_id, &status));
            };
            pause = after;
            tracing::debug!(%status, "watching again");
        }
        sleep(pause).await;
    }
}

/// How long to wait before a stream that failed like this is opened again. None: it is no use, or has been tried for long
/// enough.
fn pause_after(status: &Status, silence: Duration) -> Option<Duration> {
    let delay = status.get_details_retry_info().and_then(|info| info.retry_delay);
    let passes = in_doubt(status) || delay.is_some();
    (passes && silence <= SILENCE_LIMIT).then(|| delay.unwrap_or(RETRY_PAUSE).clamp(RETRY_PAUSE, SILENCE_LIMIT))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::Refusal, wire::CallError};

    #[test]
    fn a_refusal_that_says_when_to_try_again_is_tried_again_then_but_not_for_ever() {
        let full = CallError::from(Refusal::TooManyWatches).status(None);
        assert_eq!(pause_after(&full, Duration::ZERO), Some(Duration::from_millis(500)));
        assert_eq!(pause_after(&full, SILENCE_LIMIT + Duration::from_secs(1)), None);
        assert_eq!(pause_after(&Status::unavailable("lost"), Duration::ZERO), Some(RETRY_PAUSE));
        let unknown = CallError::from(Refusal::WorkerNotFound).status(None);
        assert_eq!(pause_after(&unknown, Duration::ZERO), None);
    }
}
