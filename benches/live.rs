//! A scheduler with so many live tasks, a worker that is full, and whole task lives on top of them: the same number is
//! live after each.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::domain::{
    AttemptId, Incarnation, Kind, Loaded, LoadedTask, Member, Monotonic, Now, Order, QueueName, Report, Revision,
    Scheduler, Submission, TaskId, TaskSpec, Term, Wall, WorkerHello, WorkerId, WorkerOffer,
    scheduler::{Effect, Event, Limits},
};

/// Steps of a life: submitted, started, succeeded, and an earlier one removed.
pub const STEPS: u32 = 4;

const SLOTS: u32 = 100;
/// Time that a life takes: with the retention below, 60 that have ended are kept.
const LIFE: Duration = Duration::from_secs(1);
const RETENTION: Duration = Duration::from_mins(1);
/// Of each task's payload.
const BYTES: usize = 64;

pub struct Live {
    scheduler: Scheduler,
    worker: WorkerId,
    incarnation: Incarnation,
    spec: Arc<TaskSpec>,
    now: Now,
    submitted: usize,
    assigned: VecDeque<AttemptId>,
    effects: Vec<Effect>,
}

impl Live {
    pub fn with(tasks: usize) -> Self {
        let spec = Arc::new(TaskSpec::new(kind(), &[b'x'; BYTES]));
        let limits =
            Limits { max_tasks: u64::MAX, max_bytes: u64::MAX, retain_finished: RETENTION, ..Limits::default() };
        let loaded =
            (0..tasks).map(|number| LoadedTask { submission: submission(number, &spec), status: None }).collect();
        let loaded = Loaded { tasks: loaded, ..Loaded::default() };
        let (scheduler, _) = Scheduler::recover(limits, Term(2), Now::default(), loaded);
        let mut live = Self {
            scheduler,
            worker: "w".parse().expect("an id"),
            incarnation: Incarnation([1; 16]),
            spec,
            now: Now::default(),
            submitted: tasks,
            assigned: VecDeque::new(),
            effects: Vec::new(),
        };
        let member = Member { worker_id: live.worker.clone(), incarnation: live.incarnation };
        live.step(Event::Members(vec![member]));
        live.step(Event::Hello(Box::new(live.hello())));
        assert_eq!(live.assigned.len(), SLOTS as usize, "the worker is full");
        live
    }

    /// One task is submitted, the oldest attempt starts and succeeds, another one takes its slot, and what has been
    /// kept long enough goes.
    pub fn life(&mut self) {
        self.now.monotonic = self.now.monotonic.after(LIFE);
        let submission = submission(self.submitted, &self.spec);
        self.submitted += 1;
        self.step(Event::Submit {
            task_id: submission.task_id,
            spec: submission.spec,
            traceparent: None,
            deadline: Monotonic(u64::MAX),
        });
        let attempt = self.assigned.pop_front().expect("there is always one: the freed slot is filled");
        self.report(Report::Started { attempt: attempt.clone(), start_time: Wall(1) });
        self.report(Report::Succeeded { attempt, start_time: Wall(1), result: Arc::from([]) });
        self.step(Event::Expire);
    }

    fn report(&mut self, report: Report) {
        self.step(Event::Report { worker: self.worker.clone(), incarnation: self.incarnation, report });
    }

    fn step(&mut self, event: Event) {
        self.scheduler.step(self.now, event, &mut self.effects);
        for effect in self.effects.drain(..) {
            if let Effect::Order { order: Order::Assign { attempt, .. }, .. } = effect {
                self.assigned.push_back(attempt);
            }
        }
    }

    fn hello(&self) -> WorkerHello {
        WorkerHello {
            offer: WorkerOffer {
                worker_id: self.worker.clone(),
                incarnation: self.incarnation,
                address: "127.0.0.1:1".to_owned(),
                slots: SLOTS,
                kinds: BTreeSet::from([kind()]),
                queues: BTreeSet::from([QueueName::default()]),
                labels: BTreeMap::new(),
                version: String::new(),
            },
            running: Vec::new(),
            reports: Vec::new(),
            draining: false,
            beside: None,
            term: Term(2),
        }
    }
}

fn kind() -> Kind {
    "noop".parse().expect("a name")
}

/// As one of an earlier term.
pub fn submission(number: usize, spec: &Arc<TaskSpec>) -> Submission {
    let task_id: TaskId = format!("task-{number:08}").parse().expect("an id");
    let revision = Revision(Revision::start_of(Term(1)).0 + 1 + number as u64);
    Submission { task_id, spec: spec.clone(), create_time: Wall(1), revision, traceparent: None, retry_of: None }
}
