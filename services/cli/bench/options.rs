//! What a bench is told.

use std::time::Duration;

use clap::{Args, ValueEnum, builder::FalseyValueParser};

use crate::{
    cli::{
        exit::Failure,
        options::{Switch, duration, label},
        server::{Server, address},
    },
    domain::{MAX_LABELS, MAX_PAYLOAD_BYTES},
};

/// Most tasks of a call of SubmitTasks, as the server allows.
const MAX_BATCH: i64 = 1_000;
/// Most bytes of payload of one call, below the 4 MiB that the server takes.
const MAX_CALL_BYTES: usize = 3 * 1024 * 1024;
/// Calls at once if nothing is said: past the first gain of a loop that never waits, and not yet a queue of its own.
const UNARY_OUTSTANDING: u32 = 64;
const BATCHES_OUTSTANDING: u32 = 8;
/// Tasks of a call if nothing is said; larger calls gain little.
const BATCH: u32 = 500;
/// Tasks of a measurement that is told neither a number nor a time.
const TASKS: u64 = 20_000;
/// Rounds where the store's limit is measured in turn with the cluster: the machine's mood changes within minutes.
const ROUNDS_WITH_LIMIT: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    /// SubmitTask: a task a call
    Unary,
    /// SubmitTasks: many tasks a call
    Batch,
}

/// When a call of the closed loop makes way for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum NextAfter {
    /// When it is answered
    Ack,
    /// When its tasks have ended, too
    End,
}

/// How a bench learns what becomes of its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum WatchBy {
    /// One WatchTasks stream for all of them
    One,
    /// A WatchTask stream for each of them, open from its submit to its end
    Each,
    /// Not at all: only the submits are measured, and nobody has to serve the kind
    None,
}

#[derive(Debug, Args)]
#[command(after_help = super::AFTER_HELP)]
pub(in crate::cli) struct Bench {
    /// URL of a client service; not given, without --limit: http://127.0.0.1:7070
    #[arg(long, env = "HERDSMAN_SERVER", value_name = "URL", value_parser = address, hide_env_values = true)]
    server: Option<String>,
    /// How tasks are submitted
    #[arg(long, env = "HERDSMAN_BENCH_MODE", value_enum, default_value_t = Mode::Unary, hide_env_values = true)]
    pub(super) mode: Mode,
    /// Tasks of a call with --mode batch, 1 to 1,000; not given: 500
    #[arg(long, env = "HERDSMAN_BENCH_BATCH", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_BATCH), hide_env_values = true)]
    batch: Option<u32>,
    /// Closed loop: so many calls at once; not given: 64 unary ones, 8 batches
    #[arg(long, env = "HERDSMAN_BENCH_OUTSTANDING", value_name = "N", conflicts_with = "rate", value_parser = clap::value_parser!(u32).range(1..=100_000), hide_env_values = true)]
    outstanding: Option<u32>,
    /// Closed loop: what a call waits for before the next one takes its place
    #[arg(long, env = "HERDSMAN_BENCH_NEXT_AFTER", value_enum, default_value_t = NextAfter::Ack, conflicts_with = "rate", hide_env_values = true)]
    next_after: NextAfter,
    /// Open loop: so many tasks a second, whether or not the cluster keeps up; each task's time counts from when it was
    /// due
    #[arg(long, env = "HERDSMAN_BENCH_RATE", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000), hide_env_values = true)]
    rate: Option<u32>,
    /// So many tasks a round; not given: 20000
    #[arg(long, env = "HERDSMAN_BENCH_TASKS", value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..), hide_env_values = true)]
    tasks: Option<u64>,
    /// Submit for so long a round, instead of a number of tasks
    #[arg(long = "for", id = "duration", env = "HERDSMAN_BENCH_FOR", value_name = "DURATION", value_parser = duration, hide_env_values = true)]
    time: Option<Duration>,
    /// How the tasks are watched
    #[arg(long, env = "HERDSMAN_BENCH_WATCH", value_enum, default_value_t = WatchBy::One, hide_env_values = true)]
    pub(super) watch: WatchBy,
    /// Bytes of payload of each task, at most 65536
    #[arg(long, env = "HERDSMAN_BENCH_PAYLOAD", default_value_t = 64, value_name = "BYTES", value_parser = payload, hide_env_values = true)]
    payload: usize,
    /// The payload itself, as `250ms` for the kind `sleep`
    #[arg(long, env = "HERDSMAN_BENCH_TEXT", value_name = "TEXT", conflicts_with = "payload", value_parser = text, hide_env_values = true)]
    text: Option<String>,
    /// Name of the handler that is to run them
    #[arg(long, env = "HERDSMAN_BENCH_KIND", default_value = "noop", value_name = "KIND", hide_env_values = true)]
    pub(super) kind: String,
    /// A label of every task, beside the bench's own; repeat for several
    #[arg(long = "label", env = "HERDSMAN_BENCH_LABEL", value_name = "KEY=VALUE", value_parser = label, hide_env_values = true)]
    pub(super) labels: Vec<(String, String)>,
    /// Connections over which calls are spread
    #[arg(long, env = "HERDSMAN_BENCH_CONNECTIONS", default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000), hide_env_values = true)]
    pub(super) connections: u32,
    /// How often everything is measured; medians are shown. Not given: 1, and 3 with --limit
    #[arg(long, env = "HERDSMAN_BENCH_ROUNDS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000), hide_env_values = true)]
    rounds: Option<u32>,
    /// Measure what the store alone can do, and, if --server is given, how near to it the cluster comes
    #[arg(long, env = "HERDSMAN_BENCH_LIMIT", value_parser = FalseyValueParser::new(), requires = "zookeeper", hide_env_values = true)]
    pub(super) limit: bool,
    /// For --limit: servers of ZooKeeper and, if it is not /herdsman, the cluster's node; beside it, at NODE-bench, a tree
    /// of the bench's own is made and left empty
    #[arg(long, env = "HERDSMAN_ZOOKEEPER", value_name = "HOST:PORT[,HOST:PORT…][/CHROOT]", hide_env_values = true)]
    pub(super) zookeeper: Option<String>,
    /// For --limit: whether the store's tasks share nodes, as the cluster's do with `master --packing on`
    #[arg(long, env = "HERDSMAN_BENCH_PACKING", value_enum, default_value_t = Switch::Off, hide_env_values = true)]
    pub(super) packing: Switch,
    /// For --limit: smallest commits, and tasks one at a time, by which latency is compared
    #[arg(long, env = "HERDSMAN_BENCH_LATENCIES", default_value_t = 500, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000), hide_env_values = true)]
    pub(super) latencies: u32,
    /// For --limit: task lives of a commit
    #[arg(long, env = "HERDSMAN_BENCH_LIMIT_BATCH", default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500), hide_env_values = true)]
    pub(super) limit_batch: u32,
    /// For --limit: commits on their way at once
    #[arg(long, env = "HERDSMAN_BENCH_LIMIT_OUTSTANDING", default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64), hide_env_values = true)]
    pub(super) limit_outstanding: u32,
}

