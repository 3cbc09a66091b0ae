//! A cluster in a test: the real scheduler, a store that holds what the changes say and refuses what ZooKeeper would,
//! and the invariants, looked at after every event.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::super::{Effect, Event, Limits, Note, Scheduler};
use crate::domain::{
    Answer, Assignment, AttemptId, Change, Failure, FailureReason, Incarnation, Loaded, LoadedTask, Member, Monotonic,
    Now, Order, Report, RunningAttempt, Status, Submission, Task, TaskId, TaskSpec, TaskState, Term, Wall, WorkerHello,
    WorkerId, WorkerOffer,
};

/// What is durable. It panics on a change that ZooKeeper would refuse.
#[derive(Debug, Default, Clone)]
pub struct Disk {
    pub tasks: BTreeMap<TaskId, Submission>,
    pub statuses: BTreeMap<TaskId, Status>,
    pub assignments: BTreeMap<(WorkerId, TaskId), Assignment>,
    pub places: BTreeSet<WorkerId>,
}

impl Disk {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Submitted(submission) => {
                let before = self.tasks.insert(submission.task_id.clone(), submission);
                assert!(before.is_none(), "a task was submitted twice: {before:?}");
            }
            Change::Assigned(assignment) => {
                self.places.insert(assignment.worker.clone());
                let key = (assignment.worker.clone(), assignment.task_id.clone());
                let before = self.assignments.insert(key, assignment);
                assert!(before.is_none(), "assigned on top of an assignment: {before:?}");
            }
            Change::GivenBack { task_id, worker, status } => {
                assert!(status.outcome.is_none());
                self.void(&worker, &task_id);
                self.set_status(task_id, status);
            }
            Change::Finished { task_id, assigned_to, status } => {
                assert!(status.outcome.is_some());
                if let Some(worker) = assigned_to {
                    self.void(&worker, &task_id);
                }
                self.set_status(task_id, status);
            }
            Change::Removed { task_id } => {
                let status = self.statuses.remove(&task_id).expect("only the finished are removed");
                assert!(status.outcome.is_some());
                self.tasks.remove(&task_id).expect("only what exists is removed");
            }
            Change::Swept { task_id, worker } => self.void(&worker, &task_id),
            Change::WorkerForgotten { worker } => {
                let left: Vec<_> = self.assignments.keys().filter(|(id, _)| *id == worker).collect();
                assert!(left.is_empty(), "a forgotten worker has assignments: {left:?}");
                self.places.remove(&worker);
            }
        }
    }

    fn void(&mut self, worker: &WorkerId, task_id: &TaskId) {
        let voided = self.assignments.remove(&(worker.clone(), task_id.clone()));
        assert!(voided.is_some(), "no assignment of {task_id} to {worker}");
    }

    fn set_status(&mut self, task_id: TaskId, status: Status) {
        assert!(self.tasks.contains_key(&task_id));
        if let Some(before) = self.statuses.get(&task_id) {
            assert!(before.outcome.is_none(), "terminal is final: {task_id} was {before:?}, is {status:?}");
            assert!(before.attempt <= status.attempt && before.revision < status.revision);
        }
        self.statuses.insert(task_id, status);
    }

    pub fn load(&self) -> Loaded {
        let task = |submission: &Submission| LoadedTask {
            submission: submission.clone(),
            status: self.statuses.get(&submission.task_id).cloned(),
        };
        Loaded {
            tasks: self.tasks.values().map(task).collect(),
            assignments: self.assignments.values().cloned().collect(),
            corrupt: Vec::new(),
            workers: self.places.iter().cloned().collect(),
        }
    }
}

/// A worker that does what it is told, and remembers.
#[derive(Debug, Default, Clone)]
pub struct Hand {
    pub incarnation: u8,
    pub linked: bool,
    /// Its process is gone: it never says hello again.
    pub dead: bool,
    pub running: BTreeSet<AttemptId>,
    /// Attempts that it was told to stop.
    pub cancelled: BTreeSet<AttemptId>,
}

pub struct World {
    pub scheduler: Scheduler,
    pub limits: Limits,
    pub disk: Disk,
    pub hands: BTreeMap<WorkerId, Hand>,
    pub now: Now,
    term: u64,
    /// The last state that was pushed of each task.
    pub seen: BTreeMap<TaskId, Task>,
    pub notes: Vec<Note>,
    /// How often each attempt was begun by any worker.
    pub runs: BTreeMap<AttemptId, u32>,
}

