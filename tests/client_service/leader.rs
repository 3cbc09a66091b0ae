//! Leaders that do what a test says, over one world of tasks, as successive leaders share one store.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{Stream, StreamExt};
use herdsman::{
    domain::{
        Answer, Call, ClusterView, DrainView, Explanation, Fence, Located, Outcome, Page, PendingReason, QueuePage,
        QueueSettings, QueueState, QueueView, Refusal, Revision, Task, TaskEvent, TaskId, TaskSpec, TaskState, Term,
        Wall, WorkerOffer, WorkerPage,
    },
    runtime::bundled_links::unbundled,
    store::{Candidate, Leader, Leadership, Registration, Store, StoreError},
    wire::{
        ClientToLeader, Detail, LeaderToClient,
        proto::internal::v1::{
            LinkClientRequest, LinkClientResponse, LinkStandbyRequest, LinkStandbyResponse, LinkWorkerRequest,
            LinkWorkerResponse,
            link_service_server::{LinkService, LinkServiceServer},
        },
    },
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, async_trait};

/// A store that knows who leads, and nothing else.
pub struct Follows(pub watch::Sender<Option<Leader>>);

#[async_trait]
impl Store for Follows {
    async fn campaign(&self, _: &Candidate) -> Result<Box<dyn Leadership>, StoreError> {
        Err(StoreError::Broken("a client service does not campaign".into()))
    }

    fn follow(&self) -> watch::Receiver<Option<Leader>> {
        self.0.subscribe()
    }

    async fn register(&self, _: &WorkerOffer) -> Result<Box<dyn Registration>, StoreError> {
        Err(StoreError::Broken("a client service does not register".into()))
    }

    async fn depose(&self, _: &Leader, _: &Candidate) -> Result<bool, StoreError> {
        Err(StoreError::Broken("a client service does not depose".into()))
    }

    fn session_timeout(&self) -> Duration {
        Duration::from_millis(200)
    }
}

/// What all leaders know.
#[derive(Default)]
pub struct World {
    pub tasks: BTreeMap<TaskId, Arc<Task>>,
    /// Every call that a leader has heard, answered or not.
    pub heard: Vec<Call>,
    /// What is answered to whoever waits for a drain, one after the other, and then nothing.
    pub drains: VecDeque<DrainView>,
    links: Vec<mpsc::UnboundedSender<LeaderToClient>>,
    revision: Revision,
}

impl World {
    /// A task changes, and whoever has a link is told.
    pub fn change(&mut self, task_id: &TaskId, state: TaskState) {
        self.revision = self.revision.next();
        let task = Arc::make_mut(self.tasks.get_mut(task_id).expect("the test submitted it"));
        let previous_state = std::mem::replace(&mut task.state, state);
        task.revision = self.revision;
        if state == TaskState::Succeeded {
            task.outcome = Some(Outcome::Succeeded(task.spec.payload.clone()));
        }
        let event = TaskEvent { task: self.tasks[task_id].clone(), previous_state };
        self.links.retain(|link| link.send(LeaderToClient::Event(event.clone())).is_ok());
    }

    pub fn submit(&mut self, task_id: &TaskId, spec: &Arc<TaskSpec>) -> Answer {
        if let Some(task) = self.tasks.get(task_id) {
            let same = task.spec == *spec;
            return if same { Answer::Task(task.clone()) } else { Answer::Refused(Refusal::TaskExists) };
        }
        let task = Task {
            id: task_id.clone(),
            spec: spec.clone(),
            state: TaskState::Pending,
            attempt: 0,
            worker: None,
            incarnation: None,
            fence: Fence(0),
            revision: Revision(0),
            worker_deaths: 0,
            progress: None,
            outcome: None,
            trials: None,
            traceparent: None,
            retry_of: None,
            create_time: Wall(1),
            start_time: None,
            end_time: None,
        };
        self.tasks.insert(task_id.clone(), Arc::new(task));
        self.change(task_id, TaskState::Pending);
        Answer::Task(self.tasks[task_id].clone())
    }

