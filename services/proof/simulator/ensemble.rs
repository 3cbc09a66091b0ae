//! A ZooKeeper that is imagined: one tree, sessions that expire, requests that each session's connection brings in order,
//! late, or only in part. What a request does to the tree is the tree's business.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, interval, sleep, sleep_until, timeout},
};

use super::{
    Sim,
    gate::Gate,
    network::{Host, Network, latency},
    oracle::Written,
    session::{Asked, Session},
};
use crate::{
    proof::tree::{self, Operation, Refused, Request, Tree},
    store::zookeeper::proof::{CreateMode, Error, Expect, Operations, paths},
};

/// The ensemble's name in the network.
pub const ENSEMBLE: Host = "zk";
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(4);
/// After so long without an answer a client holds its connection for lost, as ZooKeeper's clients do.
const READ_TIMEOUT: Duration = SESSION_TIMEOUT.saturating_mul(2).checked_div(3).unwrap();
/// Between the pings of a session, and between the server's looks at all of them.
const PING: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(200);
/// How long a process tries to open a session.
const OPEN_LIMIT: Duration = Duration::from_secs(4);
/// The connection to an ensemble that is down is refused after this.
const REFUSAL: Duration = Duration::from_millis(5);
/// Of so many requests that arrive after their connection broke, one is missing.
const HOLES: u32 = 4;

struct Known {
    heard: Instant,
}

struct State {
    tree: Tree,
    sessions: BTreeMap<tree::Session, Known>,
    last_session: tree::Session,
    up: bool,
    /// Until when requests of a host take so much longer.
    slow: BTreeMap<Host, (Instant, Duration)>,
    breaks: BTreeMap<Host, watch::Sender<u64>>,
}

#[derive(Clone)]
pub struct Ensemble {
    pub sim: Sim,
    pub network: Network,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<()>,
}

impl Ensemble {
    /// One with Herdsman's tree on it, that runs until the simulation ends.
    pub fn start(sim: Sim, network: Network) -> Self {
        let mut tree = Tree::default();
        let mut layout = Request::default();
        let fixed = [
            paths::ELECTION,
            paths::NUMBER_ZERO,
            paths::WORKERS,
            paths::TASKS,
            paths::ASSIGN,
            paths::QUEUES,
            paths::DRAINS,
        ];
        let buckets = paths::buckets().map(|name| paths::child(paths::TASKS, &name));
        for path in fixed.map(str::to_owned).into_iter().chain(buckets) {
            layout.create(path, &[], CreateMode::Persistent).expect("a persistent node can be asked for");
        }
        layout.delete(paths::NUMBER_ZERO.to_owned(), Expect::Present).expect("a node can be deleted");
        tree.apply(0, &layout.0).expect("an empty tree takes the layout");
        let state = State {
            tree,
            sessions: BTreeMap::new(),
            last_session: 0,
            up: true,
            slow: BTreeMap::new(),
            breaks: BTreeMap::new(),
        };
        let ensemble = Self { sim, network, state: Arc::new(Mutex::new(state)), changed: watch::Sender::new(()) };
        tokio::spawn(ensemble.clone().expire());
        ensemble
    }

    /// Cuts the connections of a host to the ensemble. What is under way arrives in part.
    pub fn cut(&self, host: Host) {
        let breaks = self.lock().breaks.entry(host).or_default().clone();
        breaks.send_modify(|breaks| *breaks += 1);
    }

    pub fn go_down(&self) {
        let mut state = self.lock();
        state.up = false;
        let breaks: Vec<_> = state.breaks.values().cloned().collect();
        drop(state);
        for breaks in breaks {
            breaks.send_modify(|breaks| *breaks += 1);
        }
    }

    /// Sessions that are left begin anew to wait for a sign of life.
    pub fn come_up(&self) {
        let mut state = self.lock();
        state.up = true;
        state.sessions.values_mut().for_each(|session| session.heard = Instant::now());
    }

    /// For so long, what a host asks takes so much longer on its way.
    pub fn slow_down(&self, host: Host, time: Duration, delay: Duration) {
        self.lock().slow.insert(host, (Instant::now() + time, delay));
    }

    pub fn speed_up(&self) {
        self.lock().slow.clear();
    }

