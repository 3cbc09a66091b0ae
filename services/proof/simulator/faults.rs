//! What goes wrong, and for how long. All of it ends when everything is made well again.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::sleep};

use super::{
    Sim,
    cluster::{CLIENTS, Cluster, WORKERS},
    ensemble::ENSEMBLE,
    network::{Break, Host},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    MasterStandsStill,
    MasterDies,
    MasterStops,
    MasterLosesStore,
    MasterIsCutOff,
    SlowWrites,
    LeadsOn,
    StoreDown,
    SessionExpires,
    MastersApart,
    WorkerStandsStill,
    WorkerDies,
    WorkerStops,
    WorkerLinkBreaks,
    WorkerLinkFallsSilent,
    WorkerLosesStore,
    ClientLinkBreaks,
    ClientLinkFallsSilent,
    ClockJumps,
}

const FAULTS: [Fault; 19] = [
    Fault::MasterStandsStill,
    Fault::MasterDies,
    Fault::MasterStops,
    Fault::MasterLosesStore,
    Fault::MasterIsCutOff,
    Fault::SlowWrites,
    Fault::LeadsOn,
    Fault::StoreDown,
    Fault::SessionExpires,
    Fault::MastersApart,
    Fault::WorkerStandsStill,
    Fault::WorkerDies,
    Fault::WorkerStops,
    Fault::WorkerLinkBreaks,
    Fault::WorkerLinkFallsSilent,
    Fault::WorkerLosesStore,
    Fault::ClientLinkBreaks,
    Fault::ClientLinkFallsSilent,
    Fault::ClockJumps,
];

const HOUR_MS: i64 = 3_600_000;

