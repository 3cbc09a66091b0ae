//! Commit, then send, then answer: the driver over a leadership whose commits end when the test says so.

mod turns;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use futures::FutureExt;
use prometheus_client::registry::Registry;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    clock::Clock,
    driver::Driver,
    inbox::{Entrance, inbox},
    input::{Handle, Input, LinkId},
    metrics::Metrics,
    reign::{About, Ended, Standbys},
    watchdog::Pulse,
};
use crate::{
    domain::{
        Answer, Assignment, Call, Change, Fence, Incarnation, Loaded, LoadedTask, Member, Order, Outcome, Refusal,
        Report, Revision, Scheduler, Status, Submission, TaskId, TaskSpec, TaskState, Term, Wall, WorkerHello,
        WorkerOffer, scheduler::Limits,
    },
    runtime::wall_clock::WallClock,
    store::{Committing, Doubt, Leadership, Members, StoreError},
    wire::{LeaderToClient, LeaderToWorker, LinkRefusal},
};

const LIMIT: Duration = Duration::from_secs(10);

/// A commit that was issued and waits for the test.
struct Issued {
    changes: Vec<Change>,
    end: oneshot::Sender<Result<(), Doubt>>,
}

struct Held {
    issued: mpsc::Sender<Issued>,
    members: watch::Receiver<Members>,
    lost: CancellationToken,
    resigned: Arc<Mutex<bool>>,
}

#[async_trait]
impl Leadership for Held {
    fn term(&self) -> Term {
        Term(7)
    }

    async fn load(&mut self) -> Result<Loaded, StoreError> {
        Ok(Loaded::default())
    }

    fn members(&self) -> watch::Receiver<Members> {
        self.members.clone()
    }

    fn commit(&mut self, changes: Vec<Change>) -> Committing {
        let (end, ended) = oneshot::channel();
        self.issued.try_send(Issued { changes, end }).unwrap();
        async { ended.await.unwrap_or(Err(Doubt("dropped".into()))) }.boxed()
    }

    fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    async fn resign(self: Box<Self>) {
        *self.resigned.lock().unwrap() = true;
    }
}

struct Leader {
    inputs: Entrance,
    commits: mpsc::Receiver<Issued>,
    members: watch::Sender<Members>,
    resigned: Arc<Mutex<bool>>,
    shutdown: CancellationToken,
    driving: JoinHandle<Ended>,
}

type Received<M> = mpsc::Receiver<Result<M, LinkRefusal>>;

impl Leader {
    fn start() -> Self {
        Self::over(Limits::default(), Loaded::default(), Vec::new())
    }

    /// A leader that took this over, and whose queue has these inputs when it begins to drive.
    fn over(limits: Limits, loaded: Loaded, queued: Vec<Input>) -> Self {
        let (issued, commits) = mpsc::channel(64);
        let (members, seen) = watch::channel(Members::new());
        let resigned = Arc::default();
        let lost = CancellationToken::new();
        let held = Held { issued, members: seen, lost, resigned: Arc::clone(&resigned) };
        let clock = Clock::start(WallClock::system());
        let (scheduler, effects) = Scheduler::recover(limits, Term(7), clock.now(), loaded);
        let (inputs, inbox) = inbox();
        for input in queued {
            inputs.reports.try_send(input).unwrap();
        }
        let about = About {
            address: "127.0.0.1:1".into(),
            lead_time: Wall(0),
            standbys: Standbys::default(),
            resigned: CancellationToken::new(),
        };
        let metrics = Metrics::register(&mut Registry::default());
        let driver = Driver::new(scheduler, effects, clock, Box::new(held), inbox, about, metrics);
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let driving = tokio::spawn(async move { driver.run(Pulse::start(LIMIT), &stop).await });
        Self { inputs, commits, members, resigned, shutdown, driving }
    }

    async fn client(&self, id: u64) -> Received<LeaderToClient> {
        let (to, mut from) = mpsc::channel(64);
        let link = Handle::new(LinkId(id), to, CancellationToken::new());
        self.put(Input::ClientHello { link }).await;
        assert_eq!(receive(&mut from).await, LeaderToClient::Welcome(Term(7)));
        from
    }

    async fn call(&self, link: u64, call_id: u64, call: Call) {
        self.put(Input::Call { link: LinkId(link), call_id, call, arrival: Instant::now() }).await;
    }