    /// How much longer than usual what a host asks takes now.
    pub fn delay(&self, host: Host) -> Duration {
        let slow = self.lock().slow.get(host).copied();
        slow.filter(|(until, _)| *until > Instant::now()).map_or(Duration::ZERO, |(_, delay)| delay)
    }

    /// Ends the session of whoever is first in the line, as if the servers had not heard of it for too long.
    pub fn expire_leader(&self) {
        let first = |tree: &Tree| {
            let (_, node) = tree.children(paths::ELECTION).min_by_key(|(name, _)| paths::term(name))?;
            node.owner
        };
        if let Some(session) = self.with_tree(first) {
            self.end(session, "expired");
        }
    }

    /// A look that nobody in the simulation takes.
    pub fn with_tree<T>(&self, look: impl FnOnce(&Tree) -> T) -> T {
        look(&self.lock().tree)
    }

    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// # Errors
    /// The ensemble is not reached.
    pub async fn open(&self, host: Host, gate: &Gate) -> Result<Arc<Session>, String> {
        if timeout(OPEN_LIMIT, self.reach(host)).await.is_err() {
            return Err("no answer".into());
        }
        if !self.lock().up {
            sleep(REFUSAL).await;
            return Err("connection refused".into());
        }
        let (requests, inbox) = mpsc::unbounded_channel();
        let lost = watch::Sender::new(false);
        let mut state = self.lock();
        state.last_session += 1;
        let id = state.last_session;
        state.sessions.insert(id, Known { heard: Instant::now() });
        let breaks = state.breaks.entry(host).or_default().subscribe();
        drop(state);
        self.sim.note(format_args!("{host} session {id}"));
        tokio::spawn(self.clone().bring(id, host, inbox, breaks.clone()));
        let session = Session {
            id,
            host,
            ensemble: self.clone(),
            requests,
            lost: lost.clone(),
            breaks: breaks.clone(),
            gate: gate.clone(),
        };
        tokio::spawn(gate.run(self.clone().keep(id, host, lost, breaks)));
        Ok(Arc::new(session))
    }

    /// There and back.
    async fn reach(&self, host: Host) {
        sleep(latency(&self.sim)).await;
        self.network.passes(host, ENSEMBLE).await;
        self.network.passes(ENSEMBLE, host).await;
        sleep(latency(&self.sim)).await;
    }

    /// The client's side of a session: pings, until it finds that nobody answers.
    async fn keep(self, id: tree::Session, host: Host, lost: watch::Sender<bool>, mut breaks: watch::Receiver<u64>) {
        let mut answered = Instant::now();
        let mut pings = interval(PING);
        loop {
            tokio::select! {
                biased;
                () = lost.closed() => return,
                _ = breaks.changed() => break,
                _ = pings.tick() => {}
            }
            // It may have led on for so long when it learns that its session is over.
            sleep(latency(&self.sim) + self.delay(host).min(READ_TIMEOUT)).await;
            let there = !self.network.is_held(host, ENSEMBLE);
            let mut state = self.lock();
            let up = state.up;
            let known = match state.sessions.get_mut(&id).filter(|_| there) {
                Some(known) => {
                    known.heard = Instant::now();
                    up
                }
                None => up && !there,
            };
            drop(state);
            if !known {
                break;
            }
            if there && !self.network.is_held(ENSEMBLE, host) {
                answered = Instant::now();
            } else if answered.elapsed() >= READ_TIMEOUT {
                break;
            }
        }
        self.sim.note(format_args!("{host} lost session {id}"));
        lost.send_replace(true);
    }