    fn answer(&mut self, call: &Call, term: Term) -> Answer {
        let found = |task: Option<&Arc<Task>>| match task {
            Some(task) => Answer::Task(task.clone()),
            None => Answer::Refused(Refusal::TaskNotFound),
        };
        match call {
            Call::Submit { task_id, spec, .. } => self.submit(task_id, spec),
            Call::Get { task_id } => found(self.tasks.get(task_id)),
            Call::Cancel { task_id } => match self.tasks.get(task_id).map(|task| task.state) {
                None => Answer::Refused(Refusal::TaskNotFound),
                Some(TaskState::Succeeded | TaskState::Failed) => Answer::Refused(Refusal::TaskEnded),
                Some(_) => {
                    self.change(task_id, TaskState::Cancelled);
                    found(self.tasks.get(task_id))
                }
            },
            Call::List(query) => {
                let after = |id: &TaskId| query.after.as_ref().is_none_or(|after| id > after);
                let wanted = |task: &&Arc<Task>| {
                    after(&task.id) && task.revision > query.after_revision && query.filter.matches(task)
                };
                let mut tasks: Vec<_> = self.tasks.values().filter(wanted).cloned().collect();
                let more = tasks.len() > query.page_size as usize;
                tasks.truncate(query.page_size as usize);
                let next_after = tasks.last().filter(|_| more).map(|task| task.id.clone());
                Answer::Page(Page { tasks, next_after, ..Page::default() })
            }
            Call::Watch { task_ids } => {
                let mut page = Page::default();
                for id in task_ids {
                    match self.tasks.get(id) {
                        Some(task) => page.tasks.push(task.clone()),
                        None => page.missing.push(id.clone()),
                    }
                }
                Answer::Page(page)
            }
            Call::Retry { .. } | Call::Delete { .. } => Answer::Refused(Refusal::TaskNotFound),
            Call::WatchFilter { .. } => Answer::Page(Page::default()),
            Call::Locate { task_id } => {
                self.tasks.get(task_id).map_or(Answer::Refused(Refusal::TaskNotFound), |task| {
                    Answer::Located(Box::new(Located { task: task.clone(), worker: None }))
                })
            }
            Call::Workers(_) => Answer::Workers(WorkerPage::default()),
            Call::Queues(_) => Answer::Queues(QueuePage::default()),
            Call::Queue { queue } | Call::UpdateQueue { queue, .. } => Answer::Queue(Box::new(QueueView {
                name: queue.clone(),
                settings: QueueSettings::default(),
                state: QueueState::Open,
                tasks: [0; TaskState::ALL.len()],
                oldest_pending: None,
            })),
            Call::Explain { task_id } => {
                self.tasks.get(task_id).map_or(Answer::Refused(Refusal::TaskNotFound), |task| {
                    let reasons = vec![PendingReason::AboutToStart];
                    Answer::Explained(Box::new(Explanation { task: task.clone(), reasons, worker: None }))
                })
            }
            Call::AwaitDrain { .. } => self
                .drains
                .pop_front()
                .map_or(Answer::Refused(Refusal::WorkerNotFound), |drain| Answer::Drain(Box::new(drain))),
            Call::SetDrained { .. } => Answer::Refused(Refusal::WorkerNotFound),
            Call::Cluster => Answer::Cluster(Box::new(ClusterView {
                address: "here:1".into(),
                term,
                start_time: Wall(0),
                version: "test".into(),
                workers: 0,
                slots: 0,
                busy_slots: 0,
                standbys: 0,
                corrupt_records: 0,
                tasks: [0; TaskState::ALL.len()],
            })),
        }
    }
}

/// One leader; it dies when it is dropped, without a goodbye.
pub struct FakeLeader {
    pub address: String,
    pub term: Term,
    /// It hears and says nothing but heartbeats.
    pub deaf: Arc<AtomicBool>,
    /// Hellos that it has heard.
    pub hellos: watch::Receiver<u32>,
    pub goodbyes: watch::Receiver<u32>,
    /// Links that have ended, with a goodbye or without.
    pub ends: watch::Receiver<u32>,
    death: CancellationToken,
}

impl Drop for FakeLeader {
    fn drop(&mut self) {
        self.death.cancel();
    }
}

