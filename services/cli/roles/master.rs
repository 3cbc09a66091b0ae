//! `master`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use clap::Args;

use super::{AFTER_HELP, Place, serve};
use crate::{
    cli::{
        exit::Failure,
        options::{Switch, duration, listen_address},
    },
    master::{self, Limits},
    runtime::shutdown,
    store::{Store, zookeeper::ZooKeeperStore},
};

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(in crate::cli) struct Master {
    #[command(flatten)]
    place: Place,
    /// Address to listen on; port 0 takes any
    #[arg(long, env = "HERDSMAN_LISTEN", default_value = "127.0.0.1:7071", value_name = "ADDR", value_parser = listen_address, hide_env_values = true)]
    listen: SocketAddr,
    #[command(flatten)]
    packs: Packs,
    #[command(flatten)]
    keep: Keep,
}

/// How a master writes.
#[derive(Debug, Args)]
pub(super) struct Packs {
    /// Whether tasks that are written together share nodes in ZooKeeper, which is several times as fast. A tree that a
    /// master with it on has led is led no more by a Herdsman that does not know it
    #[arg(long, env = "HERDSMAN_PACKING", default_value = "on", hide_env_values = true)]
    packing: Switch,
}

impl Packs {
    pub(super) fn apply(&self, store: ZooKeeperStore) -> ZooKeeperStore {
        store.packing(self.packing == Switch::On)
    }
}

impl Master {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let ready = self.place.ready("master", self.listen).await?;
        let options = master::Options {
            limits: self.keep.limits(&ready.store),
            store: Arc::new(self.packs.apply(ready.store)),
            listener: ready.listener,
            advertise: ready.advertise,
            spare_own_worker: false,
            beside: None,
        };
        serve(master::run(options, shutdown::on_signal())).await
    }
}

/// How much the cluster keeps, and for how long; the same for every master of a cluster, and in `dev`.
#[derive(Debug, Args)]
#[command(next_help_heading = "What is kept")]
pub(in crate::cli) struct Keep {
    /// Most tasks, ended ones that are still kept included; more are refused
    #[arg(long, env = "HERDSMAN_MAX_TASKS", default_value_t = 1_000_000, value_name = "N", hide_env_values = true)]
    max_tasks: u64,
    /// Most bytes of tasks, the same way
    #[arg(long, env = "HERDSMAN_MAX_BYTES", default_value_t = 1 << 30, value_name = "BYTES", hide_env_values = true)]
    max_bytes: u64,
    /// How long a worker that lost its link may come back before its tasks go elsewhere
    #[arg(long, env = "HERDSMAN_RECONNECT_GRACE", default_value = "2s", value_name = "DURATION", value_parser = duration, hide_env_values = true)]
    reconnect_grace: Duration,
    /// How long a task is kept that succeeded or was cancelled
    #[arg(long, env = "HERDSMAN_RETAIN_FINISHED", default_value = "10m", value_name = "DURATION", value_parser = duration, hide_env_values = true)]
    retain_finished: Duration,
    /// Most of them; the oldest go first, but none within a minute of its end
    #[arg(
        long,
        env = "HERDSMAN_RETAIN_FINISHED_COUNT",
        default_value_t = 100_000,
        value_name = "N",
        hide_env_values = true
    )]
    retain_finished_count: usize,
    /// How long a task is kept that failed
    #[arg(long, env = "HERDSMAN_RETAIN_FAILED", default_value = "7d", value_name = "DURATION", value_parser = duration, hide_env_values = true)]
    retain_failed: Duration,
    /// Most of them
    #[arg(
        long,
        env = "HERDSMAN_RETAIN_FAILED_COUNT",
        default_value_t = 10_000,
        value_name = "N",
        hide_env_values = true
    )]
    retain_failed_count: usize,
}

impl Keep {
    pub(in crate::cli) fn limits(&self, store: &dyn Store) -> Limits {
        Limits {
            max_tasks: self.max_tasks,
            max_bytes: self.max_bytes,
            reconnect_grace: self.reconnect_grace,
            takeover_grace: store.session_timeout(),
            retain_finished: self.retain_finished,
            retain_finished_count: self.retain_finished_count,
            retain_failed: self.retain_failed,
            retain_failed_count: self.retain_failed_count,
            // Which worker that is, the master itself knows.
            spare_beside: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        keep: Keep,
    }

    #[test]
    fn what_the_help_says_is_what_the_rules_have_by_default() {
        let store = crate::store::embedded::EmbeddedStore::in_memory().unwrap();
        let limits = Only::parse_from(["herdsman"]).keep.limits(&store);
        let expected = Limits { takeover_grace: store.session_timeout(), ..Limits::default() };
        assert_eq!(limits, expected);
    }
}
