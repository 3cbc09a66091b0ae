//! `submit`: hands over one task or very many, and follows them to their end if asked to.

mod patience;
mod progress;
pub(super) mod require;
pub(super) mod send;
mod source;

use std::path::PathBuf;

use clap::{Args, builder::FalseyValueParser};
use futures::TryStreamExt;

use super::{
    exit::Failure,
    follow::follow,
    options::label,
    output::Output,
    server::Server,
    watch::{Sight, ending},
};
use crate::wire::proto::v1;
use patience::Patience;
use progress::Progress;
use require::{Requirements, requirements};

/// Calls of SubmitTasks under way at the same time: enough to keep the leader's commits full, few enough to be fair.
const CALLS: usize = 4;
/// Groups of tasks that are watched at the same time, a stream each; more are watched when earlier ones have ended.
const WATCHES: usize = 64;

#[derive(Debug, Args)]
#[command(after_help = "\
Prints the id of the task; with --watch its result. The same id may be submitted again: it is
the same task, as long as the rest is the same too and the task is kept. A submit whose answer
was lost is repeated with the same ids for 30 s.

Examples:
  herdsman submit --kind echo --payload hi --watch
  herdsman submit --kind resize --payload-file photo.json --task-id photo-17
  find . -name '*.csv' | herdsman submit --kind import --payload-lines - --watch
  herdsman submit --kind noop --count 10000 --watch
  herdsman submit --kind import --max-attempts 5 --start-to-close 10m
  herdsman submit --kind report --delay 2h
  herdsman submit --kind train --require gpu=a100 --require 'zone in (a,b),!spot'")]
pub(super) struct Submit {
    #[command(flatten)]
    server: Server,
    /// Name of the handler that is to run it; `herdsman workers` shows which there are
    #[arg(long, env = "HERDSMAN_SUBMIT_KIND", value_name = "KIND", hide_env_values = true)]
    kind: String,
    /// Id of the task; of several, ID-1, ID-2 and so on. Not given: new ones
    #[arg(long, env = "HERDSMAN_SUBMIT_TASK_ID", value_name = "ID", hide_env_values = true)]
    task_id: Option<String>,
    /// Queue that it waits in; not given: default
    #[arg(long, env = "HERDSMAN_SUBMIT_QUEUE", value_name = "QUEUE", hide_env_values = true)]
    queue: Option<String>,
    /// A label, for `list` and for yourself; repeat for several
    #[arg(long = "label", env = "HERDSMAN_SUBMIT_LABEL", value_name = "KEY=VALUE", value_parser = label, hide_env_values = true)]
    labels: Vec<(String, String)>,
    /// What must hold of its worker's labels: gpu=a100, zone!=c, 'zone in (a,b)', 'zone notin (a,b)', ssd (it has the
    /// label), '!spot' (it has not); several with commas between them, or repeat
    #[arg(long = "require", env = "HERDSMAN_SUBMIT_REQUIRE", value_name = "SELECTOR", value_parser = requirements, hide_env_values = true)]
    requirements: Vec<Requirements>,
    /// 0 (last) to 9 (first) within the queue; not given: 4
    #[arg(long, env = "HERDSMAN_SUBMIT_PRIORITY", value_name = "0-9", value_parser = clap::value_parser!(i32).range(0..=9), hide_env_values = true)]
    priority: Option<i32>,
    /// Rather fail than run twice, when the worker is lost
    #[arg(long, env = "HERDSMAN_SUBMIT_AT_MOST_ONCE", value_parser = FalseyValueParser::new(), hide_env_values = true)]
    at_most_once: bool,
    #[command(flatten)]
    patience: Patience,
    /// Input of the handler, as text; at most 64 KiB
    #[arg(long, env = "HERDSMAN_SUBMIT_PAYLOAD", value_name = "TEXT", conflicts_with_all = ["payload_file", "payload_lines"], hide_env_values = true)]
    payload: Option<String>,
    /// Input of the handler, from a file; - is stdin
    #[arg(
        long,
        env = "HERDSMAN_SUBMIT_PAYLOAD_FILE",
        value_name = "FILE|-",
        conflicts_with = "payload_lines",
        hide_env_values = true
    )]
    payload_file: Option<PathBuf>,
    /// A task for each line of a file, which is its payload; - is stdin. Blank lines are skipped
    #[arg(
        long,
        env = "HERDSMAN_SUBMIT_PAYLOAD_LINES",
        value_name = "FILE|-",
        conflicts_with = "count",
        hide_env_values = true
    )]
    payload_lines: Option<PathBuf>,
    /// So many tasks, all the same
    #[arg(long, env = "HERDSMAN_SUBMIT_COUNT", value_name = "N", value_parser = clap::value_parser!(u64).range(1..), hide_env_values = true)]
    count: Option<u64>,
    /// Follow to the end; exit status 0 only if all have succeeded
    #[arg(long, env = "HERDSMAN_SUBMIT_WATCH", value_parser = FalseyValueParser::new(), hide_env_values = true)]
    watch: bool,
}

