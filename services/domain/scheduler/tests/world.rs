//! A cluster in a test: the real scheduler, commits that become durable when they are told to, links that carry what was
//! said in order when they are told to, and the invariants, looked at after every event.

mod links;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{
    super::{Effect, Event, Limits, Note, Scheduler},
    disk::Disk,
    hand::{Hand, Obeyed},
};
use crate::domain::{
    Answer, AttemptId, Change, Failure, FailureReason, Incarnation, Loaded, Member, Monotonic, Now, Order, Outcome,
    Progress, QueueUpdate, QueueView, Report, Revision, Task, TaskEvent, TaskId, TaskSpec, TaskState, Term, Wall,
    WorkerHello, WorkerId, WorkerOffer,
};

pub const SLOTS: u32 = 2;

/// What waits in the leader, in order, for the commits before it.
#[derive(Debug)]
enum Waiting {
    Change(Change),
    Order(WorkerId, u64, Order),
    Welcome(WorkerId, u64),
    Refuse(WorkerId, u64),
    Push(TaskEvent),
    Answer(Answer),
}

#[derive(Debug, Clone)]
enum Up {
    Hello(WorkerHello),
    Report(Report),
    Draining,
    Goodbye,
}

#[derive(Debug, Clone)]
enum Down {
    Welcome(Term),
    Refuse,
    Order(Order),
}

/// A worker's end of its link, and what is on its way on it.
#[derive(Debug, Clone)]
struct Line {
    id: u64,
    term: u64,
    welcomed: bool,
    up: VecDeque<Up>,
    down: VecDeque<Down>,
}

/// A worker's process.
#[derive(Debug)]
pub struct Process {
    pub hand: Hand,
    line: Option<Line>,
}

pub struct World {
    pub scheduler: Scheduler,
    pub limits: Limits,
    /// What is durable.
    pub disk: Disk,
    /// What will be durable when everything that waits is.
    pub ahead: Disk,
    waiting: VecDeque<Waiting>,
    /// Everything becomes durable and arrives at once.
    prompt: bool,
    /// The processes that live.
    pub processes: BTreeMap<WorkerId, Process>,
    /// The links as the leader knows them.
    linked: BTreeMap<WorkerId, u64>,
    /// Links that have ended, as the leader does not know yet.
    ended: VecDeque<(WorkerId, u64, Incarnation)>,
    links: u64,
    /// Of each worker from its next hello on.
    labels: BTreeMap<WorkerId, BTreeMap<String, String>>,
    /// The master beside it.
    beside: BTreeMap<WorkerId, Arc<str>>,
    pub now: Now,
    term: u64,
    /// The last state that was pushed of each task.
    pub seen: BTreeMap<TaskId, Task>,
    /// What was answered: these exist; of those that were cancelled it is final.
    pub acknowledged: BTreeMap<TaskId, bool>,
    /// The task that was removed last, as it ended.
    removed: Option<Revision>,
    pub notes: Vec<Note>,
    /// What whoever waits for the drain of a worker was told last: the attempts it held, and whether it was over.
    pub told: BTreeMap<WorkerId, (u32, bool)>,
    /// How often each attempt was begun by any worker.
    pub runs: BTreeMap<AttemptId, u32>,
    answer: Option<Answer>,
}

