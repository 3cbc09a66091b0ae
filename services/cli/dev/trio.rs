//! The three services as tasks of this process: started together, stopped in the order in which nothing is lost.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{exit::Failure, roles::listen_on},
    client,
    domain::{QueueName, WorkerId},
    master,
    store::embedded::EmbeddedStore,
    worker::{self, handler::Handlers},
};

/// How long a stop waits for what runs. Short, because a person waits at the terminal: what is given back runs again at
/// the next start.
const DRAIN: Duration = Duration::from_secs(5);
/// The one worker.
const WORKER_ID: &str = "dev";

/// One service, running.
struct Running {
    role: &'static str,
    stop: CancellationToken,
    handle: JoinHandle<Result<(), String>>,
}

pub(super) struct Trio {
    /// In the order of a stop: nothing new comes in, then what runs is finished or given back, then the leader goes.
    services: [Running; 3],
    failed: watch::Receiver<bool>,
}

impl Trio {
    pub(super) async fn start(
        store: Arc<EmbeddedStore>,
        listener: TcpListener,
        limits: master::Limits,
        slots: u32,
        queues: BTreeSet<QueueName>,
        handlers: Handlers,
    ) -> Result<Self, Failure> {
        let any_port = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let (master_listener, master_address) = listen_on(any_port, false).await?;
        let (worker_listener, worker_address) = listen_on(any_port, false).await?;
        let master = master::Options {
            store: store.clone(),
            listener: master_listener,
            advertise: master_address.to_string(),
            limits,
        };
        let worker = worker::Options {
            store: store.clone(),
            listener: worker_listener,
            advertise: worker_address.to_string(),
            worker_id: WORKER_ID.parse::<WorkerId>().map_err(Failure::unable)?,
            slots,
            queues,
            labels: std::collections::BTreeMap::new(),
            handlers,
            drain: DRAIN,
        };
        let client = client::Options::new(store, listener);
        let (failing, failed) = watch::channel(false);
        let services = [
            Running::start("client service", &failing, |stop| client::run(client, stop)),
            Running::start("worker", &failing, |stop| worker::run(worker, stop)),
            Running::start("master", &failing, |stop| master::run(master, stop)),
        ];
        Ok(Self { services, failed })
    }

    /// Resolves when a service has ended without being asked to.
    pub(super) async fn failed(&mut self) {
        if self.failed.wait_for(|failed| *failed).await.is_err() {
            // All have ended well, which only a stop can bring about.
            std::future::pending::<()>().await;
        }
    }

    /// Stops the services one after the other.
    pub(super) async fn stop(self) -> Result<(), Failure> {
        let mut first_error = None;
        for service in self.services {
            service.stop.cancel();
            let ended = service.handle.await.unwrap_or_else(|error| Err(error.to_string()));
            if let Err(error) = ended {
                first_error.get_or_insert(format!("the {} ended: {error}", service.role));
            }
        }
        first_error.map_or(Ok(()), |error| Err(Failure::unable(error)))
    }
}

impl Running {
    fn start<F, E>(
        role: &'static str,
        failing: &watch::Sender<bool>,
        run: impl FnOnce(CancellationToken) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        let stop = CancellationToken::new();
        let (running, failing) = (run(stop.clone()), failing.clone());
        // Says so also when the service panics.
        let watcher = stop.clone();
        let service = tokio::spawn(running);
        let handle = tokio::spawn(async move {
            let ended = service.await;
            if !watcher.is_cancelled() {
                failing.send_replace(true);
            }
            match ended {
                Ok(ended) => ended.map_err(|error| error.to_string()),
                Err(panicked) => Err(panicked.to_string()),
            }
        });
        Self { role, stop, handle }
    }
}
