//! The three services as tasks of this process: started together, stopped in the order in which nothing is lost.

use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::exit::Failure;
use crate::{client, master, runtime::near_links::door, worker};

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
    /// Starts the three, beside each other.
    pub(super) fn start(mut master: master::Options, mut worker: worker::Options, mut client: client::Options) -> Self {
        let (door, arrivals) = door(master.advertise.clone());
        (master.beside, worker.beside, client.beside) = (Some(arrivals), Some(door.clone()), Some(door));
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

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc, time::Duration};

    use tokio::{net::TcpListener, time::timeout};

    use super::*;
    use crate::{
        cli::{follow, server::task_client, submit::send},
        domain::QueueName,
        master::Limits,
        runtime::dial::dial,
        store::embedded::EmbeddedStore,
        wire::proto::v1::{SubmitTaskRequest, TaskSpec, TaskState},
        worker::handler::Handlers,
    };

    const LIMIT: Duration = Duration::from_secs(20);
    /// Where nobody listens.
    const NOWHERE: &str = "127.0.0.1:1";

    #[tokio::test]
    async fn the_three_do_not_need_the_network_between_them() {
        let store = Arc::new(EmbeddedStore::in_memory().unwrap());
        let listener = || TcpListener::bind("127.0.0.1:0");
        let public = listener().await.unwrap();
        let address = public.local_addr().unwrap().to_string();
        let master = master::Options {
            store: store.clone(),
            listener: listener().await.unwrap(),
            advertise: NOWHERE.into(),
            limits: Limits::default(),
            spare_own_worker: false,
            beside: None,
        };
        let worker = worker::Options {
            store: store.clone(),
            listener: listener().await.unwrap(),
            advertise: NOWHERE.into(),
            worker_id: "w".parse().unwrap(),
            slots: 1,
            queues: BTreeSet::from([QueueName::default()]),
            labels: std::collections::BTreeMap::default(),
            handlers: Handlers::built_in(),
            drain: Duration::ZERO,
            beside: None,
        };
        let trio = Trio::start(master, worker, client::Options::new(store, public));
        let ran = async {
            let client = task_client(dial(&address).await.unwrap());
            let spec = TaskSpec { kind: "echo".into(), payload: "hi".into(), ..TaskSpec::default() };
            let request = SubmitTaskRequest { task_id: "t".into(), spec: Some(spec) };
            send::one(client.clone(), request).await.unwrap();
            let mut ended = None;
            follow::follow(client, &["t".to_owned()], |task| {
                ended = Some((task.state(), task.result));
                Ok(())
            })
            .await
            .unwrap();
            assert_eq!(ended, Some((TaskState::Succeeded, "hi".into())));
            trio.stop().await
        };
        assert!(timeout(LIMIT, ran).await.expect("in time").is_ok(), "each of them stops well");
    }
}
