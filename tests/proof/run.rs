//! The run: a cluster, its clients, round after round of faults, and the verdict.

use std::{
    cell::RefCell,
    env,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt, stream::FuturesUnordered};
use rustix::process::Pid;
use tokio::time::sleep;

use super::{
    checker,
    cluster::{CHROOT, Cluster, SESSION_TIMEOUT, sights},
    evidence::{Directory, Plan, Round},
    nemesis::{self, Fault, Scene, inflict},
    workload::{Tally, Workload, run_load, watchers},
};

/// Submits, cancels and gets together; about four of five are submits of new tasks.
const CALLS_PER_SECOND: u32 = 80;
/// A run that names no end.
const DEFAULT_RUN: Duration = Duration::from_mins(10);
/// Between the beginnings of two faults of one round.
const MOST_OVERLAP_MS: u64 = 1_500;
/// By then everything has to go on again; the next round waits for it.
const CALM: Duration = SESSION_TIMEOUT.saturating_add(Duration::from_secs(5));
/// By then, after the last fault, nothing may lie about that is nobody's.
const LAST_CALM: Duration = Duration::from_secs(31);
/// Before the first fault: every watch is open, and memory has been used for the first time.
const WARM_UP: Duration = Duration::from_secs(8);
/// Much longer than the longest task.
const END_LIMIT: Duration = Duration::from_mins(2);
/// Between two looks at what ended by itself, and at memory.
const LOOK: Duration = Duration::from_millis(100);
/// A client service that has just started has yet to be asked for its watches.
const SETTLED_MEMORY: Duration = Duration::from_secs(5);
/// What 200 watchers, of which 20 never read, may cost a client service.
const MEMORY_LIMIT: u64 = 64 << 20;
/// What a short run has to reach, to prove anything.
const LEAST_ACKNOWLEDGED: usize = 10_000;
const LEAST_STALE: usize = 50;

/// What tests/faults was asked for.
struct Settings {
    directory: PathBuf,
    short: bool,
    length: Duration,
    rounds: Option<usize>,
    seed: u64,
    only: Option<Fault>,
}

