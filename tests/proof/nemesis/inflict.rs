//! How each fault is done, held and undone. What is returned is what really happened; a fault that could not be done is a
//! panic, because a round without its fault would prove nothing.

use std::{cell::RefCell, ops::Range, time::Duration};

use tokio::time::sleep;

use super::Fault;
use crate::{
    proof::{
        cluster::{
            Cluster, SESSION_TIMEOUT, hosts,
            network::{Cut, Host, Way},
            process::Process,
        },
        evidence::{self, Outage, RunningTask},
        workload::Workload,
    },
    support::eventually,
};

/// Longer than a session: whoever is cut off or stands still for so long is given up.
const LONG: Duration = SESSION_TIMEOUT.saturating_mul(2);
/// Longer than a silent link is believed in (3 s) and its worker is waited for (2 s): its attempts go elsewhere.
const VERY_LONG: Duration = Duration::from_secs(7);
/// As the whole ensemble is down.
const OUTAGE: Duration = Duration::from_secs(5);
/// What one sync takes on a slow disk: a good part of what a session can bear.
const SYNC_DELAYS_MS: Range<u64> = 100..1_000;
/// By then whoever lost its session has another, if there is a quorum.
const SESSIONS_LIMIT: Duration = Duration::from_secs(30);
const AN_HOUR: i64 = 3_600;

/// What a fault is done with.
pub struct Scene<'a> {
    pub cluster: &'a Cluster,
    pub workload: &'a Workload,
    pub chance: RefCell<fastrand::Rng>,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Done {
    pub faults: Vec<evidence::Fault>,
    pub outages: Vec<Outage>,
}

/// Does it, holds it, undoes it.
pub async fn inflict(fault: Fault, scene: Scene<'_>) -> Done {
    let from = scene.cluster.clock.now();
    let (target, outages) = scene.inflict(fault).await;
    let until = scene.cluster.clock.now();
    let fault = evidence::Fault { kind: fault.name().into(), target, from, until };
    Done { faults: vec![fault], outages }
}