impl Submit {
    pub(super) async fn run(self, output: &Output) -> Result<(), Failure> {
        if self.count.is_some() || self.payload_lines.is_some() {
            self.submit_many(output).await
        } else {
            self.submit_one(output).await
        }
    }

    async fn submit_one(self, output: &Output) -> Result<(), Failure> {
        let spec = v1::TaskSpec { payload: self.payload().await?, ..self.spec() };
        let client = self.server.tasks().await?;
        let task_id = self.task_id.clone().unwrap_or_else(source::new_id);
        let task = send::one(client.clone(), v1::SubmitTaskRequest { task_id, spec: Some(spec) }).await?;
        if !self.watch {
            return if output.is_json() { output.json(&task) } else { output.line(&task.task_id) };
        }
        let mut succeeded = false;
        let mut sight = Sight::new(output);
        follow(client, &[task.task_id], |task| {
            succeeded = task.state() == v1::TaskState::Succeeded;
            sight.show(&task)
        })
        .await?;
        if succeeded { Ok(()) } else { Err(Failure::Untrue) }
    }

    async fn submit_many(self, output: &Output) -> Result<(), Failure> {
        let requests = if let Some(path) = &self.payload_lines {
            source::lines(path, self.spec(), self.task_id.clone()).await?
        } else {
            let spec = v1::TaskSpec { payload: self.payload().await?, ..self.spec() };
            source::copies(self.count.unwrap_or(1), spec, self.task_id.clone())
        };
        let client = self.server.tasks().await?;
        let progress = Progress::new(output, self.count, self.watch);
        let done = requests
            .map_ok(|batch| send::batch(client.clone(), batch))
            .try_buffer_unordered(CALLS)
            .map_ok(|outcomes| async {
                let accepted = progress.submitted(outcomes)?;
                if self.watch && !accepted.is_empty() {
                    follow(client.clone(), &accepted, |task| progress.seen(&task)).await?;
                }
                Ok(())
            })
            .try_buffer_unordered(WATCHES)
            .try_collect::<()>()
            .await;
        progress.finish(done)
    }

    /// Everything but the payload.
    fn spec(&self) -> v1::TaskSpec {
        v1::TaskSpec {
            kind: self.kind.clone(),
            queue: self.queue.clone().unwrap_or_default(),
            payload: bytes::Bytes::new(),
            labels: self.labels.iter().cloned().collect(),
            priority: self.priority,
            at_most_once: self.at_most_once,
            selector: self.requirements.iter().flat_map(|said| said.0.iter().cloned()).collect(),
            ..self.patience.spec()
        }
    }

    async fn payload(&self) -> Result<bytes::Bytes, Failure> {
        match (&self.payload, &self.payload_file) {
            (_, Some(path)) => source::whole(path).await,
            (Some(text), None) => Ok(text.clone().into()),
            (None, None) => Ok(bytes::Bytes::new()),
        }
    }
}