impl Settings {
    fn read() -> Self {
        let text = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let number = |name: &str| {
            text(name).map(|value| value.parse::<u64>().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
        };
        let only = text("PROOF_ONLY").map(|name| {
            let names = Fault::ALL.map(Fault::name).join(", ");
            Fault::named(&name).unwrap_or_else(|| panic!("there is no fault {name}; there are: {names}"))
        });
        Self {
            directory: text("PROOF_DIRECTORY").expect("tests/faults says where").into(),
            short: text("PROOF_SHORT").is_some(),
            length: number("PROOF_MINUTES").map_or(DEFAULT_RUN, Duration::from_mins),
            rounds: number("PROOF_ROUNDS").map(|rounds| usize::try_from(rounds).expect("not so many")),
            seed: number("PROOF_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32)),
            only,
        }
    }

    /// The faults of the next round; None: it is over.
    fn next(
        &self,
        done: usize,
        since: Instant,
        once: &mut Vec<Vec<Fault>>,
        chance: &mut fastrand::Rng,
    ) -> Option<Vec<Fault>> {
        if let Some(only) = self.only {
            let faults = nemesis::with_bite(only, chance);
            return (done < self.rounds.unwrap_or(1)).then_some(faults);
        }
        let goes_on = match self.rounds {
            Some(rounds) => done < rounds,
            None if self.short => !once.is_empty(),
            None => !once.is_empty() || since.elapsed() < self.length,
        };
        goes_on.then(|| once.pop().unwrap_or_else(|| nemesis::any(chance)))
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "tests/faults runs it, in namespaces of its own"]
async fn a_cluster_under_faults_keeps_its_word() {
    let settings = Settings::read();
    println!("seed {}; everything is written to {}", settings.seed, settings.directory.display());
    let cluster = Arc::new(Cluster::start(&settings.directory).await);
    let evidence = Directory::new(&settings.directory);
    let most_grown = Arc::default();
    let keeper = tokio::spawn(keep(Arc::clone(&cluster), Arc::clone(&most_grown)));
    let scans = tokio::spawn({
        let (cluster, evidence) = (Arc::clone(&cluster), evidence.clone());
        async move { sights::scan(&cluster, &evidence).await }
    });
    let rounds = under_load(&settings, &cluster).await;
    sights::read_tree(&cluster, &evidence).await;
    let plan = Plan {
        seed: settings.seed,
        began_epoch_ns: cluster.clock.began_epoch_ns,
        chroot: CHROOT.into(),
        session_timeout_ms: millis(SESSION_TIMEOUT),
        reconnect_grace_ms: millis(Duration::from_secs(2)),
        closed: cluster.clock.now(),
        rounds,
    };
    plan.write(&evidence.plan()).expect("a file of ours");
    scans.abort();
    assert!(!keeper.is_finished(), "it found something that must not be: see above");
    keeper.abort();
    println!("most that a client service grew by: {} KiB", most_grown.load(Ordering::Relaxed) / 1024);
    cluster.ensemble.keep_transaction_logs(&evidence);
    verdict(&settings, &evidence);
}

#[test]
#[ignore = "tests/faults runs it"]
fn what_was_kept_is_judged_again() {
    let directory = Directory::new(env::var("PROOF_DIRECTORY").expect("tests/faults says where"));
    let report = checker::check(&directory).expect("the evidence can be read");
    println!("{report}");
    assert!(report.passes());
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).expect("a short time")
}

/// Starts again whatever ended by itself, as an operator's supervisor does; and looks that the memory of the client
/// services does not grow with watchers that do not read.
async fn keep(cluster: Arc<Cluster>, most: Arc<AtomicU64>) {
    let mut memories: Vec<Option<Memory>> = vec![None; cluster.clients.len()];
    loop {
        for process in cluster.all() {
            if process.revive() {
                println!("    {} had ended, and is started again", process.name);
            }
        }
        for (client, memory) in cluster.clients.iter().zip(&mut memories) {
            let (Some(pid), Some(bytes)) = (client.pid(), client.resident_bytes()) else { continue };
            let memory = match memory {
                Some(memory) if memory.of == pid => memory,
                _ => memory.insert(Memory { of: pid, since: Instant::now(), settled: bytes }),
            };
            if memory.since.elapsed() < SETTLED_MEMORY {
                memory.settled = bytes;
            }
            let grown = bytes.saturating_sub(memory.settled);
            most.fetch_max(grown, Ordering::Relaxed);
            assert!(grown <= MEMORY_LIMIT, "{} has grown by {grown} bytes", client.name);
        }
        sleep(LOOK).await;
    }
}

/// What one life of a client service took when it had settled.
#[derive(Clone, Copy)]
struct Memory {
    of: Pid,
    since: Instant,
    settled: u64,
}

/// The clients' time: from the first call to the last task's end.
async fn under_load(settings: &Settings, cluster: &Arc<Cluster>) -> Vec<Round> {
    let workload = Arc::new(Workload::new(cluster, &settings.directory));
    let recent = Arc::default();
    let load = tokio::spawn(run_load(Arc::clone(&workload), Arc::clone(&recent), CALLS_PER_SECOND, settings.seed));
    let watchers = watchers::start(cluster, &settings.directory, &recent);
    sleep(WARM_UP).await;
    let mut chance = fastrand::Rng::with_seed(settings.seed);
    let (mut once, since, mut rounds) = (nemesis::everything_once(&mut chance), Instant::now(), Vec::new());
    while let Some(faults) = settings.next(rounds.len(), since, &mut once, &mut chance) {
        let before = workload.tally();
        let round = one_round(rounds.len() + 1, &faults, cluster, &workload, &mut chance).await;
        tell(&round, before, workload.tally());
        rounds.push(round);
    }
    sleep(LAST_CALM.saturating_sub(CALM)).await;
    load.abort();
    workload.calls_have_ended().await;
    workload.everything_has_ended(END_LIMIT).await;
    watchers.close();
    // The watchers are told of the last ends.
    sleep(CALM).await;
    drop(watchers);
    rounds
}

async fn one_round(
    number: usize,
    faults: &[Fault],
    cluster: &Cluster,
    workload: &Workload,
    chance: &mut fastrand::Rng,
) -> Round {
    let name = faults.iter().map(|fault| fault.name()).collect::<Vec<_>>().join(" + ");
    let mut round = Round {
        name: format!("{number} {name}"),
        from: cluster.clock.now(),
        until: cluster.clock.now(),
        faults: Vec::new(),
        outages: Vec::new(),
    };
    let mut running = FuturesUnordered::new();
    for (place, &fault) in faults.iter().enumerate() {
        let wait = Duration::from_millis(if place == 0 { 0 } else { chance.u64(..MOST_OVERLAP_MS) });
        let scene = Scene { cluster, workload, chance: RefCell::new(chance.fork()) };
        running.push(async move {
            sleep(wait).await;
            inflict(fault, scene).await
        });
    }
    while let Some(done) = running.next().await {
        round.faults.extend(done.faults);
        round.outages.extend(done.outages);
    }
    sleep(CALM).await;
    cluster.is_ready().await;
    round.until = cluster.clock.now();
    round
}

/// A line for each round, as it ends.
fn tell(round: &Round, before: Tally, after: Tally) {
    let targets: Vec<_> = round.faults.iter().map(|fault| fault.target.as_str()).collect();
    println!(
        "{} [{}], {} to {}: ok {}, refused {}, unknown {} ({} told when to try again); acknowledged so far {}",
        round.name,
        targets.join("; "),
        round.from,
        round.until,
        after.ok - before.ok,
        after.refused - before.refused,
        after.unknown - before.unknown,
        after.told_to_retry - before.told_to_retry,
        after.acknowledged,
    );
}

fn verdict(settings: &Settings, evidence: &Directory) {
    let report = checker::check(evidence).expect("the evidence can be read");
    println!("{report}");
    let again = format!("run again by: tests/faults --seed {}", settings.seed);
    assert!(report.passes(), "{again}");
    if settings.short {
        let (counts, stale) = (&report.counts, report.counts.stale_attempts + report.counts.stale_leader_writes);
        assert!(counts.acknowledged >= LEAST_ACKNOWLEDGED, "only {} tasks acknowledged", counts.acknowledged);
        assert!(stale >= LEAST_STALE, "only {stale} stale attempts and leaders' writes provoked");
    }
}
