//! The processes of a small cluster: started, stopped, killed, held up and started again.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use prometheus_client::registry::Registry;
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    Sim,
    dial::{Dialler, Doors},
    ensemble::{Ensemble, SESSION_TIMEOUT},
    gate::Gate,
    network::{Break, Host, Network},
    store::SimulatedStore,
    work::Work,
};
use crate::{
    client::simulated::{Hub, LeaderLink},
    domain::{Incarnation, Wall, WorkerOffer, scheduler::Limits},
    master::simulated as master,
    runtime::wall_clock::WallClock,
    store::{Candidate, Store},
    worker::{
        handler::Handlers,
        link::Link,
        simulated::{Crew, Metrics, keep},
    },
};

pub const MASTERS: [Host; 3] = ["m1", "m2", "m3"];
pub const WORKERS: [Host; 3] = ["w1", "w2", "w3"];
pub const CLIENTS: [Host; 2] = ["c1", "c2"];

/// The kind of all tasks.
pub const KIND: &str = "work";
/// When the simulation begins, on a right clock.
const EPOCH_MS: i64 = 1_800_000_000_000;
/// How long a worker that stops lets its attempts run.
const DRAIN: Duration = Duration::from_secs(1);
/// Beyond a session timeout, a client service waits so long for a leader, as the real one does.
const TAKEOVER: Duration = Duration::from_secs(1);
/// How long the links of a master that stops may take to say goodbye.
const LINKS_END: Duration = Duration::from_millis(500);
/// Watch streams of one client service.
const MAX_STREAMS: usize = 1_000;

struct Life {
    gate: Gate,
    shutdown: CancellationToken,
    incarnation: Option<Incarnation>,
}

/// A client service; its users call it directly.
#[derive(Clone)]
pub struct Front {
    pub host: Host,
    pub link: LeaderLink,
    pub hub: Hub,
}

pub struct Cluster {
    pub sim: Sim,
    pub network: Network,
    pub ensemble: Ensemble,
    pub masters: &'static [Host],
    doors: Doors,
    lives: Mutex<BTreeMap<Host, Life>>,
    /// How wrong each host's clock is, in milliseconds.
    clocks: BTreeMap<Host, Arc<AtomicI64>>,
}

impl Cluster {
    pub fn new(sim: Sim) -> Arc<Self> {
        let network = Network::new(sim.clone());
        let ensemble = Ensemble::start(sim.clone(), network.clone());
        let doors = Doors::new(network.clone());
        let hosts = MASTERS.into_iter().chain(WORKERS).chain(CLIENTS);
        let clocks = hosts.map(|host| (host, Arc::default())).collect();
        let masters = &MASTERS[..sim.chance(|chance| chance.usize(2..=MASTERS.len()))];
        Arc::new(Self { sim, network, ensemble, masters, doors, lives: Mutex::default(), clocks })
    }

    pub fn start(self: &Arc<Self>, host: Host) {
        if self.lives(host) {
            return;
        }
        self.sim.note(format_args!("{host} starts"));
        let (gate, shutdown) = (Gate::default(), CancellationToken::new());
        let incarnation = if WORKERS.contains(&host) {
            Some(self.start_worker(host, &gate, shutdown.clone()))
        } else {
            self.start_master(host, &gate, shutdown.clone());
            None
        };
        self.lock().insert(host, Life { gate, shutdown, incarnation });
    }

    fn start_master(self: &Arc<Self>, host: Host, gate: &Gate, shutdown: CancellationToken) {
        let store = self.store(host, gate);
        let id = uuid::Builder::from_random_bytes(self.random_bytes()).into_uuid();
        let candidate = Candidate { id, address: format!("{host}:7000") };
        let limits = Limits { takeover_grace: SESSION_TIMEOUT, ..Limits::default() };
        let dial = Arc::new(self.dialler(host));
        let (door, running) = master::start(store, candidate, limits, self.clock(host), dial, shutdown);
        self.doors.open(host, door, gate.clone());
        self.spawn(host, gate, async {
            running.await;
            sleep(LINKS_END).await;
        });
    }

    fn start_worker(self: &Arc<Self>, host: Host, gate: &Gate, shutdown: CancellationToken) -> Incarnation {
        let incarnation = Incarnation(self.random_bytes());
        self.sim.oracle(|oracle| oracle.worker_lives(incarnation));
        let offer = WorkerOffer {
            worker_id: host.parse().expect("a host's name is one of a worker"),
            incarnation,
            address: format!("{host}:7000"),
            slots: self.sim.chance(|chance| chance.u32(2..6)),
            kinds: [KIND.parse().expect("a good name")].into(),
            queues: [crate::domain::QueueName::default()].into(),
            labels: BTreeMap::new(),
            version: "0".into(),
        };
        let work = Work { cluster: self.clone(), host, gate: gate.clone(), incarnation };
        let handlers = Handlers::default().with(KIND.parse().expect("a good name"), work);
        let metrics = Metrics::new(&mut Registry::default(), offer.slots);
        let store = self.store(host, gate);
        let crew = Crew::new(offer.clone(), handlers, DRAIN, shutdown, metrics, self.clock(host));
        let (linked, link_state) = watch::channel(None);
        let link = Link::new(self.dialler(host), store.follow(), crew, linked);
        let stopped = CancellationToken::new();
        let membership = keep(store, offer, link_state, stopped.clone());
        let linking = async move {
            link.run().await;
            stopped.cancel();
        };
        self.spawn(host, gate, async {
            tokio::join!(linking, membership);
        });
        incarnation
    }

