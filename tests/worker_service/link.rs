//! A whole worker through its own door, over gRPC, against a leader that the test plays.

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt, stream::BoxStream};
use herdsman::{
    domain::{AttemptId, Fence, Order, Report, TaskSpec, WorkerHello},
    runtime::bundled_links::unbundled,
    store::{Candidate, Leadership, Store, embedded::EmbeddedStore},
    wire::{
        InvalidField, LeaderToWorker, LinkRefusal, WorkerToLeader,
        proto::internal::v1::{
            LinkClientRequest, LinkClientResponse, LinkStandbyRequest, LinkStandbyResponse, LinkWorkerRequest,
            LinkWorkerResponse,
            link_service_server::{LinkService, LinkServiceServer},
        },
    },
    worker::{self, handler::Handlers},
};
use tokio::{
    net::TcpListener,
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::support::eventually;

pub(super) const LIMIT: Duration = Duration::from_secs(20);

type Responses<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// More than any test says or dials at a time.
const MESSAGES: usize = 64;

/// The leader's end of one link.
pub(super) struct Line {
    said: BoxStream<'static, Result<Result<WorkerToLeader, InvalidField>, Status>>,
    tell: mpsc::Sender<Result<LinkWorkerResponse, Status>>,
}

struct Played(mpsc::Sender<Line>);

#[tonic::async_trait]
impl LinkService for Played {
    type LinkWorkerStream = Responses<LinkWorkerResponse>;
    type LinkClientStream = Responses<LinkClientResponse>;
    type LinkStandbyStream = Responses<LinkStandbyResponse>;

    async fn link_worker(
        &self,
        request: Request<Streaming<LinkWorkerRequest>>,
    ) -> Result<Response<Self::LinkWorkerStream>, Status> {
        let (tell, told) = mpsc::channel(MESSAGES);
        let line = Line { said: unbundled(request.into_inner()).boxed(), tell };
        self.0.try_send(line).map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(told).boxed()))
    }

    async fn link_client(
        &self,
        _: Request<Streaming<LinkClientRequest>>,
    ) -> Result<Response<Self::LinkClientStream>, Status> {
        Err(Status::unimplemented("workers only"))
    }

    async fn link_standby(
        &self,
        _: Request<Streaming<LinkStandbyRequest>>,
    ) -> Result<Response<Self::LinkStandbyStream>, Status> {
        Err(Status::unimplemented("workers only"))
    }
}

impl Line {
    async fn next(&mut self) -> Option<WorkerToLeader> {
        loop {
            let said = timeout(LIMIT, self.said.next()).await.expect("the worker says something, or ends the link");
            match said.map(|said| said.unwrap().unwrap()) {
                Some(WorkerToLeader::Heartbeat) => self.tell(LeaderToWorker::Heartbeat),
                said => return said,
            }
        }
    }

    pub async fn report(&mut self) -> Report {
        match self.next().await {
            Some(WorkerToLeader::Report(report)) => report,
            other => panic!("expected a report, got {other:?}"),
        }
    }

    pub fn tell(&self, message: LeaderToWorker) {
        let _ = self.tell.try_send(Ok(message.into()));
    }

    pub fn assign(&self, task_id: &str, kind: &str, payload: &[u8]) {
        let spec = Arc::new(TaskSpec::new(kind.parse().unwrap(), payload));
        let order = Order::Assign { attempt: id(task_id), spec, traceparent: None };
        self.tell(LeaderToWorker::Order(order));
    }

    /// Passes over what starts, and returns the first report of an end.
    pub async fn end(&mut self) -> Report {
        loop {
            match self.report().await {
                Report::Started { .. } | Report::Progress { .. } => {}
                report => return report,
            }
        }
    }
}

pub(super) fn id(task_id: &str) -> AttemptId {
    AttemptId { task_id: task_id.parse().unwrap(), attempt: 1, fence: Fence(9) }
}

pub(super) struct Scene {
    pub leadership: Box<dyn Leadership>,
    lines: mpsc::Receiver<Line>,
    /// Where the worker serves health and metrics.
    address: String,
    shutdown: CancellationToken,
    worker: JoinHandle<Result<(), worker::Error>>,
}

impl Scene {
    async fn new() -> Self {
        Self::with(Handlers::built_in()).await
    }

    pub async fn with(handlers: Handlers) -> Self {
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::in_memory().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (linked, lines) = mpsc::channel(MESSAGES);
        let service = tonic::transport::Server::builder().add_service(LinkServiceServer::new(Played(linked)));
        tokio::spawn(service.serve_with_incoming(TcpListenerStream::new(listener)));
        let candidate = Candidate { id: uuid::Uuid::new_v4(), address };
        let leadership = store.campaign(&candidate).await.unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shutdown = CancellationToken::new();
        let options = worker::Options {
            store,
            listener,
            advertise: address.clone(),
            worker_id: "w-1".parse().unwrap(),
            slots: 4,
            queues: [herdsman::domain::QueueName::default()].into(),
            labels: [].into(),
            handlers,
            drain: LIMIT,
            beside: None,
        };
        let worker = tokio::spawn(worker::run(options, shutdown.clone()));
        Self { leadership, lines, address, shutdown, worker }
    }

    pub async fn line(&mut self) -> (Line, WorkerHello) {
        let mut line = timeout(LIMIT, self.lines.recv()).await.expect("the worker dials").unwrap();
        match line.next().await {
            Some(WorkerToLeader::Hello(hello)) => (line, *hello),
            other => panic!("expected a hello, got {other:?}"),
        }
    }

