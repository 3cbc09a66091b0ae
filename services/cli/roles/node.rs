//! `node`: master, worker and client service of a cluster in this one process.

use std::{net::SocketAddr, sync::Arc};

use clap::Args;

use super::{
    AFTER_HELP, Ensemble, advertised_as,
    client::Watching,
    host_name, listen_on,
    master::{Keep, Packs},
    worker::{Offer, Part},
};
use crate::{
    cli::{
        exit::Failure,
        options::{Switch, host, listen_address},
        trio::Trio,
    },
    client, master,
    runtime::{open_files, shutdown, telemetry},
    worker,
};

#[derive(Debug, Args)]
#[command(after_help = format!("\
Three of them on three machines are a cluster: one leads, and every one of them runs tasks and
talks to submitters. The leader's own worker is left in peace while the others have room.

Examples, each line on a host of its own:
  herdsman node --zookeeper zk1:2181,zk2:2181,zk3:2181 --insecure --bind 0.0.0.0 --slots 8
  herdsman node --zookeeper zk1:2181,zk2:2181,zk3:2181 --insecure --bind 0.0.0.0 --slots 8
  herdsman node --zookeeper zk1:2181,zk2:2181,zk3:2181 --insecure --bind 0.0.0.0 --slots 8

{AFTER_HELP}"))]
pub(in crate::cli) struct Node {
    #[command(flatten)]
    ensemble: Ensemble,
    /// Address of the client service; port 0 takes any
    #[arg(long, env = "HERDSMAN_LISTEN", default_value = "127.0.0.1:7070", value_name = "ADDR", value_parser = listen_address, hide_env_values = true)]
    listen: SocketAddr,
    /// Address of the master, for the other nodes; port 0 takes any
    #[arg(long, env = "HERDSMAN_MASTER_LISTEN", default_value = "127.0.0.1:7071", value_name = "ADDR", value_parser = listen_address, hide_env_values = true)]
    master_listen: SocketAddr,
    /// Address of the worker, for the other nodes; port 0 takes any
    #[arg(long, env = "HERDSMAN_WORKER_LISTEN", default_value = "127.0.0.1:7072", value_name = "ADDR", value_parser = listen_address, hide_env_values = true)]
    worker_listen: SocketAddr,
    /// Listen here with all three ports, whatever address they were given with
    #[arg(long, env = "HERDSMAN_BIND", value_name = "IP", hide_env_values = true)]
    bind: Option<std::net::IpAddr>,
    /// Where the other nodes reach this one; not given: where it listens, or, if that is every address, this host's name
    #[arg(long, env = "HERDSMAN_ADVERTISE_HOST", value_name = "HOST", value_parser = host, hide_env_values = true)]
    advertise_host: Option<String>,
    /// Whether this node's worker, while its master leads, gets tasks only when no other worker that takes them has room
    #[arg(long, env = "HERDSMAN_SPARE_OWN_WORKER", default_value = "on", hide_env_values = true)]
    spare_own_worker: Switch,
    #[command(flatten)]
    packs: Packs,
    #[command(flatten)]
    part: Part,
    #[command(flatten)]
    offer: Offer,
    #[command(flatten)]
    watching: Watching,
    #[command(flatten)]
    keep: Keep,
}

impl Node {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let _telemetry = telemetry::init("node").map_err(Failure::unable)?;
        open_files::allow_many();
        let handlers = self.offer.handlers()?;
        let (queues, labels) = (self.offer.queues()?, self.offer.labels()?);
        let at = |listen: SocketAddr| SocketAddr::new(self.bind.unwrap_or(listen.ip()), listen.port());
        let insecure = self.ensemble.insecure;
        let (listener, address) = listen_on(at(self.listen), insecure).await?;
        let (master_listener, master_address) = listen_on(at(self.master_listen), insecure).await?;
        let (worker_listener, worker_address) = listen_on(at(self.worker_listen), insecure).await?;
        let advertised = |bound| advertised_as(self.advertise_host.as_deref(), bound);
        let store = Arc::new(self.packs.apply(self.ensemble.connect().await?));

        let master = master::Options {
            limits: self.keep.limits(&*store),
            store: store.clone(),
            listener: master_listener,
            advertise: advertised(master_address),
            spare_own_worker: self.spare_own_worker == Switch::On,
            beside: None,
        };
        let worker_id = self.part.id(&host_name(), worker_address.port());
        let worker = worker::Options {
            store: store.clone(),
            listener: worker_listener,
            advertise: advertised(worker_address),
            worker_id: worker_id.clone(),
            slots: self.offer.slots(),
            queues,
            labels,
            handlers,
            drain: self.part.drain,
            beside: None,
        };
        let client = self.watching.apply(client::Options::new(store, listener));
        let shutdown = shutdown::on_signal();
        let mut trio = Trio::start(master, worker, client);
        tracing::info!(%address, master = %master_address, worker = %worker_address, %worker_id, "the node is up");
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = trio.failed() => {}
        }
        trio.stop().await
    }
}
