//! Many idle workers in one process, each with a link, a membership and a port of its own, as the leader sees a thousand
//! machines: benches/figures/run measures by it what they cost the leader.
//!
//! ```text
//! cargo run --release --example crowd -- --zookeeper 127.0.0.1:2181 --workers 1000
//! ```

use std::{sync::Arc, time::Duration};

use clap::Parser;
use futures::{StreamExt, TryStreamExt, stream::FuturesUnordered};
use herdsman::{
    domain::{QueueName, WorkerId},
    runtime::{open_files, serve, shutdown, telemetry},
    store::zookeeper::{ZooKeeperOptions, ZooKeeperStore},
    worker::{self, handler::Handlers},
};

#[derive(Parser)]
struct Options {
    /// HOST:PORT[,HOST:PORT…][/CHROOT]
    #[arg(long)]
    zookeeper: String,
    #[arg(long, default_value_t = 1_000)]
    workers: usize,
    #[arg(long, default_value_t = 1)]
    slots: u32,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let _telemetry = telemetry::init("crowd")?;
    open_files::allow_many();
    let shutdown = shutdown::on_signal();
    let session_timeout = Duration::from_secs(4);
    let place = ZooKeeperOptions { servers_and_chroot: options.zookeeper, session_timeout };
    // They share what looks for the leader; each has a session of its own for its membership.
    let store = Arc::new(ZooKeeperStore::connect(place).await?);
    let workers = FuturesUnordered::new();
    for number in 0..options.workers {
        let listener = serve::bind(([127, 0, 0, 1], 0).into(), false).await?;
        let worker = worker::Options {
            store: store.clone(),
            advertise: listener.local_addr()?.to_string(),
            listener,
            worker_id: format!("crowd-{number}").parse::<WorkerId>()?,
            slots: options.slots,
            queues: [QueueName::default()].into(),
            labels: [].into(),
            handlers: Handlers::built_in(),
            drain: Duration::from_secs(1),
            beside: None,
        };
        workers.push(tokio::spawn(worker::run(worker, shutdown.clone())));
    }
    workers.map(|ended| anyhow::Ok(ended??)).try_collect::<()>().await
}
