//! The client service as its clients see it, with leaders that die, hang and come again as a test wants.

mod draining;
mod leader;
mod requests;
mod stopping;
mod takeovers;
mod watching;

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use herdsman::{
    client,
    domain::{TaskId, TaskState},
    wire::proto::v1::{
        SubmitTaskRequest, Task, TaskSpec, WatchTaskRequest, WatchTaskResponse, task_service_client::TaskServiceClient,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming, transport::Channel};

use self::leader::{FakeLeader, Follows, World};

/// Longer than anything here takes, so that a test that hangs fails.
const LIMIT: Duration = Duration::from_secs(30);

/// A client service and what it stands on.
struct House {
    world: Arc<Mutex<World>>,
    known_leader: watch::Sender<Option<herdsman::store::Leader>>,
    address: String,
    shutdown: CancellationToken,
    service: JoinHandle<Result<(), client::Error>>,
}

impl House {
    /// A client service that knows of no leader.
    async fn build() -> Self {
        Self::build_with(|_| {}).await
    }

    async fn build_with(adapt: impl FnOnce(&mut client::Options)) -> Self {
        let known_leader = watch::Sender::new(None);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shutdown = CancellationToken::new();
        let mut options = client::Options::new(Arc::new(Follows(known_leader.clone())), listener);
        adapt(&mut options);
        let service = tokio::spawn(client::run(options, shutdown.clone()));
        Self { world: Arc::default(), known_leader, address, shutdown, service }
    }

    /// The same with a leader of term 1.
    async fn lead() -> (Self, FakeLeader) {
        let house = Self::build().await;
        let leader = house.leader(1).await;
        (house, leader)
    }

    /// A new leader takes over.
    async fn leader(&self, term: u64) -> FakeLeader {
        let leader = FakeLeader::start(self.world.clone(), term).await;
        self.known_leader.send_replace(Some(leader.leader()));
        leader
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn change(&self, task_id: &str, state: TaskState) {
        self.world().change(&id(task_id), state);
    }

    async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    async fn tasks(&self) -> TaskServiceClient<Channel> {
        TaskServiceClient::new(self.channel().await)
    }

    async fn metrics(&self) -> String {
        let mut connection = TcpStream::connect(&self.address).await.unwrap();
        connection.write_all(b"GET /metrics HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut response = String::new();
        connection.read_to_string(&mut response).await.unwrap();
        response
    }

    async fn submit(&self, task_id: &str) -> Task {
        let response = self.tasks().await.submit_task(echo(task_id)).await.unwrap();
        response.into_inner().task.unwrap()
    }

    async fn watch(&self, task_id: &str, after_revision: u64) -> Streaming<WatchTaskResponse> {
        let request = WatchTaskRequest { task_id: task_id.into(), after_revision };
        self.tasks().await.watch_task(request).await.unwrap().into_inner()
    }
}

fn id(text: &str) -> TaskId {
    text.parse().unwrap()
}

fn echo(task_id: &str) -> SubmitTaskRequest {
    let spec = TaskSpec { kind: "echo".into(), payload: "hello".into(), ..TaskSpec::default() };
    SubmitTaskRequest { task_id: task_id.into(), spec: Some(spec) }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("it takes no longer than the limit")
}

async fn next<T>(stream: &mut Streaming<T>) -> Result<Option<T>, Status> {
    within(stream.message()).await
}

/// The next update's state and revision.
async fn next_state(stream: &mut Streaming<WatchTaskResponse>) -> (TaskState, u64) {
    let task = next(stream).await.unwrap().expect("the stream goes on").task.unwrap();
    let at = usize::try_from(task.state).unwrap() - 1;
    (TaskState::ALL[at], task.revision)
}
