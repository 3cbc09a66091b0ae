//! `client`: the client service.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use clap::Args;

use super::{AFTER_HELP, Place, serve};
use crate::{
    cli::{
        exit::Failure,
        options::{duration, listen_address},
    },
    client::{self, Options},
    runtime::shutdown,
};

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(in crate::cli) struct Client {
    #[command(flatten)]
    place: Place,
    /// Address to listen on; port 0 takes any
    #[arg(long, env = "HERDSMAN_LISTEN", default_value = "127.0.0.1:7070", value_name = "ADDR", value_parser = listen_address, hide_env_values = true)]
    listen: SocketAddr,
    #[command(flatten)]
    watching: Watching,
}

/// How much a client service may be watched.
#[derive(Debug, Args)]
pub(super) struct Watching {
    /// How long a watch may last before it is asked to come again, so that watchers spread over the client services
    #[arg(long, env = "HERDSMAN_MAX_WATCH_AGE", default_value = "1h", value_name = "DURATION", value_parser = duration, hide_env_values = true)]
    max_watch_age: Duration,
    /// Most watches at the same time
    #[arg(long, env = "HERDSMAN_MAX_WATCHES", default_value_t = Options::DEFAULT_MAX_WATCHES, value_name = "N", hide_env_values = true)]
    max_watches: usize,
}

impl Watching {
    pub(super) fn apply(&self, options: Options) -> Options {
        Options { max_watch_age: self.max_watch_age, max_watches: self.max_watches, ..options }
    }
}

impl Client {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let ready = self.place.ready("client", self.listen).await?;
        let options = self.watching.apply(Options::new(Arc::new(ready.store), ready.listener));
        serve(client::run(options, shutdown::on_signal())).await
    }
}
