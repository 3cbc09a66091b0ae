//! The link and the crew together, against a leader that the test plays.

mod ends;
mod hands;

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
};

use futures::SinkExt;
use hands::{Gate, crew};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, PollSender};

use super::*;
use crate::domain::{AttemptId, Fence, Order, Policy, Report, TaskSpec, Timeout, Timeouts, WorkerHello};

/// For what happens at once; far beyond it on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// More than any test says or dials at a time.
const MESSAGES: usize = 128;

/// A leader's end of one link.
struct Line {
    address: String,
    said: mpsc::Receiver<WorkerToLeader>,
    tell: mpsc::Sender<Result<LeaderToWorker, LinkError>>,
}

struct Played(mpsc::Sender<Line>);

impl Dial for Played {
    fn dial(&self, address: &str) -> BoxFuture<'static, Result<(Outgoing, Incoming), LinkError>> {
        let (say, said) = mpsc::channel(1);
        let (tell, told) = mpsc::channel(MESSAGES);
        let outgoing = PollSender::new(say).sink_map_err(|_| LinkError::Broken("closed".into()));
        let dialled = self.0.try_send(Line { address: address.to_owned(), said, tell }).map_err(|_| LinkError::Ended);
        let ends: (Outgoing, Incoming) = (Box::pin(outgoing), Pin::from(Box::new(ReceiverStream::new(told)) as Box<_>));
        Box::pin(async move { dialled.map(|()| ends) })
    }
}

impl Line {
    /// What the worker says next, heartbeats left out; none: it has ended the link.
    async fn next(&mut self) -> Option<WorkerToLeader> {
        loop {
            match timeout(SOON, self.said.recv()).await.expect("the worker says something, or ends the link") {
                Some(WorkerToLeader::Heartbeat) => {}
                said => return said,
            }
        }
    }

    async fn hello(&mut self) -> WorkerHello {
        match self.next().await {
            Some(WorkerToLeader::Hello(hello)) => *hello,
            other => panic!("expected a hello, got {other:?}"),
        }
    }

    async fn report(&mut self) -> Report {
        match self.next().await {
            Some(WorkerToLeader::Report(report)) => report,
            other => panic!("expected a report, got {other:?}"),
        }
    }

    fn tell(&self, message: LeaderToWorker) {
        self.tell.try_send(Ok(message)).expect("the worker listens");
    }

    fn order(&self, order: Order) {
        self.tell(LeaderToWorker::Order(order));
    }

    fn assign(&self, task_id: &str, kind: &str) {
        self.order(assignment(task_id, kind, 1));
    }

    fn acknowledge(&self, task_id: &str) {
        self.order(Order::Acknowledge { attempt: id(task_id) });
    }

    fn cancel(&self, task_id: &str) {
        self.order(Order::Cancel { attempt: id(task_id), reason: "the test wants it".into() });
    }

    /// Assigns, and waits until it has started.
    async fn start(&mut self, task_id: &str, kind: &str) {
        self.assign(task_id, kind);
        let report = self.report().await;
        assert!(matches!(&report, Report::Started { attempt, .. } if *attempt == id(task_id)), "{report:?}");
    }
}

struct Scene {
    leader: watch::Sender<Option<Leader>>,
    lines: mpsc::Receiver<Line>,
    linked: watch::Receiver<Option<Term>>,
    gate: Gate,
    shutdown: CancellationToken,
    worker: JoinHandle<()>,
}

impl Scene {
    fn new(slots: u32, drain: Duration) -> Self {
        let (crew, gate, shutdown) = crew(slots, drain);
        let (leader, leaders) = watch::channel(None);
        let (linked, link_state) = watch::channel(None);
        let (dialled, lines) = mpsc::channel(MESSAGES);
        let worker = tokio::spawn(Link::new(Played(dialled), leaders, crew, linked).run());
        Self { leader, lines, linked: link_state, gate, shutdown, worker }
    }

    fn lead(&self, address: &str, term: u64) {
        self.leader.send_replace(Some(Leader { address: address.into(), term: Term(term) }));
    }

    async fn line(&mut self) -> Line {
        timeout(SOON, self.lines.recv()).await.expect("the worker dials").expect("the worker lives")
    }

    /// A link that has been welcomed to this term, and its hello.
    async fn link(&mut self, term: u64) -> (Line, WorkerHello) {
        let mut line = self.line().await;
        let hello = line.hello().await;
        line.tell(LeaderToWorker::Welcome(Term(term)));
        let linked = timeout(SOON, self.linked.wait_for(|linked| *linked == Some(Term(term)))).await;
        linked.expect("the worker accepts the welcome").expect("the worker lives");
        (line, hello)
    }

    /// A worker with one link.
    async fn linked(slots: u32) -> (Self, Line) {
        let mut scene = Self::new(slots, SOON);
        scene.lead("a:1", 1);
        let (line, _) = scene.link(1).await;
        (scene, line)
    }

    async fn gone(self) {
        timeout(SOON, self.worker).await.expect("the worker leaves").expect("the worker does not panic");
    }
}

fn id(task_id: &str) -> AttemptId {
    AttemptId { task_id: task_id.parse().unwrap(), attempt: 1, fence: Fence(1) }
}

