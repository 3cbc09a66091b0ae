//! `master`, `worker`, `client`, `node`: options, bind, run. What all roles of a cluster are told is here.

mod client;
mod master;
mod node;
mod worker;

use std::{net::SocketAddr, time::Duration};

use clap::{Args, builder::FalseyValueParser};
use tokio::net::TcpListener;

pub(super) use self::{
    client::Client,
    master::{Keep, Master},
    node::Node,
    worker::{Offer, Worker},
};
use super::{
    exit::Failure,
    options::{duration, host_and_port},
};
use crate::{
    runtime::{
        open_files,
        serve::bind,
        telemetry::{self, TelemetryGuard},
    },
    store::zookeeper::{ZooKeeperOptions, ZooKeeperStore},
};

const AFTER_HELP: &str = "\
Logs go to stderr (HERDSMAN_LOG filters them), metrics are at http://LISTEN/metrics, health at
grpc.health.v1. SIGTERM or Ctrl-C stops gracefully, a second one at once.";

/// What every role of a cluster is told.
#[derive(Debug, Args)]
struct Ensemble {
    /// Servers of ZooKeeper, and the node that everything lies under; without one, /herdsman
    #[arg(long, env = "HERDSMAN_ZOOKEEPER", value_name = "HOST:PORT[,HOST:PORT…][/CHROOT]", hide_env_values = true)]
    zookeeper: String,
    /// How long ZooKeeper waits for a process that is cut off before it holds it for dead
    #[arg(long, env = "HERDSMAN_SESSION_TIMEOUT", default_value = "4s", value_name = "DURATION", value_parser = duration, hide_env_values = true)]
    session_timeout: Duration,
    /// Listen also where others than this host can connect: there is no encryption and no authentication
    #[arg(long, env = "HERDSMAN_INSECURE", value_parser = FalseyValueParser::new(), hide_env_values = true)]
    insecure: bool,
}

impl Ensemble {
    async fn connect(self) -> Result<ZooKeeperStore, Failure> {
        let options = ZooKeeperOptions { servers_and_chroot: self.zookeeper, session_timeout: self.session_timeout };
        ZooKeeperStore::connect(options).await.map_err(Failure::unable)
    }
}

/// The same for a process with one port.
#[derive(Debug, Args)]
struct Place {
    #[command(flatten)]
    ensemble: Ensemble,
    /// Where others reach this process; not given: where it listens, or, if that is every address, this host's name
    #[arg(long, env = "HERDSMAN_ADVERTISE", value_name = "HOST:PORT", value_parser = host_and_port, hide_env_values = true)]
    advertise: Option<String>,
}

/// What is there before a role runs. The port comes first: who cannot have it should not trouble ZooKeeper.
struct Ready {
    store: ZooKeeperStore,
    listener: TcpListener,
    bound: SocketAddr,
    advertise: String,
    _telemetry: TelemetryGuard,
}

/// Runs a service to its end on a thread of the runtime's own: what it spawns and what wakes it from there costs no system
/// call, as it does on the thread that waits for the whole.
async fn serve<E: std::fmt::Display + Send + 'static>(
    service: impl Future<Output = Result<(), E>> + Send + 'static,
) -> Result<(), Failure> {
    match tokio::spawn(service).await {
        Ok(ended) => ended.map_err(Failure::unable),
        // Its message was printed when it happened.
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

impl Place {
    async fn ready(self, role: &'static str, listen: SocketAddr) -> Result<Ready, Failure> {
        let telemetry = telemetry::init(role).map_err(Failure::unable)?;
        open_files::allow_many();
        let (listener, bound) = listen_on(listen, self.ensemble.insecure).await?;
        let advertise = self.advertise.unwrap_or_else(|| advertised(bound));
        let store = self.ensemble.connect().await?;
        Ok(Ready { store, listener, bound, advertise, _telemetry: telemetry })
    }
}

/// Binds, and says where.
pub(super) async fn listen_on(listen: SocketAddr, insecure: bool) -> Result<(TcpListener, SocketAddr), Failure> {
    let listener = bind(listen, insecure).await.map_err(Failure::unable)?;
    let bound = listener.local_addr().map_err(Failure::unable)?;
    Ok((listener, bound))
}

fn advertised(bound: SocketAddr) -> String {
    advertised_as(None, bound)
}

/// The same with another host, if one is given.
fn advertised_as(host: Option<&str>, bound: SocketAddr) -> String {
    match host {
        Some(host) => format!("{host}:{}", bound.port()),
        None if bound.ip().is_unspecified() => format!("{}:{}", host_name(), bound.port()),
        None => bound.to_string(),
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_stands_for_all_is_not_advertised() {
        assert_eq!(advertised("127.0.0.1:5".parse().unwrap()), "127.0.0.1:5");
        assert_eq!(advertised("0.0.0.0:5".parse().unwrap()), format!("{}:5", host_name()));
    }
}
