//! What breaks things: every kind of fault, what it touches, and how it is done and undone.

mod inflict;

use std::fmt;

pub use inflict::{Scene, inflict};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    KillLeader,
    KillStandby,
    KillWorker,
    KillClient,
    PauseLeader,
    PauseWorker,
    PauseClient,
    Poison,
    KillZooKeeperFollower,
    KillZooKeeperLeader,
    PauseZooKeeperLeader,
    StopEnsemble,
    SlowSync,
    FillDisk,
    CutLeaderZooKeeper,
    CutLeaderZooKeeperOneWay,
    CutWorkerLeader,
    CutWorkerLeaderOneWay,
    HalfOpenWorkerLeader,
    CutClientLeader,
    CutClientLeaderOneWay,
    HalfOpenClientLeader,
    CutMasters,
    ResetLinks,
    ResetZooKeeper,
    ExpireLeader,
    ExpireWorkers,
    ExpireClients,
    JumpClocks,
    RestartAll,
}

/// What a fault breaks. Two at once must break different things, so that each is still what it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    Masters,
    Workers,
    Clients,
    ZooKeeper,
    Connections,
    Clocks,
    /// Nothing else can go on beside it.
    Everything,
}

impl Fault {
    pub const ALL: [Self; 30] = [
        Self::KillLeader,
        Self::KillStandby,
        Self::KillWorker,
        Self::KillClient,
        Self::PauseLeader,
        Self::PauseWorker,
        Self::PauseClient,
        Self::Poison,
        Self::KillZooKeeperFollower,
        Self::KillZooKeeperLeader,
        Self::PauseZooKeeperLeader,
        Self::StopEnsemble,
        Self::SlowSync,
        Self::FillDisk,
        Self::CutLeaderZooKeeper,
        Self::CutLeaderZooKeeperOneWay,
        Self::CutWorkerLeader,
        Self::CutWorkerLeaderOneWay,
        Self::HalfOpenWorkerLeader,
        Self::CutClientLeader,
        Self::CutClientLeaderOneWay,
        Self::HalfOpenClientLeader,
        Self::CutMasters,
        Self::ResetLinks,
        Self::ResetZooKeeper,
        Self::ExpireLeader,
        Self::ExpireWorkers,
        Self::ExpireClients,
        Self::JumpClocks,
        Self::RestartAll,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::KillLeader => "kill-leader",
            Self::KillStandby => "kill-standby",
            Self::KillWorker => "kill-worker",
            Self::KillClient => "kill-client",
            Self::PauseLeader => "pause-leader",
            Self::PauseWorker => "pause-worker",
            Self::PauseClient => "pause-client",
            Self::Poison => "poison",
            Self::KillZooKeeperFollower => "kill-zookeeper-follower",
            Self::KillZooKeeperLeader => "kill-zookeeper-leader",
            Self::PauseZooKeeperLeader => "pause-zookeeper-leader",
            Self::StopEnsemble => "stop-ensemble",
            Self::SlowSync => "slow-sync",
            Self::FillDisk => "fill-disk",
            Self::CutLeaderZooKeeper => "cut-leader-zookeeper",
            Self::CutLeaderZooKeeperOneWay => "cut-leader-zookeeper-one-way",
            Self::CutWorkerLeader => "cut-worker-leader",
            Self::CutWorkerLeaderOneWay => "cut-worker-leader-one-way",
            Self::HalfOpenWorkerLeader => "half-open-worker-leader",
            Self::CutClientLeader => "cut-client-leader",
            Self::CutClientLeaderOneWay => "cut-client-leader-one-way",
            Self::HalfOpenClientLeader => "half-open-client-leader",
            Self::CutMasters => "cut-masters",
            Self::ResetLinks => "reset-links",
            Self::ResetZooKeeper => "reset-zookeeper",
            Self::ExpireLeader => "expire-leader",
            Self::ExpireWorkers => "expire-workers",
            Self::ExpireClients => "expire-clients",
            Self::JumpClocks => "jump-clocks",
            Self::RestartAll => "restart-all",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }

    pub fn area(self) -> Area {
        match self {
            Self::KillLeader
            | Self::KillStandby
            | Self::PauseLeader
            | Self::CutMasters
            | Self::CutLeaderZooKeeper
            | Self::CutLeaderZooKeeperOneWay
            | Self::ExpireLeader => Area::Masters,
            Self::KillWorker
            | Self::PauseWorker
            | Self::Poison
            | Self::CutWorkerLeader
            | Self::CutWorkerLeaderOneWay
            | Self::HalfOpenWorkerLeader
            | Self::ExpireWorkers => Area::Workers,
            Self::KillClient
            | Self::PauseClient
            | Self::CutClientLeader
            | Self::CutClientLeaderOneWay
            | Self::HalfOpenClientLeader
            | Self::ExpireClients => Area::Clients,
            Self::KillZooKeeperFollower
            | Self::KillZooKeeperLeader
            | Self::PauseZooKeeperLeader
            | Self::SlowSync
            | Self::FillDisk => Area::ZooKeeper,
            Self::ResetLinks | Self::ResetZooKeeper => Area::Connections,
            Self::JumpClocks => Area::Clocks,
            Self::StopEnsemble | Self::RestartAll => Area::Everything,
        }
    }

    /// Whether it cannot but show: in an attempt run elsewhere, or a request with no answer. The others a good cluster may
    /// sit out, a leader's death included, so that each of them comes together with one that bites.
    fn bites(self) -> bool {
        matches!(
            self,
            Self::KillWorker
                | Self::KillClient
                | Self::PauseWorker
                | Self::PauseClient
                | Self::Poison
                | Self::StopEnsemble
                | Self::CutWorkerLeader
                | Self::CutWorkerLeaderOneWay
                | Self::HalfOpenWorkerLeader
                | Self::CutClientLeader
                | Self::CutClientLeaderOneWay
                | Self::HalfOpenClientLeader
                | Self::RestartAll
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Every kind once, two or three at a time where they break different things, in an order that the seed chooses.
pub fn everything_once(chance: &mut fastrand::Rng) -> Vec<Vec<Fault>> {
    let (mut biting, mut mild): (Vec<_>, Vec<_>) = Fault::ALL.into_iter().partition(|fault| fault.bites());
    chance.shuffle(&mut biting);
    chance.shuffle(&mut mild);
    let mut rounds: Vec<_> = biting.into_iter().map(|fault| vec![fault]).collect();
    for fault in mild {
        let fits = |round: &&mut Vec<Fault>| round.iter().all(|other| go_together(fault, *other));
        let round = rounds.iter_mut().filter(fits).min_by_key(|round| round.len());
        round.expect("there are more that bite than break the same thing").push(fault);
    }
    chance.shuffle(&mut rounds);
    rounds
}

/// One fault that bites, alone or with another.
pub fn any(chance: &mut fastrand::Rng) -> Vec<Fault> {
    let first = Fault::ALL[chance.usize(..Fault::ALL.len())];
    if first.bites() && chance.bool() { vec![first] } else { with_bite(first, chance) }
}

/// The fault, and one that bites beside it.
pub fn with_bite(fault: Fault, chance: &mut fastrand::Rng) -> Vec<Fault> {
    let bite = |partner: &Fault| partner.bites() && go_together(fault, *partner);
    let partners: Vec<_> = Fault::ALL.into_iter().filter(bite).collect();
    std::iter::once(fault).chain(chance.choice(partners)).collect()
}

fn go_together(first: Fault, second: Fault) -> bool {
    let (one, other) = (first.area(), second.area());
    one != other && ![one, other].contains(&Area::Everything)
}
