//! What users may rely on, through the public API: the same cases over every way to run Herdsman.

mod acts;
mod bad_input;
mod drains;
mod explains;
mod lives;
mod output;
mod patience;
mod placement;
mod progress;
mod queues;
mod reads;
mod watches;

use herdsman::wire::proto::v1::{cluster_service_client::ClusterServiceClient, task_service_client::TaskServiceClient};
use tonic::transport::Channel;

use crate::support::{
    cluster::{Cluster, LIMIT, tasks, workers_are_ready},
    eventually,
    process::Role,
    scripts::Handlers,
    zookeeper::{fresh_chroot, shared},
};

/// What the worker serves.
const QUEUES: &str = "default,one,two";
/// What it is told: how much it runs at once, what it serves, and what is so of it.
const WORKER: [&str; 8] = ["--slots", "4", "--queues", QUEUES, "--label", "zone=a", "--label", "ssd="];

/// A running Herdsman, whichever way; it has one worker with four slots.
pub struct Herdsman {
    pub url: String,
    pub tasks: TaskServiceClient<Channel>,
    _processes: Processes,
    _handlers: Handlers,
}

#[allow(dead_code, reason = "held until the end of the test")]
enum Processes {
    Dev(Role, Option<tempfile::TempDir>),
    Cluster(Cluster),
}

impl Herdsman {
    async fn dev(options: &[&str], directory: Option<tempfile::TempDir>) -> Self {
        let handlers = Handlers::new();
        let (base, file) = (["dev", "--listen", "127.0.0.1:0"], handlers.file());
        let role = Role::start(&[&base[..], &WORKER, &["--handlers", &file], options].concat()).await;
        let url = role.url();
        workers_are_ready(&url, 1).await;
        Self { tasks: tasks(&url).await, url, _processes: Processes::Dev(role, directory), _handlers: handlers }
    }

    pub async fn in_memory() -> Self {
        Self::dev(&["--in-memory"], None).await
    }

    pub async fn embedded() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().display().to_string();
        Self::dev(&["--data-dir", &path], Some(directory)).await
    }

    pub async fn zookeeper() -> Self {
        let tree = format!("{}{}", shared().address(), fresh_chroot());
        let handlers = Handlers::new();
        let file = handlers.file();
        let cluster = Cluster::start(tree, 1, 1, &[&WORKER[..], &["--handlers", &file]].concat()).await;
        let url = cluster.clients[0].url();
        let tasks = cluster.tasks().await;
        Self { tasks, url, _processes: Processes::Cluster(cluster), _handlers: handlers }
    }

    pub async fn cluster_service(&self) -> ClusterServiceClient<Channel> {
        let connect = async || ClusterServiceClient::connect(self.url.clone()).await.ok();
        eventually("the client service answers", LIMIT, connect).await
    }
}

/// Every case over every way to run Herdsman, each a test of its own.
macro_rules! cases {
    ($($case:ident),+ $(,)?) => {
        mod in_memory { $( #[tokio::test(flavor = "multi_thread")] async fn $case() {
            super::$case($crate::behaviour::Herdsman::in_memory().await).await;
        } )+ }
        mod embedded { $( #[tokio::test(flavor = "multi_thread")] async fn $case() {
            super::$case($crate::behaviour::Herdsman::embedded().await).await;
        } )+ }
        mod zookeeper { $( #[tokio::test(flavor = "multi_thread")] async fn $case() {
            super::$case($crate::behaviour::Herdsman::zookeeper().await).await;
        } )+ }
    };
}
use cases;
