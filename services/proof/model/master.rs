//! A master, from its stand in the line to what it decides as the leader. What it decides and when that leaves is the real
//! scheduler's and the real outbox's; what it writes is put together by the real rules of a commit.

use std::hash::{Hash, Hasher};

use super::{
    call::Call,
    names::{NOW, WORKERS, task as task_id, task_number, worker_number},
};
use crate::{
    domain::{
        Answer, Incarnation, Now, Order, Outcome, Scheduler, Term,
        scheduler::{Effect, Event, Note},
    },
    master::outbox::Outbox,
    proof::tree::{Node, Operation, Request, Session},
    store::zookeeper::proof::{Chain, Known},
};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant, reason = "each is shared, and there are two of them")]
pub enum Master {
    Idle,
    /// In the line.
    Waiting(Candidacy),
    /// First in the line; it has read the version of `/tasks`.
    First {
        candidacy: Candidacy,
        version: i32,
    },
    /// The new term is a fact; this is the version of `/tasks` that it left.
    Announced {
        candidacy: Candidacy,
        version: i32,
    },
    /// It has read the tasks, and not yet the assignments.
    Reading {
        candidacy: Candidacy,
        version: i32,
        tasks: Vec<(String, Node)>,
    },
    Leading(Leading),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Candidacy {
    pub session: Session,
    pub place: String,
    pub term: Term,
}

impl Master {
    pub fn candidacy(&self) -> Option<&Candidacy> {
        match self {
            Self::Idle => None,
            Self::Waiting(candidacy)
            | Self::First { candidacy, .. }
            | Self::Announced { candidacy, .. }
            | Self::Reading { candidacy, .. }
            | Self::Leading(Leading { candidacy, .. }) => Some(candidacy),
        }
    }

    pub fn leading(&self) -> Option<&Leading> {
        match self {
            Self::Leading(leading) => Some(leading),
            _ => None,
        }
    }
}

/// What leaves a leader.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Out {
    Welcome { worker: usize, link: u8 },
    Refuse { worker: usize, link: u8 },
    Order { worker: usize, link: u8, order: Order },
    Answer(Said),
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Said {
    /// The task exists, with this payload.
    Exists {
        task: usize,
        payload: u8,
    },
    Cancelled {
        task: usize,
    },
    /// The answer to a question, and what was durable when it was asked.
    State {
        task: usize,
        shown: Shown,
        durable: Shown,
    },
    Refused,
}

/// How far a task is, as far as a reader can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shown {
    Nothing,
    Live,
    Ended,
}

/// Who asked for what is being stepped.
pub enum Asker {
    Nobody,
    Worker { worker: usize, link: u8, incarnation: Incarnation },
    Client(Call),
}

/// A write on its way to the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Write {
    /// Counted by its leader.
    pub number: u8,
    pub operations: Vec<Operation>,
}

#[derive(Debug, Clone)]
pub struct Leading {
    pub candidacy: Candidacy,
    pub scheduler: Scheduler,
    pub outbox: Outbox<Out, u8>,
    chain: Chain,
    known: Known,
    /// The worker's links, as this leader knows them.
    pub links: [Option<(u8, Incarnation)>; WORKERS],
    written: u8,
    /// A report was refused as stale.
    pub stale_reports: bool,
}

impl Leading {
    pub fn new(candidacy: Candidacy, scheduler: Scheduler, chain: Chain, known: Known) -> Self {
        Self {
            candidacy,
            scheduler,
            outbox: Outbox::new(),
            chain,
            known,
            links: [None; WORKERS],
            written: 0,
            stale_reports: false,
        }
    }

    pub fn step(&mut self, now: Now, event: Event, asker: &Asker) {
        let mut effects = Vec::new();
        self.scheduler.step(now, event, &mut effects);
        self.follow(effects, asker);
    }

    /// Queues what follows from a step, as the driver does; pushes concern watchers only and are left out.
    pub fn follow(&mut self, effects: Vec<Effect>, asker: &Asker) {
        for effect in effects {
            match effect {
                Effect::Change(change) => self.outbox.change(change),
                Effect::Order { worker, order } => {
                    let worker = worker_number(&worker);
                    if let Some((link, _)) = self.links[worker] {
                        self.outbox.out(Out::Order { worker, link, order });
                    }
                }
                Effect::Answer(answer) => {
                    if let Asker::Client(call) = asker {
                        self.outbox.answer(Out::Answer(said(call, &answer)));
                    }
                }
                Effect::Welcome { .. } => {
                    if let Asker::Worker { worker, link, incarnation } = *asker {
                        self.links[worker] = Some((link, incarnation));
                        self.outbox.answer(Out::Welcome { worker, link });
                    }
                }
                Effect::Refuse { .. } => {
                    if let Asker::Worker { worker, link, .. } = *asker {
                        self.outbox.out(Out::Refuse { worker, link });
                    }
                }
                Effect::Note(note) => self.stale_reports |= matches!(note, Note::StaleReport { .. }),
                Effect::Push(_) | Effect::Drain { .. } => {}
            }
        }
    }

    pub fn ask(&mut self, task: usize, durable: Shown) {
        let shown = match self.scheduler.get(&task_id(task)) {
            Answer::Task(task) if task.state.is_terminal() => Shown::Ended,
            Answer::Task(_) => Shown::Live,
            _ => Shown::Nothing,
        };
        self.outbox.answer(Out::Answer(Said::State { task, shown, durable }));
    }

    /// Issues what can be issued; what may leave at once, and the writes.
    pub fn issue(&mut self) -> (Vec<Out>, Vec<Write>) {
        let Self { outbox, chain, known, candidacy, written, .. } = self;
        let mut writes = Vec::new();
        let free = outbox.issue(|changes| {
            let mut request = Request::default();
            chain.follow_on(&candidacy.place, known, &changes, &mut request).expect("versions do not run out here");
            writes.push(Write { number: *written, operations: request.0 });
            *written += 1;
            *written - 1
        });
        (free, writes)
    }
}

fn said(call: &Call, answer: &Answer) -> Said {
    match answer {
        Answer::Task(task) if task.outcome == Some(Outcome::Cancelled) && matches!(call, Call::Cancel { .. }) => {
            Said::Cancelled { task: task_number(&task.id) }
        }
        Answer::Task(task) => Said::Exists { task: task_number(&task.id), payload: task.spec.payload[0] },
        _ => Said::Refused,
    }
}

impl PartialEq for Leading {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts() && self.known == other.known
    }
}

impl Eq for Leading {}

impl Hash for Leading {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.parts().hash(hasher);
        self.known.hash(hasher);
    }
}

impl Leading {
    #[allow(clippy::type_complexity, reason = "named nowhere else")]
    fn parts(&self) -> (&Candidacy, &Scheduler, &Outbox<Out, u8>, &Chain, &[Option<(u8, Incarnation)>; WORKERS], u8) {
        (&self.candidacy, &self.scheduler, &self.outbox, &self.chain, &self.links, self.written)
    }
}

/// The moment of an event that concerns a worker: each has its own, so that each is lost by itself.
pub fn moment(worker: usize) -> Now {
    let mut now = NOW;
    now.monotonic.0 += worker as u64;
    now
}