impl World {
    /// Everything arrives at once.
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
            ahead: Disk::default(),
            waiting: VecDeque::new(),
            prompt: true,
            processes: BTreeMap::new(),
            linked: BTreeMap::new(),
            ended: VecDeque::new(),
            links: 0,
            labels: BTreeMap::new(),
            beside: BTreeMap::new(),
            now,
            term: 1,
            seen: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            removed: None,
            notes: Vec::new(),
            told: BTreeMap::new(),
            runs: BTreeMap::new(),
            answer: None,
        }
    }

    /// Nothing arrives before it is told to.
    pub fn slow() -> Self {
        Self { prompt: false, ..Self::new() }
    }

    /// The worker says from its next hello on that it has these labels.
    pub fn label(&mut self, id: &str, labels: BTreeMap<String, String>) {
        self.labels.insert(worker(id), labels);
    }

    /// And that this master is in its process.
    pub fn put_beside(&mut self, id: &str, master: &str) {
        self.beside.insert(worker(id), master.into());
    }

    /// Whoever leads, this worker is beside it.
    pub fn spare(&mut self, id: &str) {
        self.put_beside(id, "here:1");
        self.limits.spare_beside = Some("here:1".into());
        self.take_over();
    }

    /// Whether the worker is the leader's own, which is spared.
    pub fn is_spared(&self, id: &WorkerId) -> bool {
        self.limits.spare_beside.is_some() && self.beside.get(id) == self.limits.spare_beside.as_ref()
    }

    pub fn submit(&mut self, id: &str) -> Answer {
        self.submit_spec(id, spec("work"))
    }

    pub fn submit_spec(&mut self, id: &str, spec: TaskSpec) -> Answer {
        self.request_submit(id, spec);
        self.answer.take().expect("a call is answered")
    }

    pub fn request_submit(&mut self, id: &str, spec: TaskSpec) {
        let deadline = self.now.monotonic.after(Duration::from_secs(30));
        self.step(Event::Submit { task_id: task(id), spec: Arc::new(spec), traceparent: None, deadline });
    }

    pub fn cancel(&mut self, id: &str) -> Answer {
        self.request_cancel(id);
        self.answer.take().expect("a call is answered")
    }

    pub fn request_cancel(&mut self, id: &str) {
        self.step(Event::Cancel { task_id: task(id) });
    }

    pub fn retry(&mut self, of: &str, id: &str) -> Answer {
        self.request_retry(of, id);
        self.answer.take().expect("a call is answered")
    }

    pub fn request_retry(&mut self, of: &str, id: &str) {
        let deadline = self.now.monotonic.after(Duration::from_secs(30));
        self.step(Event::Retry { of: task(of), task_id: task(id), traceparent: None, deadline });
    }

    pub fn request_delete(&mut self, id: &str) {
        self.step(Event::Delete { task_id: task(id) });
    }

    pub fn update(&mut self, queue: &str, update: &QueueUpdate) -> Answer {
        self.request_update(queue, update).expect("a call is answered")
    }

    pub fn request_update(&mut self, queue: &str, update: &QueueUpdate) -> Option<Answer> {
        self.step(Event::UpdateQueue { queue: queue.parse().unwrap(), update: update.clone() })
    }

    pub fn set_drained(&mut self, id: &str, drained: bool) -> Option<Answer> {
        self.step(Event::SetDrained { worker: worker(id), drained })
    }

    pub fn queue(&self, name: &str) -> QueueView {
        self.scheduler.queue(self.now, &name.parse().unwrap())
    }

    /// Something happens that is no message of a worker. Returns what was answered, if everything arrives at once.
    pub fn step(&mut self, event: Event) -> Option<Answer> {
        self.answer = None;
        self.take(event);
        self.answer.clone()
    }

    fn take(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.scheduler.step(self.now, event, &mut effects);
        self.follow(effects, None);
    }

    /// The leader dies, with what it had not made durable, and another one takes over from what is.
    pub fn take_over(&mut self) {
        self.term += 1;
        self.waiting.clear();
        self.linked.clear();
        self.ended.clear();
        for process in self.processes.values_mut() {
            process.line = None;
        }
        self.ahead = self.disk.clone();
        let (scheduler, effects) = Scheduler::recover(self.limits.clone(), Term(self.term), self.now, self.disk.load());
        self.scheduler = scheduler;
        // Whoever waits asks the new leader.
        let drains = self.ahead.drained.iter().map(|worker| (worker.clone(), self.scheduler.drain(worker)));
        self.told = drains.map(|(worker, drain)| (worker, (drain.worker.busy_slots, drain.is_over()))).collect();
        self.follow(effects, None);
        self.be_members();
    }

    pub fn wait(&mut self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap();
        self.now.monotonic.0 += millis;
        self.now.wall.0 += millis;
        while self.scheduler.next_tick().is_some_and(|at| at <= self.now.monotonic) {
            self.step(Event::Tick);
        }
        while self.scheduler.next_expiry().is_some_and(|at| at <= self.now.monotonic) {
            self.step(Event::Expire);
        }
    }

    pub fn state(&self, id: &str) -> TaskState {
        self.get(id).state
    }

    pub fn get(&self, id: &str) -> Task {
        match self.scheduler.get(&task(id)) {
            Answer::Task(task) => Arc::unwrap_or_clone(task),
            other => panic!("{id}: {other:?}"),
        }
    }

    /// Queues what follows from a step. `asker`: the link whose hello it was.
    fn follow(&mut self, effects: Vec<Effect>, asker: Option<u64>) {
        super::invariants::check_choice(self, &effects);
        for effect in effects {
            self.waiting.push_back(match effect {
                Effect::Change(change) => {
                    if let Change::Assigned(assignment) = &change {
                        assert!(!self.ahead.drained.contains(&assignment.worker), "{assignment:?} of a drained worker");
                    }
                    self.ahead.apply(change.clone());
                    Waiting::Change(change)
                }
                Effect::Order { worker, order } => match self.linked.get(&worker) {
                    Some(link) => Waiting::Order(worker, *link, order),
                    None => continue,
                },
                Effect::Push(event) => Waiting::Push(event),
                Effect::Answer(answer) => Waiting::Answer(answer),
                Effect::Welcome { worker } => {
                    let link = asker.expect("a welcome answers a hello");
                    self.linked.insert(worker.clone(), link);
                    Waiting::Welcome(worker, link)
                }
                Effect::Refuse { worker } => Waiting::Refuse(worker, asker.expect("a refusal answers a hello")),
                Effect::Drain { worker } => {
                    let drain = self.scheduler.drain(&worker);
                    self.told.insert(worker, (drain.worker.busy_slots, drain.is_over()));
                    continue;
                }
                Effect::Note(note) => {
                    self.notes.push(note);
                    continue;
                }
            });
        }
        super::invariants::check(self);
        if self.prompt {
            self.settle();
        }
    }

    /// Everything that waits is committed and everything said arrives.
    pub fn settle(&mut self) {
        while self.commit(usize::MAX) || self.hear_end() || self.anybody(Self::rise) || self.anybody(Self::descend) {}
    }

    fn anybody(&mut self, mut deliver: impl FnMut(&mut Self, &WorkerId) -> bool) -> bool {
        let ids: Vec<_> = self.processes.keys().cloned().collect();
        ids.iter().any(|id| deliver(self, id))
    }

    /// The first of what waits becomes durable, or leaves.
    pub fn commit(&mut self, most: usize) -> bool {
        let count = most.min(self.waiting.len());
        for waiting in self.waiting.drain(..count).collect::<Vec<_>>() {
            match waiting {
                Waiting::Change(change) => {
                    if let Change::Removed { task_id } = &change {
                        self.removed = self.disk.statuses.get(task_id).map(|status| status.revision);
                        self.acknowledged.remove(task_id);
                        self.seen.remove(task_id);
                    }
                    self.disk.apply(change);
                }
                Waiting::Order(worker, link, order) => self.tell(&worker, link, Down::Order(order)),
                Waiting::Welcome(worker, link) => self.tell(&worker, link, Down::Welcome(Term(self.term))),
                Waiting::Refuse(worker, link) => self.tell(&worker, link, Down::Refuse),
                Waiting::Push(event) => self.push(&event),
                Waiting::Answer(answer) => {
                    // What a delete answers says how it was, not that it is.
                    if let Answer::Task(task) = &answer
                        && self.removed != Some(task.revision)
                    {
                        let cancelled = task.outcome == Some(Outcome::Cancelled);
                        *self.acknowledged.entry(task.id.clone()).or_default() |= cancelled;
                    }
                    assert!(self.answer.replace(answer).is_none() || !self.prompt, "answered twice");
                }
            }
        }
        super::invariants::check_durable(self);
        count > 0
    }

    fn push(&mut self, event: &TaskEvent) {
        let before = self.seen.insert(event.task.id.clone(), (*event.task).clone());
        if let Some(before) = before {
            assert!(before.revision < event.task.revision, "revisions grow: {before:?} {event:?}");
            assert!(!before.state.is_terminal(), "terminal is final: {before:?} {event:?}");
            assert!(before.attempt <= event.task.attempt);
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

pub fn spec(kind: &str) -> TaskSpec {
    TaskSpec::new(kind.parse().unwrap(), b"payload")
}

pub fn offer(id: &WorkerId, incarnation: Incarnation) -> WorkerOffer {
    WorkerOffer {
        worker_id: id.clone(),
        incarnation,
        address: "127.0.0.1:1".into(),
        slots: SLOTS,
        kinds: BTreeSet::from(["work".parse().unwrap()]),
        queues: BTreeSet::from(["default".parse().unwrap(), "other".parse().unwrap()]),
        labels: BTreeMap::new(),
        version: "0".into(),
    }
}
