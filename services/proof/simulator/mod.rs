//! A cluster that is imagined around the services: their driver, scheduler, links, watch hub and commits are the real ones;
//! the store, the network, the clocks, the users and the handlers are not. Everything runs on one thread under paused
//! time, and whatever is left to chance comes from one seed: the same seed gives the same simulation, to the last message.
//!
//! A simulation is half a minute in the life of two or three masters, three workers and two client services: users submit
//! some tens of tasks while processes stand still, die and stop, links break or fall silent, writes come late and the
//! store goes down; then everything is well again, and within a session timeout and five seconds everything that was
//! acknowledged must have ended. What must hold all the time is in [`oracle`].
//!
//! `tests/simulate` runs as many seeds as wanted; `tests/simulate --seed SEED` prints the trace of one. How to read it:
//!
//! * Each line begins with the seconds since the start. `m1` to `m3` are masters, `w1` to `w3` workers, `c1` and `c2`
//!   client services, `zk` the ensemble.
//! * `w1 > m2 …` is a message, when it arrives; heartbeats are left out.
//! * `m2 session 7 wrote =/tasks +/assign/w1/t3` is a write to the tree: `+` created, `=` set, `-` deleted. `REFUSED` is
//!   one that changed nothing, and why.
//! * `--- …` is something that goes wrong, or the moment from which all is well.
//! * What is violated comes last, with its time: look at what was written and told of that task before it.

mod cluster;
mod dial;
mod ensemble;
mod faults;
mod gate;
mod leadership;
mod network;
mod oracle;
mod session;
mod store;
mod trace;
mod users;
mod work;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::{Builder, RngSeed, UnhandledPanic},
    time::{Instant, sleep, timeout},
};

use cluster::{CLIENTS, Cluster, WORKERS};
use oracle::{Oracle, Sights};
use trace::Trace;
use users::Users;

#[cfg(not(tokio_unstable))]
compile_error!(
    "the simulator seeds tokio's chance: build the tests with --cfg tokio_unstable, as .cargo/config.toml does"
);

/// When the first goes wrong, and when the last submit is made.
const FIRST_FAULT: Duration = Duration::from_millis(800);
const LAST_SUBMIT: Duration = Duration::from_secs(13);
/// From when on everything is well.
const WELL: Duration = Duration::from_secs(15);
/// After so long, everything that was acknowledged before has ended or runs: a session timeout, and five seconds.
const RECOVERY: Duration = ensemble::SESSION_TIMEOUT.saturating_add(Duration::from_secs(5));
/// For what still runs, for what was acknowledged later, and for those who watch.
const REST: Duration = Duration::from_secs(5);

/// What came of one simulation.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub seed: u64,
    /// Of the whole trace, and how many lines that is.
    pub hash: u64,
    pub events: u64,
    /// The trace, if it was kept.
    pub lines: Vec<String>,
    pub violations: Vec<String>,
    pub sights: Sights,
}

/// What every part of a simulation shares. Cheap to clone.
#[derive(Clone)]
pub struct Sim(Arc<Shared>);

struct Shared {
    start: Instant,
    chance: Mutex<fastrand::Rng>,
    trace: Mutex<Trace>,
    oracle: Mutex<Oracle>,
}

impl Sim {
    fn new(seed: u64, traced: bool) -> Self {
        Self(Arc::new(Shared {
            start: Instant::now(),
            chance: Mutex::new(fastrand::Rng::with_seed(seed)),
            trace: Mutex::new(Trace::new(traced)),
            oracle: Mutex::default(),
        }))
    }

    /// Since the start.
    pub fn now(&self) -> Duration {
        self.0.start.elapsed()
    }

    pub fn chance<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.0.chance.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn one_in(&self, n: u32) -> bool {
        self.chance(|chance| chance.u32(..n) == 0)
    }

    pub fn millis(&self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.chance(|chance| chance.u64(range)))
    }

    pub fn note(&self, what: fmt::Arguments<'_>) {
        self.0.trace.lock().unwrap_or_else(PoisonError::into_inner).note(self.now(), what);
    }

    pub fn oracle<T>(&self, tell: impl FnOnce(&mut Oracle) -> T) -> T {
        let mut oracle = self.0.oracle.lock().unwrap_or_else(PoisonError::into_inner);
        oracle.now = self.now();
        tell(&mut oracle)
    }
}

/// Runs one simulation, on a thread of its own: the chance of the services is the thread's.
pub fn simulate(seed: u64, traced: bool) -> Outcome {
    let simulation = std::thread::spawn(move || {
        fastrand::seed(seed);
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .rng_seed(RngSeed::from_bytes(&seed.to_le_bytes()))
            .unhandled_panic(UnhandledPanic::ShutdownRuntime)
            .build()
            .expect("a runtime without IO can be built");
        let sim = runtime.block_on(async {
            let sim = Sim::new(seed, traced);
            live(&sim).await;
            sim
        });
        let oracle = sim.oracle(std::mem::take);
        let trace = std::mem::take(&mut *sim.0.trace.lock().unwrap_or_else(PoisonError::into_inner));
        let ((hash, events, lines), (violations, sights)) = (trace.finish(), oracle.finish());
        Outcome { seed, hash, events, lines, violations, sights }
    });
    simulation.join().unwrap_or_else(|_| Outcome {
        seed,
        hash: 0,
        events: 0,
        lines: Vec::new(),
        violations: vec!["it panicked; the message is above".into()],
        sights: Sights::default(),
    })
}

async fn live(sim: &Sim) {
    let cluster = Cluster::new(sim.clone());
    for host in cluster.masters.iter().copied().chain(WORKERS) {
        cluster.start(host);
    }
    let fronts = CLIENTS.map(|host| cluster.front(host)).to_vec();
    let users = Users::new(sim.clone(), fronts, Instant::now() + WELL);
    users.start(LAST_SUBMIT);
    // Whatever is still wrong then is made well.
    let _ = timeout(WELL, faults::go_wrong(cluster.clone(), FIRST_FAULT, WELL)).await;
    tokio::time::sleep_until(sim.0.start + WELL).await;
    cluster.heal();
    sleep(RECOVERY).await;
    sim.oracle(|oracle| oracle.must_go_on(WELL));
    sleep(REST).await;
    let now = sim.now();
    let (found, _) = cluster.ensemble.with_tree(leadership::found);
    sim.oracle(|oracle| {
        oracle.must_have_ended(now);
        oracle.must_be_tidy(&found);
        if users.waiting() > 0 {
            oracle.violation(format!("{} watchers were not told the end of what they watch", users.waiting()));
        }
    });
}