impl Scene<'_> {
    async fn inflict(&self, fault: Fault) -> (String, Vec<Outage>) {
        let mut outages = Vec::new();
        let cluster = self.cluster;
        let target = match fault {
            Fault::KillLeader => self.kill(&cluster.masters[cluster.leader().await]).await,
            Fault::KillStandby => self.kill(&cluster.masters[self.standby().await]).await,
            Fault::KillWorker => self.kill(self.one(&cluster.workers)).await,
            Fault::KillClient => self.kill(self.one(&cluster.clients)).await,
            Fault::PauseLeader => self.pause(&cluster.masters[cluster.leader().await], LONG).await,
            Fault::PauseWorker => self.pause(self.one(&cluster.workers), VERY_LONG).await,
            Fault::PauseClient => self.pause(self.one(&cluster.clients), LONG).await,
            Fault::Poison => self.workload.poison().await,
            Fault::KillZooKeeperFollower => self.kill(self.follower()).await,
            Fault::KillZooKeeperLeader => self.kill(self.zookeeper_leader()).await,
            Fault::PauseZooKeeperLeader => self.pause(self.zookeeper_leader(), LONG).await,
            Fault::StopEnsemble => {
                outages.push(self.stop_ensemble().await);
                "ensemble".into()
            }
            Fault::SlowSync => self.slow_sync().await,
            Fault::FillDisk => self.fill_disk().await,
            Fault::CutLeaderZooKeeper | Fault::CutLeaderZooKeeperOneWay => {
                let leader = &cluster.masters[cluster.leader().await];
                let way = self.way(fault == Fault::CutLeaderZooKeeperOneWay);
                self.cut(&[&leader.host], &cluster.ensemble_hosts(), way, &format!("{} - ensemble", leader.name)).await
            }
            Fault::CutWorkerLeader | Fault::CutWorkerLeaderOneWay | Fault::HalfOpenWorkerLeader => {
                let worker = self.one(&cluster.workers);
                let way = if fault == Fault::HalfOpenWorkerLeader {
                    Way::HalfOpen
                } else {
                    self.way(fault == Fault::CutWorkerLeaderOneWay)
                };
                self.cut_from_masters(worker, way).await
            }
            Fault::CutClientLeader | Fault::CutClientLeaderOneWay | Fault::HalfOpenClientLeader => {
                let client = self.one(&cluster.clients);
                let way = if fault == Fault::HalfOpenClientLeader {
                    Way::HalfOpen
                } else {
                    self.way(fault == Fault::CutClientLeaderOneWay)
                };
                self.cut_from_masters(client, way).await
            }
            Fault::CutMasters => self.cut_masters().await,
            Fault::ResetLinks => self.reset(&hosts(&cluster.masters)).await,
            Fault::ResetZooKeeper => self.reset(&cluster.ensemble_hosts()).await,
            Fault::ExpireLeader => self.expire(&[&cluster.masters[cluster.leader().await]]).await,
            Fault::ExpireWorkers => self.expire(&cluster.workers.iter().collect::<Vec<_>>()).await,
            Fault::ExpireClients => self.expire(&cluster.clients.iter().collect::<Vec<_>>()).await,
            Fault::JumpClocks => self.jump_clocks().await,
            Fault::RestartAll => self.restart_all().await,
        };
        (target, outages)
    }

    fn number(&self, range: Range<u64>) -> u64 {
        self.chance.borrow_mut().u64(range)
    }

    fn place(&self, range: Range<usize>) -> usize {
        self.chance.borrow_mut().usize(range)
    }

    fn one<'a>(&self, processes: &'a [Process]) -> &'a Process {
        &processes[self.place(0..processes.len())]
    }

    fn way(&self, one_way: bool) -> Way {
        match self.number(0..2) {
            _ if !one_way => Way::Both,
            0 => Way::Forth,
            _ => Way::Back,
        }
    }

    async fn standby(&self) -> usize {
        let masters = self.cluster.masters.len();
        (self.cluster.leader().await + self.place(1..masters)) % masters
    }

    fn zookeeper_leader(&self) -> &Process {
        let ensemble = &self.cluster.ensemble;
        &ensemble.servers[ensemble.leader().expect("an ensemble that is whole has a leader")]
    }

    fn follower(&self) -> &Process {
        let ensemble = &self.cluster.ensemble;
        let leader = ensemble.leader().expect("an ensemble that is whole has a leader");
        let servers = ensemble.servers.len();
        &ensemble.servers[(leader + self.place(1..servers)) % servers]
    }

    /// kill -9; it is started again after a moment, which is sometimes none.
    async fn kill(&self, process: &Process) -> String {
        process.kill();
        sleep(Duration::from_millis(self.number(0..3_000))).await;
        process.start();
        process.name.clone()
    }

    async fn pause(&self, process: &Process, hold: Duration) -> String {
        process.pause();
        sleep(hold).await;
        process.go_on();
        process.name.clone()
    }

    async fn cut(&self, first: &[&Host], second: &[&Host], way: Way, what: &str) -> String {
        let cut = Cut::between(first, second, way);
        sleep(VERY_LONG).await;
        drop(cut);
        format!("{what}, {way:?}")
    }

    /// From all of them: whoever leads meanwhile is not reached either.
    async fn cut_from_masters(&self, process: &Process, way: Way) -> String {
        let masters = hosts(&self.cluster.masters);
        self.cut(&[&process.host], &masters, way, &format!("{} - masters", process.name)).await
    }

    async fn cut_masters(&self) -> String {
        let masters = hosts(&self.cluster.masters);
        let cuts: Vec<_> =
            (1..masters.len()).map(|at| Cut::between(&masters[..at], &masters[at..=at], Way::HalfOpen)).collect();
        sleep(LONG).await;
        drop(cuts);
        "masters - masters".into()
    }

    /// Three times, so that what reconnects is met again.
    async fn reset(&self, hosts: &[&Host]) -> String {
        let mut reset = 0;
        for _ in 0..3 {
            for role in self.cluster.roles() {
                reset += hosts
                    .iter()
                    .filter(|host| host.address != role.host.address)
                    .map(|host| role.host.reset(host))
                    .sum::<usize>();
            }
            sleep(SESSION_TIMEOUT / 2).await;
        }
        assert!(reset > 0, "a cluster has connections");
        format!("{reset} connections")
    }

    /// Another fault of the round may have cost them their sessions: then those they come back with.
    async fn expire(&self, processes: &[&Process]) -> String {
        let expired = eventually("there is a session to expire", SESSIONS_LIMIT, async || {
            let expired: usize = processes.iter().map(|process| self.cluster.expire(process)).sum();
            (expired > 0).then_some(expired)
        })
        .await;
        let names: Vec<_> = processes.iter().map(|process| process.name.as_str()).collect();
        format!("{}: {expired} sessions", names.join(", "))
    }

    async fn stop_ensemble(&self) -> Outage {
        let long = self.workload.submit_long().await;
        let servers = &self.cluster.ensemble.servers;
        let from = self.cluster.clock.now();
        servers.iter().for_each(Process::kill);
        sleep(OUTAGE).await;
        servers.iter().for_each(Process::start);
        self.cluster.ensemble.serves().await;
        let running = long.into_iter().map(|task| RunningTask { task, attempt: 1 }).collect();
        Outage { from, until: self.cluster.clock.now(), running }
    }

    async fn slow_sync(&self) -> String {
        let delay = Duration::from_millis(self.number(SYNC_DELAYS_MS));
        for (delay, hold) in [(delay, LONG), (Duration::ZERO, Duration::ZERO)] {
            for server in &self.cluster.ensemble.servers {
                server.delay_syncs(delay);
            }
            sleep(hold).await;
        }
        format!("ensemble, {delay:?} a sync")
    }

    async fn fill_disk(&self) -> String {
        let server = self.cluster.ensemble.fill_disk().await;
        sleep(LONG).await;
        self.cluster.ensemble.empty_disk();
        server.name.clone()
    }

    /// Everybody's but ZooKeeper's, each in a direction of its own, forth and back.
    async fn jump_clocks(&self) -> String {
        for role in self.cluster.roles() {
            role.set_clock_ahead(if self.number(0..2) == 1 { AN_HOUR } else { -AN_HOUR });
        }
        sleep(LONG).await;
        for role in self.cluster.roles() {
            role.set_clock_ahead(0);
        }
        "all roles".into()
    }

    /// One after the other, as an upgrade does it: ZooKeeper first, then our own.
    async fn restart_all(&self) -> String {
        for process in self.cluster.all() {
            process.stop().await;
            process.start();
            self.cluster.is_ready().await;
        }
        "everything, one by one".into()
    }
}