pub const SLOTS: u32 = 2;

impl World {
    pub fn new() -> Self {
        Self::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        let now = Now { monotonic: Monotonic(1 << 42), wall: Wall(1_700_000_000_000) };
        let (scheduler, _) = Scheduler::recover(limits.clone(), Term(1), now, Loaded::default());
        Self {
            scheduler,
            limits,
            disk: Disk::default(),
            hands: BTreeMap::new(),
            now,
            term: 1,
            seen: BTreeMap::new(),
            notes: Vec::new(),
            runs: BTreeMap::new(),
        }
    }

    pub fn submit(&mut self, id: &str) -> Answer {
        self.submit_spec(id, spec("work"))
    }

    pub fn submit_spec(&mut self, id: &str, spec: TaskSpec) -> Answer {
        let deadline = self.now.monotonic.after(Duration::from_secs(30));
        self.ask(Event::Submit { task_id: task(id), spec: Arc::new(spec), traceparent: None, deadline })
    }

    pub fn cancel(&mut self, id: &str) -> Answer {
        self.ask(Event::Cancel { task_id: task(id) })
    }

    fn ask(&mut self, event: Event) -> Answer {
        self.step(event).expect("a call is answered")
    }

    /// A new life of a worker: it is a member and says hello.
    pub fn start(&mut self, id: &str, incarnation: u8) -> bool {
        let hand = Hand { incarnation, ..Hand::default() };
        let before = self.hands.insert(worker(id), hand);
        self.be_members();
        let welcome = self.hello(id);
        if !welcome && let Some(before) = before {
            self.hands.insert(worker(id), before);
            self.be_members();
        }
        welcome
    }

    fn be_members(&mut self) {
        let member =
            |(id, hand): (&WorkerId, &Hand)| Member { worker_id: id.clone(), incarnation: life(hand.incarnation) };
        let members = self.hands.iter().map(member).collect();
        self.step(Event::Members(members));
    }

    /// The worker opens a link, with what it runs. False: it was refused.
    pub fn hello(&mut self, id: &str) -> bool {
        let id = worker(id);
        let hand = self.hands[&id].clone();
        if hand.dead {
            return false;
        }
        let running =
            hand.running.iter().map(|attempt| RunningAttempt { attempt: attempt.clone(), start_time: self.now.wall });
        let hello = WorkerHello {
            offer: offer(&id, hand.incarnation),
            running: running.collect(),
            reports: Vec::new(),
            draining: false,
            term: Term(self.term),
        };
        let mut effects = Vec::new();
        self.scheduler.step(self.now, Event::Hello(hello), &mut effects);
        let welcome = effects.iter().any(|effect| matches!(effect, Effect::Welcome { .. }));
        if welcome {
            self.hands.get_mut(&id).unwrap().linked = true;
        }
        self.follow(effects);
        welcome
    }

    pub fn cut(&mut self, id: &str) {
        let id = worker(id);
        let Some(hand) = self.hands.get_mut(&id).filter(|hand| hand.linked) else { return };
        hand.linked = false;
        let incarnation = life(hand.incarnation);
        self.step(Event::LinkLost { worker: id, incarnation });
    }

    /// The worker's process dies, with everything that it ran.
    pub fn kill(&mut self, id: &str) {
        self.cut(id);
        if let Some(hand) = self.hands.get_mut(&worker(id)) {
            hand.dead = true;
            hand.running.clear();
            hand.cancelled.clear();
        }
    }

    pub fn report(&mut self, id: &str, report: Report) {
        let (id, incarnation) = (worker(id), life(self.hands[&worker(id)].incarnation));
        if !matches!(report, Report::Started { .. }) {
            self.hands.get_mut(&id).unwrap().running.remove(report.attempt());
        }
        self.step(Event::Report { worker: id, incarnation, report });
    }

    /// The worker begins everything that it was told and has not begun.
    pub fn started(&mut self, id: &str) {
        for attempt in self.hands[&worker(id)].running.clone() {
            self.report(id, Report::Started { attempt, start_time: self.now.wall });
        }
    }