impl FakeLeader {
    pub async fn start(world: Arc<Mutex<World>>, term: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (deaf, death, term) = (Arc::new(AtomicBool::new(false)), CancellationToken::new(), Term(term));
        let (hello, hellos) = watch::channel(0);
        let (goodbye, goodbyes) = watch::channel(0);
        let (end, ends) = watch::channel(0);
        {
            let mut world = world.lock().unwrap();
            world.revision = world.revision.max(Revision::start_of(term));
        }
        let links = Links { world, term, deaf: deaf.clone(), death: death.clone(), hello, goodbye, end };
        let serving = tonic::transport::Server::builder().add_service(LinkServiceServer::new(links));
        let until = death.clone();
        tokio::spawn(async move {
            tokio::select! {
                end = serving.serve_with_incoming(TcpListenerStream::new(listener)) => end.unwrap(),
                () = until.cancelled() => {}
            }
        });
        Self { address, term, deaf, hellos, goodbyes, ends, death }
    }

    pub fn leader(&self) -> Leader {
        Leader { address: self.address.clone(), term: self.term }
    }
}

struct Links {
    world: Arc<Mutex<World>>,
    term: Term,
    deaf: Arc<AtomicBool>,
    death: CancellationToken,
    hello: watch::Sender<u32>,
    goodbye: watch::Sender<u32>,
    end: watch::Sender<u32>,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[async_trait]
impl LinkService for Links {
    type LinkWorkerStream = Responses<LinkWorkerResponse>;
    type LinkClientStream = Responses<LinkClientResponse>;
    type LinkStandbyStream = Responses<LinkStandbyResponse>;

    async fn link_worker(
        &self,
        _: Request<Streaming<LinkWorkerRequest>>,
    ) -> Result<Response<Self::LinkWorkerStream>, Status> {
        Err(Status::unimplemented("not for workers"))
    }

    async fn link_standby(
        &self,
        _: Request<Streaming<LinkStandbyRequest>>,
    ) -> Result<Response<Self::LinkStandbyStream>, Status> {
        Err(Status::unimplemented("not for standbys"))
    }

    async fn link_client(
        &self,
        request: Request<Streaming<LinkClientRequest>>,
    ) -> Result<Response<Self::LinkClientStream>, Status> {
        let (outgoing, sent) = mpsc::channel(16);
        let (link, said) = mpsc::unbounded_channel();
        link.send(LeaderToClient::Welcome(self.term)).unwrap();
        self.world.lock().unwrap().links.push(link.clone());
        let (world, term, deaf, goodbye) = (self.world.clone(), self.term, self.deaf.clone(), self.goodbye.clone());
        let (hello, end) = (self.hello.clone(), self.end.clone());
        let mut requests = unbundled(request.into_inner());
        let hear = async move {
            while let Some(Ok(request)) = requests.next().await {
                match request.unwrap() {
                    ClientToLeader::Hello { .. } => hello.send_modify(|hellos| *hellos += 1),
                    ClientToLeader::Goodbye => goodbye.send_modify(|goodbyes| *goodbyes += 1),
                    ClientToLeader::Call { call_id, call } => {
                        let mut world = world.lock().unwrap();
                        world.heard.push(call.clone());
                        let parked = matches!(call, Call::AwaitDrain { .. }) && world.drains.is_empty();
                        if !parked && !deaf.load(Ordering::SeqCst) {
                            let answer = world.answer(&call, term);
                            let reply = LeaderToClient::Reply { call_id, answer, detail: Detail::Full };
                            link.send(reply).unwrap();
                        }
                    }
                    _ => {}
                }
            }
        };
        let death = self.death.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = hear => {}
                () = say(said, outgoing) => {}
                () = death.cancelled() => {}
            }
            end.send_modify(|ends| *ends += 1);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(sent))))
    }
}

async fn say(
    mut said: mpsc::UnboundedReceiver<LeaderToClient>,
    outgoing: mpsc::Sender<Result<LinkClientResponse, Status>>,
) {
    loop {
        let message = tokio::time::timeout(Duration::from_millis(500), said.recv()).await;
        let Some(message) = message.unwrap_or(Some(LeaderToClient::Heartbeat)) else { return };
        if outgoing.send(Ok(message.into())).await.is_err() {
            return;
        }
    }
}