    /// The connection of a session: requests in order. When it breaks, what is under way is lost or arrives much later.
    async fn bring(
        self,
        id: tree::Session,
        host: Host,
        mut inbox: mpsc::UnboundedReceiver<(Instant, Asked)>,
        mut breaks: watch::Receiver<u64>,
    ) {
        let mut broken = false;
        while let Some((at, asked)) = inbox.recv().await {
            let arrives = async {
                sleep_until(at).await;
                self.network.passes(host, ENSEMBLE).await;
            };
            if broken {
                arrives.await;
            } else {
                tokio::select! {
                    biased;
                    _ = breaks.changed() => {
                        broken = true;
                        let late = self.sim.chance(|chance| chance.bool().then(|| Duration::from_millis(chance.u64(10..7_000))));
                        let Some(late) = late else { return };
                        sleep(late).await;
                    }
                    () = arrives => {}
                }
            }
            // Not even a prefix: what follows a hole must not count.
            if broken && self.sim.one_in(HOLES) {
                continue;
            }
            if !self.lock().up {
                return;
            }
            match asked {
                Asked::Write(operations, reply) => {
                    let result = self.write(id, host, &operations);
                    self.answer(host, broken, reply, result);
                }
                Asked::Stand { prefix, data, reply } => {
                    let result = self.stand(id, host, &prefix, &data);
                    self.answer(host, broken, reply, result);
                }
                Asked::Close => self.end(id, "closed"),
            }
        }
    }

    fn write(&self, id: tree::Session, host: Host, operations: &[Operation]) -> Result<(), Refused> {
        let mut state = self.lock();
        // A session that is over has no nodes, so that the fence speaks for it; but it gets none any more.
        let ephemeral =
            operations.iter().any(|operation| matches!(operation, Operation::Create { ephemeral: true, .. }));
        if ephemeral && !state.sessions.contains_key(&id) {
            return Err(Refused { path: String::new(), error: Error::SessionExpired });
        }
        let before: Vec<_> = operations.iter().map(|operation| state.tree.get(operation.path()).cloned()).collect();
        let result = state.tree.apply(id, operations);
        drop(state);
        self.note_write(id, host, operations, &result);
        let written = Written { session: id, host, operations, before: &before, result: &result };
        self.sim.oracle(|oracle| oracle.written(&written));
        if result.is_ok() {
            self.changed.send_replace(());
        }
        result
    }

    fn note_write(&self, id: tree::Session, host: Host, operations: &[Operation], result: &Result<(), Refused>) {
        let paths = operations.iter().map(|operation| match operation {
            Operation::Check { .. } => String::new(),
            Operation::Create { path, .. } => format!(" +{path}"),
            Operation::Set { path, .. } => format!(" ={path}"),
            Operation::Delete { path, .. } => format!(" -{path}"),
        });
        let paths: String = paths.collect();
        match result {
            Ok(()) => self.sim.note(format_args!("{host} session {id} wrote{paths}")),
            Err(Refused { path, error }) => {
                self.sim.note(format_args!("{host} session {id} REFUSED at {path}, {error}:{paths}"));
            }
        }
    }

    fn stand(&self, id: tree::Session, host: Host, prefix: &str, data: &[u8]) -> Result<String, Refused> {
        let mut state = self.lock();
        if !state.sessions.contains_key(&id) {
            return Err(Refused { path: String::new(), error: Error::SessionExpired });
        }
        let result = state.tree.create_sequential(id, prefix, data);
        drop(state);
        if let Ok(path) = &result {
            self.sim.note(format_args!("{host} stands in line at {path}"));
            self.changed.send_replace(());
        }
        result
    }

    fn answer<T: Send + 'static>(&self, host: Host, broken: bool, reply: oneshot::Sender<T>, result: T) {
        if broken {
            return;
        }
        let (network, at) = (self.network.clone(), Instant::now() + latency(&self.sim));
        tokio::spawn(async move {
            sleep_until(at).await;
            network.passes(ENSEMBLE, host).await;
            // Whoever asked may have stopped waiting.
            let _ = reply.send(result);
        });
    }

    async fn expire(self) {
        let mut looks = interval(LOOK);
        loop {
            looks.tick().await;
            let state = self.lock();
            let over = |(id, known): (&tree::Session, &Known)| (known.heard.elapsed() > SESSION_TIMEOUT).then_some(*id);
            let expired: Vec<_> = state.sessions.iter().filter(|_| state.up).filter_map(over).collect();
            drop(state);
            for id in expired {
                self.end(id, "expired");
            }
        }
    }

    fn end(&self, id: tree::Session, how: &str) {
        let mut state = self.lock();
        if state.sessions.remove(&id).is_none() {
            return;
        }
        let gone = state.tree.end(id);
        drop(state);
        self.sim.note(format_args!("session {id} {how}, with {gone:?}"));
        self.sim.oracle(|oracle| oracle.session_ended(how));
        self.changed.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
