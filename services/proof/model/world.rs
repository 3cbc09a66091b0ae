//! The state of the model, and what each action makes of it.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{Hash, Hasher},
};

use super::{
    call::Call,
    history::{History, Sight},
    master::{Candidacy, Master, Write},
    names::{MASTERS, WORKERS, life, task, worker},
    shared::Shared,
    worker::Worker,
};
use crate::{
    domain::{Assignment, Fence, Term},
    proof::tree::{Operation, Request, Session, Tree},
    store::zookeeper::proof::{Expect, paths},
    wire,
};

/// What happens in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The client asks this master; which call it is.
    Ask(usize, usize),
    Campaign(usize),
    Look(usize),
    Announce(usize),
    ReadTasks(usize),
    Recover(usize),
    /// The master finds its place in the line gone.
    Notice(usize),
    /// Its process dies, or it waits no longer for the store; what it wrote is still on its way.
    Crash(usize),
    Tick(usize),
    /// The oldest write of a session happens, or is refused, and its leader hears of it.
    Land(Session),
    /// It happens, or is refused, and its leader does not hear of it.
    LandUnheard(Session),
    /// It never happens.
    Lose(Session),
    /// A session ends, and its nodes go.
    Expire(Session),
    /// Somebody removes its place in the line.
    Depose(Session),
    Dial(usize, usize),
    /// The next of what the worker said arrives; of what the leader said, likewise.
    Rise(usize),
    Descend(usize),
    End(usize, usize),
    Cut(usize),
    /// The worker leaves a leader that is gone or is none any more.
    HangUp(usize),
    /// The leader hears that the link has ended.
    HearEnd(usize, usize),
    Restart(usize),
}

/// The writes of one session that are on their way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Writer {
    pub place: String,
    pub term: Term,
    pub writes: VecDeque<Write>,
    /// Of the next write, if all before it have happened.
    pub next: u8,
}

#[derive(Debug, Clone)]
pub struct World {
    pub tree: Shared<Tree>,
    pub masters: [Shared<Master>; MASTERS],
    pub workers: [Shared<Worker>; WORKERS],
    pub writers: Shared<BTreeMap<Session, Writer>>,
    pub history: Shared<History>,
    /// How often each call may still be asked.
    pub calls: Vec<u8>,
    pub faults: u8,
    pub sessions: u8,
    /// What was seen on the way here: not part of the state, so that it does not make two of one.
    sights: u32,
}

impl World {
    pub fn new(calls: Vec<u8>, faults: u8, stray: bool) -> Self {
        let mut operations = Request::default();
        let mut create = |path: String| {
            operations.0.push(Operation::Create { path, data: [].into(), ephemeral: false });
        };
        for path in [paths::ELECTION, paths::WORKERS, paths::TASKS, paths::ASSIGN, paths::QUEUES, paths::DRAINS] {
            create(path.to_owned());
        }
        create(paths::NUMBER_ZERO.to_owned());
        for id in [task(0), task(1)] {
            create(paths::child(paths::TASKS, &paths::bucket(&id)));
        }
        if stray {
            let (worker, task_id) = (worker(0), task(1));
            create(paths::assignments(&worker));
            let path = paths::assignment(&worker, &task_id);
            let assignment = Assignment { task_id, worker, attempt: 1, incarnation: life(1), fence: Fence(1) };
            let data = wire::encode_assignment(&assignment).into();
            operations.0.push(Operation::Create { path, data, ephemeral: false });
        }
        operations.0.push(Operation::Delete { path: paths::NUMBER_ZERO.to_owned(), expect: Expect::Present });
        let mut tree = Tree::default();
        tree.apply(0, &operations.0).expect("an empty tree takes them");
        Self {
            tree: Shared::new(tree),
            masters: [0; MASTERS].map(|_| Shared::new(Master::Idle)),
            workers: [0; WORKERS].map(|_| Shared::new(Worker::new())),
            writers: Shared::new(BTreeMap::new()),
            history: Shared::new(History::default()),
            calls,
            faults,
            sessions: 0,
            sights: 0,
        }
    }

    pub fn has_seen(&self, sight: u32) -> bool {
        self.sights & (1 << sight) != 0
    }

    pub fn see(&mut self, sight: Sight) {
        self.sights |= 1 << sight as u32;
    }

    /// The master that writes on this session, if any does.
    pub fn owner(&self, session: Session) -> Option<usize> {
        self.masters.iter().position(|master| master.candidacy().is_some_and(|at| at.session == session))
    }

    pub fn is_in_line(&self, candidacy: &Candidacy) -> bool {
        self.tree.get(&candidacy.place).is_some()
    }

    pub fn take(&mut self, action: &Action, call: Option<Call>) {
        match *action {
            Action::Ask(master, number) => {
                self.calls[number] -= 1;
                self.ask(master, call.expect("a call is asked"));
            }
            Action::Campaign(master) => self.campaign(master),
            Action::Look(master) => self.look(master),
            Action::Announce(master) => self.announce(master),
            Action::ReadTasks(master) => self.read_tasks(master),
            Action::Recover(master) => self.recover(master),
            Action::Notice(master) | Action::Crash(master) => self.fall(master),
            Action::Tick(master) => self.tick(master),
            Action::Land(session) => self.land(session, true),
            Action::LandUnheard(session) => self.land(session, false),
            Action::Lose(session) => self.lose(session),
            Action::Expire(session) => drop(self.tree.edit(|tree| tree.end(session))),
            Action::Depose(session) => self.depose(session),
            Action::Dial(number, master) => {
                let term = self.masters[master].candidacy().expect("it leads").term;
                self.workers[number].edit(|worker| worker.dial(number, master, term));
            }
            Action::Rise(number) => self.rise(number),
            Action::Descend(number) => self.descend(number),
            Action::End(number, at) => self.workers[number].edit(|worker| {
                let attempt = worker.hand.running.iter().nth(at).cloned().expect("it runs");
                worker.end(&attempt);
            }),
            Action::Cut(number) | Action::HangUp(number) => self.workers[number].edit(|worker| worker.line = None),
            Action::HearEnd(master, number) => self.hear_end(master, number),
            Action::Restart(number) => self.workers[number].edit(Worker::restart),
        }
        self.sweep_writers();
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let Self { tree, masters, workers, writers, history, calls, faults, sessions, sights: _ } = self;
        (tree, masters, workers, writers, history).hash(hasher);
        (calls, faults, sessions).hash(hasher);
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.tree == other.tree
            && self.masters == other.masters
            && self.workers == other.workers
            && self.writers == other.writers
            && self.history == other.history
            && (&self.calls, self.faults, self.sessions) == (&other.calls, other.faults, other.sessions)
    }
}