    pub fn succeed(&mut self, id: &str, attempt: &AttemptId) {
        let (attempt, start_time) = (attempt.clone(), self.now.wall);
        self.report(id, Report::Succeeded { attempt, start_time, result: Arc::from(&b"done"[..]) });
    }

    pub fn fail(&mut self, id: &str, attempt: &AttemptId) {
        let failure = Failure { reason: FailureReason::Handler, message: "no".into(), exit_status: None };
        let (attempt, start_time) = (attempt.clone(), self.now.wall);
        self.report(id, Report::Failed { attempt, start_time, failure });
    }

    pub fn wait(&mut self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap();
        self.now.monotonic.0 += millis;
        self.now.wall.0 += millis;
        while self.scheduler.next_loss().is_some_and(|at| at <= self.now.monotonic) {
            self.step(Event::Tick);
        }
        while self.scheduler.next_expiry().is_some_and(|at| at <= self.now.monotonic) {
            self.step(Event::Expire);
        }
    }

    /// The leader dies and another one takes over from what is durable.
    pub fn take_over(&mut self) {
        self.term += 1;
        for hand in self.hands.values_mut() {
            hand.linked = false;
        }
        let (scheduler, effects) = Scheduler::recover(self.limits.clone(), Term(self.term), self.now, self.disk.load());
        self.scheduler = scheduler;
        self.follow(effects);
        self.be_members();
    }

    pub fn state(&self, id: &str) -> TaskState {
        self.get(id).state
    }

    pub fn get(&self, id: &str) -> Task {
        match self.scheduler.get(&task(id)) {
            Answer::Task(task) => task,
            other => panic!("{id}: {other:?}"),
        }
    }

    pub fn step(&mut self, event: Event) -> Option<Answer> {
        let mut effects = Vec::new();
        self.scheduler.step(self.now, event, &mut effects);
        self.follow(effects)
    }

    fn follow(&mut self, effects: Vec<Effect>) -> Option<Answer> {
        let mut answer = None;
        for effect in effects {
            match effect {
                Effect::Change(change) => self.disk.apply(change),
                Effect::Order { worker, order } => self.obey(&worker, order),
                Effect::Push(event) => {
                    let before = self.seen.insert(event.task.id.clone(), event.task.clone());
                    if let Some(before) = before {
                        assert!(before.revision < event.task.revision, "revisions grow: {before:?} {event:?}");
                        assert!(!before.state.is_terminal(), "terminal is final: {before:?} {event:?}");
                        assert!(before.attempt <= event.task.attempt);
                    }
                }
                Effect::Answer(given) => assert!(answer.replace(given).is_none(), "answered twice"),
                Effect::Welcome { .. } | Effect::Refuse { .. } => {}
                Effect::Note(note) => self.notes.push(note),
            }
        }
        super::invariants::check(self);
        answer
    }

    fn obey(&mut self, id: &WorkerId, order: Order) {
        let Some(hand) = self.hands.get_mut(id).filter(|hand| hand.linked) else { return };
        match order {
            Order::Assign { attempt, .. } => {
                if hand.running.insert(attempt.clone()) {
                    *self.runs.entry(attempt).or_default() += 1;
                }
            }
            Order::Cancel { attempt, .. } => {
                hand.cancelled.insert(attempt);
            }
            Order::Acknowledge { attempt } => {
                hand.cancelled.remove(&attempt);
            }
        }
    }
}

pub fn task(id: &str) -> TaskId {
    id.parse().unwrap()
}

pub fn worker(id: &str) -> WorkerId {
    id.parse().unwrap()
}

pub fn life(incarnation: u8) -> Incarnation {
    Incarnation([incarnation; 16])
}

pub fn attempt(id: &str, attempt: u32) -> AttemptId {
    AttemptId { task_id: task(id), attempt }
}

pub fn spec(kind: &str) -> TaskSpec {
    TaskSpec::new(kind.parse().unwrap(), b"payload")
}

pub fn offer(id: &WorkerId, incarnation: u8) -> WorkerOffer {
    WorkerOffer {
        worker_id: id.clone(),
        incarnation: life(incarnation),
        address: "127.0.0.1:1".into(),
        slots: SLOTS,
        kinds: BTreeSet::from(["work".parse().unwrap()]),
        queues: BTreeSet::from(["default".parse().unwrap()]),
        labels: BTreeMap::new(),
        version: "0".into(),
    }
}
