//! `dev`: master, worker and client service in this one process, over the embedded store.

mod demo;

use std::{
    io::IsTerminal,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::{Args, builder::FalseyValueParser};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{
    exit::{Failure, note},
    options::listen_address,
    roles::{Keep, Offer, listen_on},
    trio::Trio,
};
use crate::{
    client, master,
    runtime::{dial::dial, open_files, shutdown, telemetry},
    store::embedded::EmbeddedStore,
    worker,
};

/// How long a stop waits for what runs. Short, because a person waits at the terminal: what is given back runs again at
/// the next start.
const DRAIN: Duration = Duration::from_secs(5);
/// The one worker.
const WORKER_ID: &str = "dev";

#[derive(Debug, Args)]
#[command(after_help = "\
Tasks survive a restart: they are in one file under the data directory, which one process at a
time can use. With --in-memory nothing is kept.
Ctrl-C stops it gracefully, a second one at once.

Examples:
  herdsman dev --demo              see it work
  herdsman dev --in-memory         leave nothing behind
  herdsman dev --handlers handlers.toml --slots 8
  herdsman dev --queues default,mail,nightly")]
pub(super) struct Dev {
    /// Address of the client service; port 0 takes any
    #[arg(long, env = "HERDSMAN_LISTEN", default_value = "127.0.0.1:7070", value_name = "ADDR", value_parser = listen_address, hide_env_values = true)]
    listen: SocketAddr,
    /// Where tasks are kept; not given: $XDG_DATA_HOME/herdsman or ~/.local/share/herdsman
    #[arg(long, env = "HERDSMAN_DATA_DIR", value_name = "DIR", hide_env_values = true)]
    data_dir: Option<PathBuf>,
    /// Keep nothing: tasks end with the process
    #[arg(long, env = "HERDSMAN_IN_MEMORY", conflicts_with = "data_dir", value_parser = FalseyValueParser::new(), hide_env_values = true)]
    in_memory: bool,
    #[command(flatten)]
    offer: Offer,
    /// Submit a handful of real tasks, show how they run, and leave the cluster up
    #[arg(long, env = "HERDSMAN_DEMO", value_parser = FalseyValueParser::new(), hide_env_values = true)]
    demo: bool,
    /// Listen also where others than this host can connect: there is no encryption and no authentication
    #[arg(long, env = "HERDSMAN_INSECURE", value_parser = FalseyValueParser::new(), hide_env_values = true)]
    insecure: bool,
    #[command(flatten)]
    keep: Keep,
}

impl Dev {
    pub(super) async fn run(self) -> Result<(), Failure> {
        // The story that the demo tells is not to be interrupted by the logs of what goes well.
        let _telemetry =
            telemetry::init_with("dev", if self.demo { "warn" } else { "info" }).map_err(Failure::unable)?;
        open_files::allow_many();
        let mut handlers = self.offer.handlers()?;
        let (queues, labels) = (self.offer.queues()?, self.offer.labels()?);
        let demo = if self.demo { Some(demo::Demo::prepare(&mut handlers)?) } else { None };
        let (listener, address) = listen_on(self.listen, self.insecure).await?;
        let data_dir = if self.in_memory { None } else { Some(self.data_dir.clone().map_or_else(default_dir, Ok)?) };
        let store = Arc::new(open(data_dir.clone()).await?);
        let place = data_dir.map_or("in memory only".to_owned(), |dir| format!("in {}", dir.display()));

        let shutdown = shutdown::on_signal();
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let (master_listener, master_address) = listen_on(any_port, false).await?;
        let (worker_listener, worker_address) = listen_on(any_port, false).await?;
        let master = master::Options {
            limits: self.keep.limits(&*store),
            store: store.clone(),
            listener: master_listener,
            advertise: master_address.to_string(),
            spare_own_worker: false,
            beside: None,
        };
        let worker = worker::Options {
            store: store.clone(),
            listener: worker_listener,
            advertise: worker_address.to_string(),
            worker_id: WORKER_ID.parse().map_err(Failure::unable)?,
            slots: self.offer.slots(),
            queues,
            labels,
            handlers,
            drain: DRAIN,
            beside: None,
        };
        let mut trio = Trio::start(master, worker, client::Options::new(store, listener));
        let told = async {
            serving(address).await?;
            tracing::info!(%address, tasks = place, "the cluster is up");
            match demo {
                Some(demo) => demo.run(address, &place).await,
                None if std::io::stderr().is_terminal() => {
                    note(banner(address, &place));
                    Ok(())
                }
                None => Ok(()),
            }
        };
        let told = tokio::select! {
            told = told => told,
            () = shutdown.cancelled() => Ok(()),
            () = trio.failed() => Ok(()),
        };
        if told.is_ok() {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = trio.failed() => {}
            }
        }
        trio.stop().await.and(told)
    }
}

/// Waits until the client service has found its leader.
async fn serving(address: SocketAddr) -> Result<(), Failure> {
    let mut health = HealthClient::new(dial(&address.to_string()).await.map_err(Failure::unable)?);
    let mut statuses = health.watch(HealthCheckRequest::default()).await?.into_inner();
    while let Some(answer) = statuses.message().await? {
        if answer.status() == ServingStatus::Serving {
            return Ok(());
        }
    }
    Err(Failure::unable("the client service ended before it found its leader"))
}

/// Opening reads and checks the whole file.
async fn open(data_dir: Option<PathBuf>) -> Result<EmbeddedStore, Failure> {
    let opening = tokio::task::spawn_blocking(move || match data_dir.as_deref() {
        Some(dir) => EmbeddedStore::open(dir),
        None => EmbeddedStore::in_memory(),
    });
    opening.await.map_err(Failure::unable)?.map_err(Failure::unable)
}

fn default_dir() -> Result<PathBuf, Failure> {
    // The specification of XDG_DATA_HOME wants one that is not absolute ignored.
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = set("XDG_DATA_HOME").or_else(|| Some(set("HOME")?.join(".local/share")));
    let nowhere = || Failure::unable("HOME is not set: say --data-dir DIR or --in-memory");
    base.map(|base| base.join("herdsman")).ok_or_else(nowhere)
}

fn banner(address: SocketAddr, place: &str) -> String {
    format!(
        "\nHerdsman is up: master, worker and client service; tasks are kept {place}.\n\n{}",
        next_lines(address, None)
    )
}

/// What to type next, in another terminal.
fn next_lines(address: SocketAddr, task_id: Option<&str>) -> String {
    let program = std::env::args().next().unwrap_or_default();
    let program = if Path::new(&program).components().count() > 1 { &program } else { "herdsman" };
    let server = if address.port() == 7070 && address.ip().is_loopback() {
        String::new()
    } else {
        format!(" --server http://{address}")
    };
    let get = task_id.map(|id| format!("  {program} get{server} {id}\n")).unwrap_or_default();
    let (method, request) = match task_id {
        Some(id) => ("GetTask", format!(r#"{{"task_id": "{id}"}}"#)),
        None => ("SubmitTask", r#"{"spec": {"kind": "echo", "payload": "aGk="}}"#.to_owned()),
    };
    format!(
        "In another terminal:
  {program} submit{server} --kind echo --payload hi --watch
  {program} submit{server} --kind sleep --payload 250ms --count 40 --watch
  {program} list{server}
{get}  grpcurl -plaintext {address} list
  grpcurl -plaintext -d '{request}' {address} herdsman.v1.TaskService/{method}
  curl http://{address}/metrics
Ctrl-C stops it."
    )
}