    async fn hello(&self, link: u64, incarnation: u8) -> Received<LeaderToWorker> {
        let (to, from) = mpsc::channel(64);
        let link = Handle::new(LinkId(link), to, CancellationToken::new());
        let offer = offer(incarnation);
        let member = Member { worker_id: offer.worker_id.clone(), incarnation: offer.incarnation };
        self.members.send_modify(|members| {
            members.entry(offer.worker_id.clone()).or_insert(member);
        });
        let hello = WorkerHello {
            offer,
            running: Vec::new(),
            reports: Vec::new(),
            draining: false,
            term: Term(0),
            beside: None,
        };
        self.put(Input::WorkerHello { hello: Box::new(hello), link }).await;
        from
    }

    /// A worker's link whose welcome was committed.
    async fn welcomed(&mut self, link: u64, incarnation: u8) -> Received<LeaderToWorker> {
        let mut from = self.hello(link, incarnation).await;
        self.commit().await;
        assert_eq!(receive(&mut from).await, LeaderToWorker::Welcome(Term(7)));
        from
    }

    async fn put(&self, input: Input) {
        let of_client = matches!(
            input,
            Input::ClientHello { .. } | Input::Call { .. } | Input::Unwatch { .. } | Input::ClientGone { .. }
        );
        let to = if of_client { &self.inputs.calls } else { &self.inputs.reports };
        to.send(input).await.unwrap();
    }

    async fn issued(&mut self) -> Issued {
        timeout(LIMIT, self.commits.recv()).await.expect("a commit is issued").unwrap()
    }

    async fn commit(&mut self) -> Vec<Change> {
        let Issued { changes, end } = self.issued().await;
        end.send(Ok(())).unwrap();
        changes
    }
}

async fn receive<M>(from: &mut Received<M>) -> M {
    timeout(LIMIT, from.recv()).await.expect("a message comes").expect("the link is open").unwrap()
}

async fn reply(from: &mut Received<LeaderToClient>, expected: u64) -> Answer {
    loop {
        if let LeaderToClient::Reply { call_id, answer, .. } = receive(from).await {
            assert_eq!(call_id, expected, "replies keep the order of the calls");
            return answer;
        }
    }
}

fn offer(incarnation: u8) -> WorkerOffer {
    WorkerOffer {
        worker_id: "w".parse().unwrap(),
        incarnation: Incarnation([incarnation; 16]),
        address: "127.0.0.1:2".into(),
        slots: 1,
        kinds: ["work".parse().unwrap()].into(),
        queues: ["default".parse().unwrap()].into(),
        labels: [].into(),
        version: "0".into(),
    }
}

fn id(text: &str) -> TaskId {
    text.parse().unwrap()
}

fn submission(text: &str) -> Submission {
    let spec = Arc::new(TaskSpec::new("work".parse().unwrap(), b"x"));
    Submission {
        task_id: id(text),
        spec,
        create_time: Wall(1),
        revision: Revision(1),
        traceparent: None,
        retry_of: None,
    }
}

fn submit(text: &str) -> Call {
    let spec = Arc::new(TaskSpec::new("work".parse().unwrap(), b"x"));
    Call::Submit { task_id: id(text), spec, traceparent: None, time_left: LIMIT }
}

#[tokio::test]
async fn a_duplicate_submit_is_not_answered_before_the_commit() {
    let mut leader = Leader::start();
    let mut client = leader.client(1).await;
    leader.call(1, 1, submit("a")).await;
    let first = leader.issued().await;
    leader.call(1, 2, submit("a")).await;
    // The refusal of another spec reveals the task too.
    let other = Call::Submit {
        task_id: id("a"),
        spec: Arc::new(TaskSpec::new("work".parse().unwrap(), b"other")),
        traceparent: None,
        time_left: LIMIT,
    };
    leader.call(1, 3, other).await;
    leader.call(1, 4, Call::Get { task_id: id("a") }).await;
    // The get's own commit is issued, so the driver has taken all of them; none is answered.
    let get = leader.issued().await;
    assert!(client.try_recv().is_err());
    get.end.send(Ok(())).unwrap();
    assert!(timeout(Duration::from_millis(50), client.recv()).await.is_err(), "a later commit proves nothing");
    first.end.send(Ok(())).unwrap();
    assert!(matches!(reply(&mut client, 1).await, Answer::Task(_)));
    assert!(matches!(reply(&mut client, 2).await, Answer::Task(_)));
    assert_eq!(reply(&mut client, 3).await, Answer::Refused(Refusal::TaskExists));
    assert!(matches!(reply(&mut client, 4).await, Answer::Task(_)));
}