    /// A client service, which nothing happens to but by the network.
    pub fn front(self: &Arc<Self>, host: Host) -> Front {
        let store = self.store(host, &Gate::default());
        let dialler = Arc::new(self.dialler(host));
        let never = CancellationToken::new();
        let patience = SESSION_TIMEOUT + TAKEOVER;
        let (link, notices, _) = LeaderLink::start(dialler, store.follow(), patience, never.clone());
        let hub = Hub::start(link.clone(), notices, MAX_STREAMS, never);
        Front { host, link, hub }
    }

    /// Runs the main part of a process; when that ends, the process ends.
    fn spawn(self: &Arc<Self>, host: Host, gate: &Gate, main: impl Future<Output = ()> + Send + 'static) {
        let (cluster, own) = (self.clone(), gate.clone());
        let main = gate.run(main);
        tokio::spawn(async move {
            if main.await.is_some() {
                cluster.sim.note(format_args!("{host} ends"));
                cluster.bury(host, &own);
            }
        });
    }

    fn store(&self, host: Host, gate: &Gate) -> Arc<SimulatedStore> {
        let packing = self.sim.one_in(2);
        Arc::new(SimulatedStore::new(self.ensemble.clone(), host, gate.clone(), packing))
    }

    fn dialler(&self, host: Host) -> Dialler {
        Dialler { doors: self.doors.clone(), host }
    }

    fn clock(&self, host: Host) -> WallClock {
        let (wrong, sim) = (self.clocks[host].clone(), self.sim.clone());
        WallClock::new(move || {
            let right = EPOCH_MS + i64::try_from(sim.now().as_millis()).unwrap_or(i64::MAX);
            Wall(u64::try_from(right + wrong.load(Ordering::Relaxed)).unwrap_or_default())
        })
    }

    pub fn set_clock(&self, host: Host, wrong_by_ms: i64) {
        self.sim.note(format_args!("{host}'s clock is wrong by {wrong_by_ms} ms"));
        self.clocks[host].store(wrong_by_ms, Ordering::Relaxed);
    }

    fn random_bytes(&self) -> [u8; 16] {
        self.sim.chance(|chance| chance.u128(..)).to_be_bytes()
    }

    /// The host of the master that leads, as far as it knows.
    pub fn leader(&self) -> Option<Host> {
        let leads = |host: &&Host| self.lives(host) && self.doors.term(host).is_some();
        self.masters.iter().filter(leads).max_by_key(|host| self.doors.term(host)).copied()
    }

    pub fn lives(&self, host: Host) -> bool {
        self.lock().get(host).is_some_and(|life| !life.gate.is_gone())
    }

    pub fn pause(&self, host: Host) {
        self.with_life(host, "stands still", |life| life.gate.pause());
    }

    pub fn resume(&self, host: Host) {
        self.with_life(host, "goes on", |life| life.gate.resume());
    }

    /// Asks it to stop.
    pub fn stop(&self, host: Host) {
        self.with_life(host, "is asked to stop", |life| life.shutdown.cancel());
    }

    /// The process dies. If its machine dies too, nobody notices by the network.
    pub fn kill(&self, host: Host, with_its_machine: bool) {
        if with_its_machine {
            for other in MASTERS.into_iter().chain(WORKERS).chain(CLIENTS) {
                self.network.cut(host, other, Break::Nobody);
            }
        }
        let gate = self.lock().get(host).map(|life| life.gate.clone());
        if let Some(gate) = gate.filter(|gate| !gate.is_gone()) {
            self.sim.note(format_args!("{host} dies, with its machine: {with_its_machine}"));
            self.bury(host, &gate);
        }
    }

    pub async fn die_and_come_back(self: Arc<Self>, host: Host) {
        let pause = Duration::from_millis(self.sim.chance(|chance| chance.u64(100..600)));
        let until = self.sim.now() + pause;
        self.sim.oracle(|oracle| oracle.disturbs(host, until));
        self.kill(host, false);
        sleep(pause).await;
        self.start(host);
    }

    fn bury(&self, host: Host, gate: &Gate) {
        let incarnation = self.lock().get(host).and_then(|life| life.incarnation);
        if let Some(incarnation) = incarnation {
            self.sim.oracle(|oracle| oracle.worker_died(incarnation));
        }
        gate.kill();
    }

    /// Everything is well again, and stays so.
    pub fn heal(self: &Arc<Self>) {
        self.sim.note(format_args!("--- everything is well again"));
        self.network.release_all();
        self.ensemble.come_up();
        self.ensemble.speed_up();
        for host in self.masters.iter().copied().chain(WORKERS) {
            self.resume(host);
            self.start(host);
        }
    }

    fn with_life(&self, host: Host, what: &str, change: impl FnOnce(&Life)) {
        if let Some(life) = self.lock().get(host).filter(|life| !life.gate.is_gone()) {
            self.sim.note(format_args!("{host} {what}"));
            change(life);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Host, Life>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