/// How many bytes a payload has.
fn payload(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes) if bytes <= MAX_PAYLOAD_BYTES => Ok(bytes),
        _ => Err(format!("must be a number of bytes, at most {MAX_PAYLOAD_BYTES}")),
    }
}

/// A payload that is written out.
fn text(text: &str) -> Result<String, String> {
    payload(&text.len().to_string()).map(|_| text.to_owned())
}

/// When calls are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// The next call when one of so many makes way.
    Closed { outstanding: usize, next_after: NextAfter },
    /// By the clock, so many tasks a second.
    Open { rate: u32 },
}

/// How long a measurement submits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    Tasks(u64),
    Time(Duration),
}

/// One measurement of a cluster, as it was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) mode: Mode,
    /// Tasks of a call.
    pub(super) batch: usize,
    pub(super) pace: Pace,
    pub(super) until: Until,
    pub(super) watch: WatchBy,
}

impl Bench {
    /// The cluster to measure; none if only the store is to be.
    pub(super) fn server(&self) -> Option<Server> {
        (self.server.is_some() || !self.limit).then(|| Server::at(self.server.clone()))
    }

    /// Of each task.
    pub(super) fn payload(&self) -> Vec<u8> {
        self.text.as_ref().map_or_else(|| vec![b'x'; self.payload], |text| text.as_bytes().to_vec())
    }

    pub(super) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.limit { ROUNDS_WITH_LIMIT } else { 1 })
    }

    /// # Errors
    /// Options that do not fit together.
    pub(super) fn plan(&self) -> Result<Plan, Failure> {
        let (batch, outstanding) = match (self.mode, self.batch) {
            (Mode::Unary, None) => (1, UNARY_OUTSTANDING),
            (Mode::Unary, Some(_)) => return Err(Failure::unable("--batch needs --mode batch")),
            (Mode::Batch, batch) => (batch.unwrap_or(BATCH), BATCHES_OUTSTANDING),
        };
        let payload = self.payload().len();
        if batch as usize * payload > MAX_CALL_BYTES {
            let most = MAX_CALL_BYTES / payload;
            return Err(Failure::unable(format!("--batch: at most {most} tasks of this --payload fit one call")));
        }
        // One place is for the label by which the bench knows its own.
        if self.labels.len() >= MAX_LABELS {
            return Err(Failure::unable(format!("--label: at most {}", MAX_LABELS - 1)));
        }
        let pace = match self.rate {
            Some(rate) => Pace::Open { rate },
            None => Pace::Closed {
                outstanding: self.outstanding.unwrap_or(outstanding) as usize,
                next_after: self.next_after,
            },
        };
        let until = self.time.map_or(Until::Tasks(self.tasks.unwrap_or(TASKS)), Until::Time);
        Ok(Plan { mode: self.mode, batch: batch as usize, pace, until, watch: self.watch })
    }
}