#[tokio::test]
async fn a_query_waits_for_a_commit_that_was_issued_after_it() {
    let mut leader = Leader::start();
    let mut client = leader.client(1).await;
    leader.call(1, 1, Call::Get { task_id: id("nobody") }).await;
    let barrier = leader.issued().await;
    assert!(barrier.changes.is_empty());
    assert!(client.try_recv().is_err());
    barrier.end.send(Ok(())).unwrap();
    assert_eq!(reply(&mut client, 1).await, Answer::Refused(Refusal::TaskNotFound));
}

#[tokio::test]
async fn an_attempt_is_sent_only_after_its_assignment_is_durable() {
    let mut leader = Leader::start();
    let mut client = leader.client(1).await;
    let mut worker = leader.welcomed(2, 1).await;
    leader.call(1, 1, submit("a")).await;
    let commit = leader.issued().await;
    assert!(matches!(commit.changes[..], [Change::Submitted(_), Change::Assigned(_)]), "{:?}", commit.changes);
    assert!(worker.try_recv().is_err());
    commit.end.send(Ok(())).unwrap();
    assert!(matches!(receive(&mut worker).await, LeaderToWorker::Order(Order::Assign { .. })));
    reply(&mut client, 1).await;
}

#[tokio::test]
async fn a_result_is_acknowledged_and_pushed_only_after_its_commit() {
    let mut leader = Leader::start();
    let mut client = leader.client(1).await;
    let mut worker = leader.welcomed(2, 1).await;
    leader.call(1, 1, submit("a")).await;
    leader.commit().await;
    reply(&mut client, 1).await;
    leader.call(1, 2, Call::Watch { task_ids: vec![id("a")] }).await;
    leader.commit().await;
    reply(&mut client, 2).await;
    let LeaderToWorker::Order(Order::Assign { attempt, .. }) = receive(&mut worker).await else { panic!() };
    let report = Report::Succeeded { attempt: attempt.clone(), start_time: Wall(1), result: Arc::from(&b"r"[..]) };
    let incarnation = Incarnation([1; 16]);
    leader.put(Input::Report { link: LinkId(2), worker: "w".parse().unwrap(), incarnation, report }).await;
    let finished = leader.issued().await;
    assert!(worker.try_recv().is_err() && client.try_recv().is_err());
    finished.end.send(Ok(())).unwrap();
    assert_eq!(receive(&mut worker).await, LeaderToWorker::Order(Order::Acknowledge { attempt }));
    let LeaderToClient::Event(event) = receive(&mut client).await else { panic!() };
    assert_eq!((event.task.state, event.previous_state), (TaskState::Succeeded, TaskState::Assigned));
}

#[tokio::test]
async fn a_commit_in_doubt_ends_the_reign_and_nothing_after_it_is_answered() {
    let mut leader = Leader::start();
    let mut client = leader.client(1).await;
    leader.call(1, 1, submit("a")).await;
    let first = leader.issued().await;
    leader.call(1, 2, submit("b")).await;
    let second = leader.issued().await;
    second.end.send(Ok(())).unwrap();
    first.end.send(Err(Doubt("the connection was cut".into()))).unwrap();
    assert!(matches!(timeout(LIMIT, leader.driving).await.unwrap().unwrap(), Ended::Doubt(_)));
    assert!(client.recv().await.is_none(), "the link ends without an answer");
}

#[tokio::test]
async fn a_second_incarnation_is_refused_and_the_first_goes_on() {
    let mut leader = Leader::start();
    let mut client = leader.client(1).await;
    let mut first = leader.welcomed(2, 1).await;
    let mut second = leader.hello(3, 2).await;
    let refused = timeout(LIMIT, second.recv()).await.unwrap().unwrap();
    assert_eq!(refused, Err(LinkRefusal::IncarnationConflict("w".parse().unwrap())));
    leader.call(1, 1, submit("a")).await;
    leader.commit().await;
    reply(&mut client, 1).await;
    assert!(matches!(receive(&mut first).await, LeaderToWorker::Order(Order::Assign { .. })));
}
