//! `logs`: what a task's attempts write.

use std::time::{Duration, Instant};

use clap::{Args, builder::FalseyValueParser};
use tokio::time::{sleep, timeout};
use tonic::{Code, Status, transport::Channel};

use super::{
    exit::{Failure, in_doubt, note},
    follow::has_ended,
    output::Output,
    server::{CALL_TIMEOUT, Server},
};
use crate::wire::{
    self,
    proto::v1::{self, ReadTaskOutputRequest, ReadTaskOutputResponse, task_service_client::TaskServiceClient},
};

/// How long nobody may answer before it gives up: a client service restarts, and a leader is replaced, in less.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// Pause before a stream is opened again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
#[command(after_help = "\
The standard error of a program, or the log lines of a handler in Rust, byte for byte, of the
current or the last attempt. They are on the worker that ran it, the last 64 KiB of each attempt,
until it ends or has run very many others; what is not kept any more is counted on stderr.
With --follow it waits for a task that waits, goes on with the next attempt if there is one, and
ends with the task.

Examples:
  herdsman logs --follow photo-17
  herdsman logs --attempt 1 --tail 2000 photo-17")]
pub(super) struct Logs {
    #[command(flatten)]
    server: Server,
    /// Id of the task
    #[arg(value_name = "TASK_ID")]
    task_id: String,
    /// Go on until the task has ended
    #[arg(long, short, env = "HERDSMAN_LOGS_FOLLOW", value_parser = FalseyValueParser::new(), hide_env_values = true)]
    follow: bool,
    /// Of this attempt only, counted from 1; not given: the current or last one
    #[arg(long, env = "HERDSMAN_LOGS_ATTEMPT", value_name = "N", value_parser = clap::value_parser!(i32).range(1..), hide_env_values = true)]
    attempt: Option<i32>,
    /// Begin there, in bytes from the beginning of the attempt's output
    #[arg(long, env = "HERDSMAN_LOGS_OFFSET", default_value_t = 0, value_name = "BYTES", hide_env_values = true)]
    offset: u64,
    /// Begin no more than so many bytes before the present end
    #[arg(long, env = "HERDSMAN_LOGS_TAIL", value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..), hide_env_values = true)]
    tail: Option<u64>,
}

type Tasks = TaskServiceClient<Channel>;

/// How far it was read.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// 0: none yet.
    attempt: i32,
    offset: u64,
    tail_bytes: u64,
}

/// How a stream ended.
enum End {
    /// With the attempt.
    Last,
    /// There may be more.
    Open,
    Broken(Status),
}

impl Logs {
    pub(super) async fn run(self, output: &Output) -> Result<(), Failure> {
        let mut client = self.server.tasks().await?;
        let (attempt, tail_bytes) = (self.attempt.unwrap_or_default(), self.tail.unwrap_or_default());
        let mut at = Place { attempt, offset: self.offset, tail_bytes };
        let mut answered = Instant::now();
        loop {
            match self.read(&mut client, &mut at, output).await? {
                End::Last if self.follow && self.attempt.is_none() => {
                    answered = Instant::now();
                    if self.has_ended(&mut client, at.attempt).await? {
                        return Ok(());
                    }
                    at = Self::next(at);
                }
                End::Last => return Ok(()),
                End::Open if !self.follow => return Ok(()),
                End::Open => answered = Instant::now(),
                // Its worker was lost with what it wrote last: the next attempt runs elsewhere.
                End::Broken(status) if self.is_gone(&status) && at.attempt > 0 => {
                    if self.has_ended(&mut client, at.attempt).await? {
                        return Err(status.into());
                    }
                    note(format_args!("herdsman: {}", status.message()));
                    at = Self::next(at);
                }
                End::Broken(status) if in_doubt(&status) && answered.elapsed() < SILENCE_LIMIT => {
                    tracing::debug!(%status, "reading again");
                }
                End::Broken(status) => return Err(status.into()),
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    fn is_gone(&self, status: &Status) -> bool {
        self.follow && self.attempt.is_none() && wire::reason_of(status).as_deref() == Some("OUTPUT_NOT_FOUND")
    }

    fn next(at: Place) -> Place {
        note(format_args!("herdsman: attempt {} is over, the next one follows", at.attempt));
        Place { attempt: at.attempt + 1, offset: 0, tail_bytes: 0 }
    }

    /// One stream, as far as it goes.
    async fn read(&self, client: &mut Tasks, at: &mut Place, output: &Output) -> Result<End, Failure> {
        let Place { attempt, offset, tail_bytes } = *at;
        let (task_id, follow) = (self.task_id.clone(), self.follow);
        let request = ReadTaskOutputRequest { task_id, attempt, offset, tail_bytes, follow };
        let mut pieces = match timeout(CALL_TIMEOUT, client.read_task_output(request)).await {
            Ok(Ok(pieces)) => pieces.into_inner(),
            Ok(Err(status)) => return Ok(End::Broken(status)),
            Err(_) => return Ok(End::Broken(Status::unavailable("no answer in time"))),
        };
        loop {
            match pieces.message().await {
                Ok(Some(piece)) => {
                    *at =
                        Place { attempt: piece.attempt, offset: piece.offset + piece.data.len() as u64, tail_bytes: 0 };
                    show(output, &piece)?;
                    if piece.last {
                        return Ok(End::Last);
                    }
                }
                Ok(None) => return Ok(End::Open),
                Err(status) => return Ok(End::Broken(status)),
            }
        }
    }

    /// Whether the task ends with this attempt, which is over; waits until the leader has heard how it ended.
    async fn has_ended(&self, client: &mut Tasks, attempt: i32) -> Result<bool, Failure> {
        let mut answered = Instant::now();
        loop {
            let watch = v1::WatchTaskRequest { task_id: self.task_id.clone(), after_revision: 0 };
            let broken = match client.watch_task(watch).await {
                Ok(events) => {
                    let mut events = events.into_inner();
                    loop {
                        match events.message().await {
                            Ok(Some(event)) => {
                                answered = Instant::now();
                                let task = event.task.unwrap_or_default();
                                if task.attempt > attempt || task.state() == v1::TaskState::Pending {
                                    return Ok(false);
                                }
                                if has_ended(&task) {
                                    return Ok(true);
                                }
                            }
                            Ok(None) => break None,
                            Err(status) => break Some(status),
                        }
                    }
                }
                Err(status) => Some(status),
            };
            match broken {
                // It is over for so long that it was removed.
                Some(status) if status.code() == Code::NotFound => return Ok(true),
                Some(status) if !in_doubt(&status) || answered.elapsed() > SILENCE_LIMIT => return Err(status.into()),
                Some(_) | None => sleep(RETRY_PAUSE).await,
            }
        }
    }
}

fn show(output: &Output, piece: &ReadTaskOutputResponse) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(piece);
    }
    if piece.skipped > 0 {
        note(format_args!("herdsman: {} bytes before this are not kept", piece.skipped));
    }
    output.raw(&piece.data)
}