fn assignment(task_id: &str, kind: &str, fence: u64) -> Order {
    let spec = Arc::new(TaskSpec::new(kind.parse().unwrap(), task_id.as_bytes()));
    Order::Assign { attempt: AttemptId { fence: Fence(fence), ..id(task_id) }, spec, traceparent: None }
}

fn succeeded(report: &Report, task_id: &str) -> bool {
    matches!(report, Report::Succeeded { attempt, result, .. } if *attempt == id(task_id) && **result == *task_id.as_bytes())
}

#[tokio::test]
async fn an_attempt_is_started_finished_and_forgotten_once_it_is_acknowledged() {
    let (mut scene, mut line) = Scene::linked(1).await;
    line.start("t", "gate").await;
    scene.gate.open.add_permits(1);
    assert!(succeeded(&line.report().await, "t"));
    line.acknowledge("t");
    line.start("u", "gate").await;
    drop(line);
    let (_, hello) = scene.link(1).await;
    assert_eq!(hello.running.iter().map(|running| &running.attempt).collect::<Vec<_>>(), [&id("u")]);
    assert_eq!((hello.reports, hello.term), (vec![], Term(1)));
}

#[tokio::test]
async fn an_attempt_that_is_assigned_twice_runs_once() {
    let (scene, mut line) = Scene::linked(2).await;
    line.start("t", "gate").await;
    line.start("t", "gate").await;
    scene.gate.open.add_permits(2);
    assert!(succeeded(&line.report().await, "t"));
    line.assign("t", "gate");
    assert!(succeeded(&line.report().await, "t"), "the report is said again");
    assert_eq!(scene.gate.starts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_link_that_ends_stops_nothing_and_its_reports_are_in_the_next_hello() {
    let (mut scene, mut line) = Scene::linked(2).await;
    line.start("done", "gate").await;
    line.start("runs", "gate").await;
    drop(line);
    let mut silent = scene.line().await;
    assert_eq!(silent.hello().await.running.len(), 2);
    scene.gate.open.add_permits(1);
    drop(silent);
    // One of the two has ended by the time of some next link, and is repeated until it is acknowledged.
    for _ in 0..2 {
        let mut held = VecDeque::new();
        while held.is_empty() {
            let mut line = scene.line().await;
            let hello = line.hello().await;
            assert_eq!(hello.running.len() + hello.reports.len(), 2);
            held.extend(hello.reports);
        }
        assert!(matches!(&held[0], Report::Succeeded { .. }), "{held:?}");
    }
    assert_eq!(scene.gate.starts.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_leader_of_a_lower_term_than_the_highest_is_not_obeyed() {
    let mut scene = Scene::new(1, SOON);
    scene.lead("a:1", 1);
    let (line, _) = scene.link(5).await;
    drop(line);
    scene.lead("b:1", 5);
    loop {
        let mut line = scene.line().await;
        assert_eq!(line.hello().await.term, Term(5));
        if line.address == "b:1" {
            line.tell(LeaderToWorker::Welcome(Term(4)));
            line.assign("t", "gate");
            assert_eq!(line.next().await, None, "the worker hangs up");
            break;
        }
    }
    assert_eq!(scene.gate.starts.load(Ordering::SeqCst), 0);
    let (mut line, _) = scene.link(6).await;
    line.start("t", "gate").await;
}

#[tokio::test]
async fn an_order_before_the_welcome_is_not_obeyed() {
    let mut scene = Scene::new(1, SOON);
    scene.lead("a:1", 1);
    let mut line = scene.line().await;
    line.hello().await;
    line.assign("t", "gate");
    assert_eq!(line.next().await, None);
    assert_eq!(scene.gate.starts.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_worker_goes_over_to_a_later_leader_while_the_earlier_one_still_talks() {
    let (mut scene, mut line) = Scene::linked(1).await;
    line.start("t", "gate").await;
    scene.lead("b:1", 2);
    let mut next = scene.line().await;
    assert_eq!(next.address, "b:1");
    assert_eq!(next.hello().await.running.len(), 1, "what runs goes along");
    assert_eq!(line.next().await, None, "the old link is let go");
}

#[tokio::test]
async fn a_refused_hello_is_tried_again() {
    let mut scene = Scene::new(1, SOON);
    scene.lead("a:1", 1);
    for _ in 0..3 {
        let line = scene.line().await;
        line.tell.try_send(Err(LinkError::Refused { reason: "NOT_LEADER".into(), message: "no".into() })).unwrap();
    }
    scene.link(1).await;
}

#[tokio::test]
async fn a_link_is_given_up_after_silence_and_kept_by_heartbeats() {
    let (mut scene, silent) = Scene::linked(1).await;
    let started = Instant::now();
    let (talking, _) = scene.link(1).await;
    assert!(started.elapsed() >= LINK_IDLE_LIMIT.saturating_sub(HEARTBEAT), "not before its time");
    drop(silent);
    let mut talking = talking;
    let mut heard = 0;
    while talking.said.recv().await == Some(WorkerToLeader::Heartbeat) {
        heard += 1;
        talking.tell(LeaderToWorker::Heartbeat);
        if started.elapsed() >= 2 * LINK_IDLE_LIMIT + HEARTBEAT {
            break;
        }
    }
    assert!(heard >= 3, "{heard} heartbeats");
    assert_eq!(*scene.linked.borrow(), Some(Term(1)));
}
