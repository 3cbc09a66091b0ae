//! `worker`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use clap::Args;

use super::{AFTER_HELP, Place, host_name, serve};
use crate::{
    cli::{
        exit::Failure,
        options::{duration, label, listen_address},
    },
    domain::{MAX_LABELS, QueueName, WorkerId, WorkerOffer},
    runtime::shutdown,
    worker::{self, guard::Guard, handler::Handlers, handlers},
};

/// What a worker offers; the same in a cluster and in `dev`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Offer {
    /// Attempts that run at the same time, 1 to 1,000; not given: as many as there are processors
    #[arg(long, env = "HERDSMAN_SLOTS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(WorkerOffer::MAX_SLOTS)), hide_env_values = true)]
    slots: Option<u32>,
    /// TOML file of the programs that this worker runs, by kind; beside the built-in echo, sleep and noop
    #[arg(long, env = "HERDSMAN_HANDLERS", value_name = "FILE", hide_env_values = true)]
    handlers: Option<PathBuf>,
    /// Queues that it takes tasks from, with commas between them; at most 64
    #[arg(
        long,
        env = "HERDSMAN_QUEUES",
        default_value = "default",
        value_name = "QUEUE",
        value_delimiter = ',',
        hide_env_values = true
    )]
    queues: Vec<QueueName>,
    /// A label of this worker, which tasks may require; repeat for several, at most 16
    #[arg(long = "label", env = "HERDSMAN_LABEL", value_name = "KEY=VALUE", value_parser = label, hide_env_values = true)]
    labels: Vec<(String, String)>,
}

impl Offer {
    pub(in crate::cli) fn queues(&self) -> Result<BTreeSet<QueueName>, Failure> {
        let queues: BTreeSet<_> = self.queues.iter().cloned().collect();
        at_most("--queues", queues.len(), WorkerOffer::MAX_QUEUES).map(|()| queues)
    }

    pub(in crate::cli) fn labels(&self) -> Result<BTreeMap<String, String>, Failure> {
        let labels: BTreeMap<_, _> = self.labels.iter().cloned().collect();
        at_most("--label", labels.len(), MAX_LABELS).map(|()| labels)
    }

    pub(in crate::cli) fn slots(&self) -> u32 {
        let processors = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.slots.unwrap_or_else(|| u32::try_from(processors()).unwrap_or(1).min(WorkerOffer::MAX_SLOTS))
    }

    /// The built-in handlers and those of the file; one of the file may take the place of a built-in one.
    pub(in crate::cli) fn handlers(&self) -> Result<Handlers, Failure> {
        let Some(file) = &self.handlers else { return Ok(Handlers::built_in()) };
        let guard = Guard::this_program().map_err(Failure::unable)?;
        handlers::load(file, &guard).map_err(Failure::unable).map(|loaded| Handlers::built_in().and(loaded))
    }
}

#[derive(Debug, Args)]
#[command(after_help = format!("\
A handlers file, one section a kind:
  [handlers.wordcount]
  program = \"/usr/bin/wc\"    # absolute; the payload is its stdin, its stdout the result
  args = [\"-w\"]

Examples:
  herdsman worker --zookeeper zk1:2181 --queues default,nightly --handlers handlers.toml

{AFTER_HELP}"))]
pub(in crate::cli) struct Worker {
    #[command(flatten)]
    place: Place,
    /// Address to listen on, for logs, health and metrics; port 0 takes any
    #[arg(long, env = "HERDSMAN_LISTEN", default_value = "127.0.0.1:7072", value_name = "ADDR", value_parser = listen_address, hide_env_values = true)]
    listen: SocketAddr,
    #[command(flatten)]
    part: Part,
    #[command(flatten)]
    offer: Offer,
}

/// A worker's part in a cluster.
#[derive(Debug, Args)]
pub(super) struct Part {
    /// The worker's name, to be the same after a restart; not given: the host's name, with the port if that is not 7072
    #[arg(long, env = "HERDSMAN_WORKER_ID", value_name = "ID", hide_env_values = true)]
    id: Option<WorkerId>,
    /// How long a graceful stop waits for what runs; the rest is given back to the leader
    #[arg(long, env = "HERDSMAN_DRAIN", default_value = "30s", value_name = "DURATION", value_parser = duration, hide_env_values = true)]
    pub(super) drain: Duration,
}

impl Part {
    pub(super) fn id(&self, host: &str, port: u16) -> WorkerId {
        self.id.clone().unwrap_or_else(|| default_id(host, port))
    }
}

impl Worker {
    /// The port on which a worker needs no suffix to its name.
    const DEFAULT_PORT: u16 = 7072;

    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let handlers = self.offer.handlers()?;
        let (queues, labels) = (self.offer.queues()?, self.offer.labels()?);
        let ready = self.place.ready("worker", self.listen).await?;
        let options = worker::Options {
            store: Arc::new(ready.store),
            listener: ready.listener,
            advertise: ready.advertise,
            worker_id: self.part.id(&host_name(), ready.bound.port()),
            slots: self.offer.slots(),
            queues,
            labels,
            handlers,
            drain: self.part.drain,
            beside: None,
        };
        serve(worker::run(options, shutdown::on_signal())).await
    }
}

/// A worker with more would be refused by every leader.
fn at_most(option: &str, number: usize, most: usize) -> Result<(), Failure> {
    if number <= most {
        return Ok(());
    }
    Err(Failure::unable(format!("{option}: must be at most {most}, are {number}; --help explains")))
}

/// A name that only one worker of a host can have, because only one has the port, and that it has again after a restart.
fn default_id(host: &str, port: u16) -> WorkerId {
    /// Longest part of the host's name: an id has 63 bytes, `-65535` six of them.
    const MAX_HOST_BYTES: usize = 57;
    let clean: String = host
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' })
        .skip_while(|c| !c.is_ascii_alphanumeric())
        .take(MAX_HOST_BYTES)
        .collect();
    let host = if clean.is_empty() { "worker" } else { &clean };
    let id = if port == Worker::DEFAULT_PORT { host.to_owned() } else { format!("{host}-{port}") };
    id.parse().expect("a name made of the allowed characters is an id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_named_after_its_host_and_its_port() {
        let id = |host: &str, port| default_id(host, port).to_string();
        assert_eq!(id("Node-7.example", 7072), "node-7.example");
        assert_eq!(id("node", 40_001), "node-40001");
        assert_eq!(id("-Ünder score", 7072), "nder-score");
        assert_eq!(id("", 7072), "worker");
        assert_eq!(id(&"h".repeat(80), 65_535).len(), 63);
    }
}
