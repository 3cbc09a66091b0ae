//! A whole cluster of real processes on a real ZooKeeper, and a generated client to talk to it.

use std::{path::Path, time::Duration};

use herdsman::wire::proto::v1::{
    self, GetClusterRequest, GetTaskRequest, ListWorkersRequest, SubmitTaskRequest, Task, TaskSpec, TaskState,
    WatchTaskRequest, WorkerState, cluster_service_client::ClusterServiceClient,
    task_service_client::TaskServiceClient,
};
use tonic::{Status, transport::Channel};

use super::{eventually, process::Role};

/// Long enough for a failover on a machine that is busy with other tests.
pub const LIMIT: Duration = Duration::from_mins(1);
/// Short, so that a test that waits for an expiry is not slow.
const SESSION_TIMEOUT: &str = "2s";

/// Processes by role. Dropping one kills it.
pub struct Cluster {
    zookeeper: String,
    master_options: Vec<String>,
    pub masters: Vec<Role>,
    pub workers: Vec<Role>,
    pub clients: Vec<Role>,
}

impl Cluster {
    /// `zookeeper` is a connect string with a chroot.
    pub async fn start(zookeeper: String, masters: usize, workers: usize, worker_options: &[&str]) -> Self {
        Self::start_with(&[], zookeeper, masters, workers, worker_options).await
    }

    /// As [`Self::start`], with options for the masters too.
    pub async fn start_with(
        master_options: &[&str],
        zookeeper: String,
        masters: usize,
        workers: usize,
        worker_options: &[&str],
    ) -> Self {
        let master_options = master_options.iter().map(ToString::to_string).collect();
        let (no_masters, no_workers, clients) = (Vec::new(), Vec::new(), Vec::new());
        let mut cluster = Self { zookeeper, master_options, masters: no_masters, workers: no_workers, clients };
        for _ in 0..masters {
            cluster.add_master().await;
        }
        cluster.add_client().await;
        for at in 0..workers {
            cluster.add_worker(&format!("worker-{at}"), worker_options).await;
        }
        cluster.workers_are_ready(workers).await;
        cluster
    }

    pub async fn add_master(&mut self) -> usize {
        let options: Vec<_> = self.master_options.iter().map(String::as_str).collect();
        let role = self.role("master", &options).await;
        self.masters.push(role);
        self.masters.len() - 1
    }

    pub async fn add_client(&mut self) -> usize {
        let role = self.role("client", &[]).await;
        self.clients.push(role);
        self.clients.len() - 1
    }

    pub async fn add_worker(&mut self, id: &str, options: &[&str]) -> usize {
        let role = self.role("worker", &[&["--id", id], options].concat()).await;
        self.workers.push(role);
        self.workers.len() - 1
    }

    /// A new incarnation in the place of one that is gone.
    pub async fn restart_worker(&mut self, at: usize, id: &str, options: &[&str]) {
        self.workers[at] = self.role("worker", &[&["--id", id], options].concat()).await;
    }

    async fn role(&self, role: &str, options: &[&str]) -> Role {
        let base =
            [role, "--zookeeper", &self.zookeeper, "--listen", "127.0.0.1:0", "--session-timeout", SESSION_TIMEOUT];
        Role::start(&[&base, options].concat()).await
    }

    pub async fn tasks(&self) -> TaskServiceClient<Channel> {
        tasks(&self.clients[0].url()).await
    }

    /// Waits until so many workers get tasks.
    pub async fn workers_are_ready(&self, count: usize) {
        workers_are_ready(&self.clients[0].url(), count).await;
    }

    /// What the leader tells of the cluster.
    pub async fn told(&self) -> v1::Cluster {
        told(&self.clients[0].url()).await
    }

    /// The master that leads, by its address.
    pub async fn leader(&self) -> usize {
        let address = self.told().await.leader.expect("who tells, leads").address;
        let leads = |master: &Role| master.address().to_string() == address;
        self.masters.iter().position(leads).unwrap_or_else(|| panic!("nobody of ours leads at {address}"))
    }
}

async fn told(url: &str) -> v1::Cluster {
    eventually("somebody leads", LIMIT, async || {
        let mut cluster = cluster_service(url).await?;
        cluster.get_cluster(GetClusterRequest {}).await.ok()?.into_inner().cluster
    })
    .await
}

/// The address of the master that leads, as a client service says it.
pub async fn leader_of(url: &str) -> String {
    told(url).await.leader.expect("who tells, leads").address
}

async fn cluster_service(url: &str) -> Option<ClusterServiceClient<Channel>> {
    ClusterServiceClient::connect(url.to_owned()).await.ok()
}

/// A generated client of a server that may still be starting.
pub async fn tasks(url: &str) -> TaskServiceClient<Channel> {
    eventually("the client service answers", LIMIT, async || TaskServiceClient::connect(url.to_owned()).await.ok())
        .await
}