/// Lets things go wrong between `from` and `until`, until it is dropped.
pub async fn go_wrong(cluster: Arc<Cluster>, from: Duration, until: Duration) {
    let sim = cluster.sim.clone();
    let mut running = JoinSet::new();
    let (first, last) = (millis(from), millis(until));
    for _ in 0..sim.chance(|chance| chance.usize(3..10)) {
        let at = sim.millis(first..last);
        let fault = FAULTS[sim.chance(|chance| chance.usize(..FAULTS.len()))];
        let cluster = cluster.clone();
        running.spawn(async move {
            sleep(at).await;
            cluster.sim.note(format_args!("--- {fault:?}"));
            happen(&cluster, fault).await;
        });
    }
    while running.join_next().await.is_some() {}
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

async fn happen(cluster: &Arc<Cluster>, fault: Fault) {
    match fault {
        Fault::MasterStandsStill
        | Fault::MasterDies
        | Fault::MasterStops
        | Fault::MasterLosesStore
        | Fault::MasterIsCutOff
        | Fault::SlowWrites
        | Fault::SessionExpires
        | Fault::MastersApart => to_a_master(cluster, fault).await,
        Fault::WorkerStandsStill
        | Fault::WorkerDies
        | Fault::WorkerStops
        | Fault::WorkerLinkBreaks
        | Fault::WorkerLinkFallsSilent
        | Fault::WorkerLosesStore => to_a_worker(cluster, fault).await,
        Fault::StoreDown => {
            cluster.ensemble.go_down();
            sleep(cluster.sim.millis(500..5_000)).await;
            cluster.ensemble.come_up();
        }
        Fault::ClientLinkBreaks => {
            let (client, master) = (pick(&cluster.sim, &CLIENTS), a_master(cluster));
            let how = how_to_break(&cluster.sim, client, master);
            cluster.network.cut(client, master, how);
        }
        Fault::LeadsOn => {
            // A leader whose session is over knows it late, and a client service does not know its successor.
            let (client, master) = (pick(&cluster.sim, &CLIENTS), a_master(cluster));
            let time = cluster.sim.millis(1_000..4_000);
            cluster.ensemble.slow_down(master, time, time);
            cluster.network.hold(ENSEMBLE, client);
            cluster.ensemble.expire_leader();
            sleep(time).await;
            cluster.network.release(ENSEMBLE, client);
        }
        Fault::ClientLinkFallsSilent => {
            let (client, master) = (pick(&cluster.sim, &CLIENTS), a_master(cluster));
            fall_silent(cluster, client, master, cluster.sim.millis(500..6_000)).await;
        }
        Fault::ClockJumps => {
            let hosts: Vec<_> = cluster.masters.iter().chain(&WORKERS).copied().collect();
            let wrong = [-HOUR_MS, HOUR_MS][cluster.sim.chance(|chance| chance.usize(..2))];
            cluster.set_clock(pick(&cluster.sim, &hosts), wrong);
        }
    }
}

async fn to_a_master(cluster: &Arc<Cluster>, fault: Fault) {
    let (sim, master) = (&cluster.sim, a_master(cluster));
    let others = || cluster.masters.iter().copied().filter(move |other| *other != master);
    match fault {
        Fault::MasterStandsStill => {
            let time = sim.millis(1_000..9_000);
            let until = sim.now() + time;
            sim.oracle(|oracle| oracle.stands_still(until));
            cluster.pause(master);
            sleep(time).await;
            cluster.resume(master);
        }
        Fault::MasterDies => {
            cluster.kill(master, sim.one_in(3));
            sleep(sim.millis(200..4_000)).await;
            cluster.start(master);
        }
        Fault::MasterStops => {
            cluster.stop(master);
            sleep(sim.millis(2_500..5_000)).await;
            cluster.start(master);
        }
        Fault::MasterLosesStore => {
            // With some writes under way, mostly.
            let time = sim.millis(0..500);
            cluster.ensemble.slow_down(master, time, time);
            sleep(time).await;
            cluster.ensemble.cut(master);
        }
        Fault::MasterIsCutOff => fall_silent(cluster, master, ENSEMBLE, sim.millis(1_000..8_000)).await,
        Fault::SlowWrites => cluster.ensemble.slow_down(master, sim.millis(500..2_000), sim.millis(1_000..7_000)),
        Fault::SessionExpires => cluster.ensemble.expire_leader(),
        _ => {
            // Links between the masters come to be, and break again and again.
            for _ in 0..sim.chance(|chance| chance.usize(1..12)) {
                others().for_each(|other| cluster.network.cut(master, other, Break::Both));
                sleep(sim.millis(300..1_500)).await;
            }
        }
    }
}

async fn to_a_worker(cluster: &Arc<Cluster>, fault: Fault) {
    let (sim, worker, master) = (&cluster.sim, pick(&cluster.sim, &WORKERS), a_master(cluster));
    let disturbs = |time: Duration| {
        let until = sim.now() + time;
        sim.oracle(|oracle| oracle.disturbs(worker, until));
    };
    match fault {
        Fault::WorkerStandsStill => {
            let time = sim.millis(1_000..8_000);
            disturbs(time);
            cluster.pause(worker);
            sleep(time).await;
            cluster.resume(worker);
        }
        Fault::WorkerDies => {
            let time = sim.millis(200..4_000);
            disturbs(time);
            cluster.kill(worker, sim.one_in(3));
            sleep(time).await;
            cluster.start(worker);
        }
        Fault::WorkerStops => {
            let time = sim.millis(2_000..5_000);
            disturbs(time);
            cluster.stop(worker);
            sleep(time).await;
            cluster.start(worker);
        }
        Fault::WorkerLinkBreaks => {
            disturbs(Duration::ZERO);
            let how = how_to_break(sim, worker, master);
            cluster.network.cut(worker, master, how);
        }
        Fault::WorkerLinkFallsSilent => {
            let time = sim.millis(500..7_000);
            disturbs(time);
            fall_silent(cluster, worker, master, time).await;
        }
        _ => {
            let time = sim.millis(500..8_000);
            let until = sim.now() + time;
            sim.oracle(|oracle| oracle.blinds(worker, until));
            if sim.one_in(2) {
                cluster.ensemble.cut(worker);
            } else {
                fall_silent(cluster, worker, ENSEMBLE, time).await;
            }
        }
    }
}

/// In one direction, or in both.
async fn fall_silent(cluster: &Cluster, one: Host, other: Host, time: Duration) {
    let ways = match cluster.sim.chance(|chance| chance.u8(..3)) {
        0 => vec![(one, other)],
        1 => vec![(other, one)],
        _ => vec![(one, other), (other, one)],
    };
    cluster.sim.note(format_args!("nothing arrives on {ways:?}"));
    for (from, to) in &ways {
        cluster.network.hold(from, to);
    }
    sleep(time).await;
    for (from, to) in ways {
        cluster.network.release(from, to);
    }
}

fn how_to_break(sim: &Sim, one: Host, other: Host) -> Break {
    match sim.chance(|chance| chance.u8(..5)) {
        0 => Break::OnlyAt(one),
        1 => Break::OnlyAt(other),
        2 => Break::Nobody,
        _ => Break::Both,
    }
}

/// Mostly the leader: with the others less goes wrong.
fn a_master(cluster: &Cluster) -> Host {
    let any = pick(&cluster.sim, cluster.masters);
    if cluster.sim.one_in(4) { any } else { cluster.leader().unwrap_or(any) }
}

fn pick(sim: &Sim, hosts: &[Host]) -> Host {
    hosts[sim.chance(|chance| chance.usize(..hosts.len()))]
}