    async fn linked() -> (Self, Line) {
        Self::linked_with(Handlers::built_in()).await
    }

    pub async fn linked_with(handlers: Handlers) -> (Self, Line) {
        let mut scene = Self::with(handlers).await;
        let (line, _) = scene.line().await;
        line.tell(LeaderToWorker::Welcome(scene.leadership.term()));
        (scene, line)
    }

    fn is_member(&self) -> bool {
        self.leadership.members().borrow().contains_key(&"w-1".parse().unwrap())
    }

    async fn member(&self, expected: bool) {
        let what = if expected { "the worker is a member" } else { "the worker is no member" };
        eventually(what, LIMIT, async || (self.is_member() == expected).then_some(())).await;
    }

    pub async fn metrics(&self) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }
}

#[tokio::test]
async fn tasks_of_the_built_in_kinds_run() {
    let (scene, mut line) = Scene::linked().await;
    scene.member(true).await;
    line.assign("e", "echo", b"hello");
    assert!(matches!(line.end().await, Report::Succeeded { result, .. } if *result == *b"hello"));
    line.assign("n", "noop", b"hello");
    assert!(matches!(line.end().await, Report::Succeeded { result, .. } if result.is_empty()));
    line.assign("s", "sleep", b" 1ms ");
    assert!(matches!(line.end().await, Report::Succeeded { .. }));
    line.assign("bad", "sleep", b"for ever");
    let Report::Failed { failure, .. } = line.end().await else { panic!("a bad time fails") };
    assert!(failure.message.contains("must be a time such as 250ms, is \"for ever\""), "{}", failure.message);

    let metrics = scene.metrics().await;
    for expected in [
        "herdsman_worker_link_up 1",
        "herdsman_worker_slots 4",
        "herdsman_worker_busy_slots 4",
        "herdsman_worker_attempts_started_total 4",
        "herdsman_worker_attempts_ended_total{outcome=\"succeeded\"} 3",
        "herdsman_worker_attempts_ended_total{outcome=\"failed\"} 1",
        "herdsman_worker_attempt_duration_seconds_count 4",
    ] {
        assert!(metrics.contains(expected), "{expected}\n{metrics}");
    }
}

#[tokio::test]
async fn a_cancelled_sleep_frees_its_slot_early() {
    let (_scene, mut line) = Scene::linked().await;
    line.assign("s", "sleep", b"1h");
    assert!(matches!(line.report().await, Report::Started { .. }));
    line.tell(LeaderToWorker::Order(Order::Cancel { attempt: id("s"), reason: "enough".into() }));
    assert_eq!(line.report().await, Report::Stopped { attempt: id("s") });
}

#[tokio::test]
async fn a_worker_is_no_member_before_it_is_welcome() {
    let mut scene = Scene::new().await;
    for _ in 0..3 {
        let (line, _) = scene.line().await;
        let conflict = LinkRefusal::IncarnationConflict("w-1".parse().unwrap());
        line.tell.try_send(Err(conflict.into())).unwrap();
        assert!(!scene.is_member());
    }
    let (line, _) = scene.line().await;
    line.tell(LeaderToWorker::Welcome(scene.leadership.term()));
    scene.member(true).await;
}

#[tokio::test]
async fn reports_are_repeated_over_grpc_until_they_are_acknowledged() {
    let (mut scene, mut line) = Scene::linked().await;
    line.assign("e", "echo", b"hello");
    line.end().await;
    drop(line);
    let (line, hello) = scene.line().await;
    assert!(matches!(&hello.reports[..], [Report::Succeeded { attempt, .. }] if *attempt == id("e")), "{hello:?}");
    line.tell(LeaderToWorker::Welcome(scene.leadership.term()));
    line.tell(LeaderToWorker::Order(Order::Acknowledge { attempt: id("e") }));
    // What was sent before the worker's own loss of the link was heard.
    line.tell.try_send(Err(Status::unavailable("over"))).unwrap();
    let (_, hello) = scene.line().await;
    assert_eq!(hello.reports, []);
}

#[tokio::test]
async fn a_graceful_stop_says_goodbye_and_ends_the_membership() {
    let (scene, mut line) = Scene::linked().await;
    scene.member(true).await;
    line.assign("s", "sleep", b"100ms");
    assert!(matches!(line.report().await, Report::Started { .. }));
    scene.shutdown.cancel();
    assert_eq!(line.next().await, Some(WorkerToLeader::Draining));
    assert!(matches!(line.report().await, Report::Succeeded { .. }));
    line.tell(LeaderToWorker::Order(Order::Acknowledge { attempt: id("s") }));
    assert_eq!(line.next().await, Some(WorkerToLeader::Goodbye));
    drop(line);
    scene.member(false).await;
    timeout(LIMIT, scene.worker).await.expect("the worker is gone").unwrap().unwrap();
}

#[tokio::test]
async fn an_idle_worker_is_soon_gone() {
    let (scene, line) = Scene::linked().await;
    scene.member(true).await;
    let start = Instant::now();
    scene.shutdown.cancel();
    // This leader never reacts to a goodbye.
    timeout(LIMIT, scene.worker).await.expect("the worker is gone").unwrap().unwrap();
    println!("gone after {:?}", start.elapsed());
    drop(line);
}
