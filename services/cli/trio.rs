//! The three services as tasks of this process: started together, stopped in the order in which nothing is lost.

use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::exit::Failure;
use crate::{client, master, worker};

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
    pub(super) fn start(master: master::Options, worker: worker::Options, client: client::Options) -> Self {
        let (failing, failed) = watch::channel(false);
        let services = [
            Running::start("client service", &failing, |stop| client::run(client, stop)),
            Running::start("worker", &failing, |stop| worker::run(worker, stop)),
            Running::start("master", &failing, |stop| master::run(master, stop)),
        ];
        Self { services, failed }
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