/// Waits until so many workers get tasks.
pub async fn workers_are_ready(url: &str, count: usize) {
    eventually(&format!("{count} workers are ready"), LIMIT, async || {
        let workers =
            cluster_service(url).await?.list_workers(ListWorkersRequest::default()).await.ok()?.into_inner().workers;
        let ready = workers.iter().filter(|worker| worker.state() == WorkerState::Ready).count();
        (ready == count).then_some(())
    })
    .await;
}

pub fn spec(kind: &str, payload: &str) -> TaskSpec {
    TaskSpec { kind: kind.into(), payload: payload.as_bytes().to_vec().into(), ..TaskSpec::default() }
}

pub fn request(id: &str, kind: &str, payload: &str) -> SubmitTaskRequest {
    SubmitTaskRequest { task_id: id.into(), spec: Some(spec(kind, payload)) }
}

/// Submits until it is known to be in: an unknown outcome is asked again with the same id.
pub async fn submit(tasks: &mut TaskServiceClient<Channel>, request: SubmitTaskRequest) -> Task {
    eventually("the submit is accepted", LIMIT, async || match tasks.submit_task(request.clone()).await {
        Ok(response) => response.into_inner().task,
        Err(status) if is_passing(&status) => None,
        Err(status) => panic!("{}: {status:?}", request.task_id),
    })
    .await
}

/// Follows a task to its end, across whatever happens to leaders and client services.
pub async fn ended(tasks: &mut TaskServiceClient<Channel>, id: &str) -> Task {
    eventually(&format!("{id} ends"), LIMIT, async || {
        let request = WatchTaskRequest { task_id: id.into(), after_revision: 0 };
        let mut events = match tasks.watch_task(request).await {
            Ok(events) => events.into_inner(),
            Err(status) if is_passing(&status) => return None,
            Err(status) => panic!("{id}: {status:?}"),
        };
        while let Ok(Some(event)) = events.message().await {
            let task = event.task.expect("an event has its task");
            if is_terminal(&task) {
                return Some(task);
            }
        }
        None
    })
    .await
}

pub async fn get(tasks: &mut TaskServiceClient<Channel>, id: &str) -> Task {
    eventually(&format!("{id} is told"), LIMIT, async || {
        match tasks.get_task(GetTaskRequest { task_id: id.into() }).await {
            Ok(response) => response.into_inner().task,
            Err(status) if is_passing(&status) => None,
            Err(status) => panic!("{id}: {status:?}"),
        }
    })
    .await
}

/// Waits until a task is in a state.
pub async fn reaches(tasks: &mut TaskServiceClient<Channel>, id: &str, state: TaskState) -> Task {
    eventually(&format!("{id} is {state:?}"), LIMIT, async || {
        let task = get(tasks, id).await;
        (task.state() == state).then_some(task)
    })
    .await
}

pub fn is_terminal(task: &Task) -> bool {
    matches!(task.state(), TaskState::Succeeded | TaskState::Failed | TaskState::Cancelled)
}

/// Trouble of the moment, which a client meets by asking again.
fn is_passing(status: &Status) -> bool {
    use tonic::Code;
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown)
}

/// A handlers file whose kind `record` writes a line at each start and each end of an attempt, and takes a while.
pub struct Record {
    directory: tempfile::TempDir,
}

/// One line of the record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub what: String,
    pub task_id: String,
    pub attempt: u32,
}

impl Record {
    /// An attempt takes `seconds`, in the words of sleep(1).
    pub fn new(seconds: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let lines = directory.path().join("lines");
        let line = |what: &str| format!("echo {what} $HERDSMAN_TASK_ID $HERDSMAN_ATTEMPT >> {}", lines.display());
        let script = format!("{}; /bin/sleep {seconds}; {}; echo done", line("start"), line("end"));
        let file = format!("[handlers.record]\nprogram = \"/bin/sh\"\nargs = [\"-c\", '''{script}''']\n");
        std::fs::write(directory.path().join("handlers.toml"), file).unwrap();
        std::fs::write(&lines, "").unwrap();
        Self { directory }
    }

    pub fn handlers(&self) -> String {
        self.file("handlers.toml").display().to_string()
    }

    pub fn lines(&self) -> Vec<Line> {
        let text = std::fs::read_to_string(self.file("lines")).unwrap();
        let line = |line: &str| {
            let mut words = line.split(' ');
            let (what, task_id, attempt) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
            Some(Line { what: what.into(), task_id: task_id.into(), attempt })
        };
        text.lines().map(|text| line(text).unwrap_or_else(|| panic!("not a line of the record: {text:?}"))).collect()
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.directory.path()).join(name)
    }
}
