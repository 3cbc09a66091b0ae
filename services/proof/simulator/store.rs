//! The store over the imagined ensemble. The rules of a commit are the real ones: the commit task, the fence and the
//! chain, what a change is in nodes, what a leader loads, what a takeover writes.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    ensemble::{Ensemble, SESSION_TIMEOUT},
    gate::Gate,
    leadership::{SimulatedLeadership, Stand},
    network::Host,
    session::Session,
};
use crate::{
    domain::{Incarnation, Member, Term, WorkerOffer},
    proof::tree::{Node, Request, Tree},
    store::{
        Candidate, Leader, Leadership, Members, Registration, Store, StoreError,
        zookeeper::proof::{Committer, CreateMode, Error, Expect, Operations, Orders, Version, announce, paths},
    },
};

/// How often a takeover or a registration meets somebody else's session that has just ended.
const ATTEMPTS: usize = 5;
/// Between attempts to follow the leader.
const FOLLOW_PAUSE: Duration = Duration::from_millis(250);

/// The store of one life of a process.
pub struct SimulatedStore {
    pub ensemble: Ensemble,
    pub host: Host,
    pub gate: Gate,
    /// Whether it leads with packing.
    packing: bool,
    /// Sessions of its ended candidacies, whose nodes it need not stand behind.
    ended: Arc<Mutex<BTreeSet<i64>>>,
}

impl SimulatedStore {
    pub fn new(ensemble: Ensemble, host: Host, gate: Gate, packing: bool) -> Self {
        Self { ensemble, host, gate, packing, ended: Arc::default() }
    }

    async fn open(&self) -> Result<Arc<Session>, StoreError> {
        self.ensemble.open(self.host, &self.gate).await.map_err(StoreError::Unreachable)
    }

    async fn stand(&self, session: &Arc<Session>, candidate: &Candidate) -> Result<Box<dyn Leadership>, StoreError> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let of_ours = |tree: &Tree| {
            let line = tree.children(paths::ELECTION);
            let ours = line.filter(|(_, node)| node.owner.is_some_and(|owner| ended.contains(&owner)));
            ours.map(|(name, _)| paths::child(paths::ELECTION, name)).collect::<Vec<_>>()
        };
        for path in session.read(of_ours).await.ok_or_else(over)? {
            let mut leave = Request::default();
            leave.delete(path, Expect::Present).map_err(|error| StoreError::Lost(error.to_string()))?;
            // Gone in between is gone.
            let _ = session.write(leave.0).await.ok_or_else(over)?;
        }
        let data = format!("{} {}", candidate.id, candidate.address).into_bytes();
        let prefix = format!("{}/_c_{}-{}", paths::ELECTION, candidate.id, paths::LATCH);
        let path = session.stand(prefix, data).await.ok_or_else(over)?.map_err(|refused| lost(&refused.error))?;
        let term = paths::term(&path).ok_or_else(|| StoreError::Broken(format!("{path} has no number")))?;
        let mut changes = self.ensemble.changes();
        loop {
            let place = path.clone();
            let first = move |tree: &Tree| {
                let (name, _) = tree.children(paths::ELECTION).min_by_key(|(name, _)| paths::term(name))?;
                tree.get(&place).map(|_| place.ends_with(name))
            };
            if session.read(first).await.ok_or_else(over)?.ok_or_else(over)? {
                break;
            }
            // The watch on whoever is before it.
            changes.changed().await.map_err(|_| over())?;
        }
        let version = take_over(session, &path, term, &candidate.address).await?;
        Ok(Box::new(self.begin(session, path, term, version).await?))
    }

    async fn begin(
        &self,
        session: &Arc<Session>,
        path: String,
        term: Term,
        version: Version,
    ) -> Result<SimulatedLeadership, StoreError> {
        let lost = CancellationToken::new();
        let members = self.members(session.clone(), lost.clone()).await.ok_or_else(over)?;
        for watched in [path.clone(), paths::MASTER.to_owned()] {
            tokio::spawn(self.gate.run(keep_vigil(session.clone(), watched, lost.clone())));
        }
        let (orders, inbox) = Orders::new(lost.clone());
        let place = Stand { path, session: session.clone() };
        tokio::spawn(self.gate.run(Committer::new(place, term, version, lost).packing(self.packing).run(inbox)));
        Ok(SimulatedLeadership { term, orders, reader: Some(session.clone()), members })
    }

    async fn members(&self, session: Arc<Session>, lost: CancellationToken) -> Option<watch::Receiver<Members>> {
        let mut changes = self.ensemble.changes();
        let (sender, receiver) = watch::channel(session.read(members_in).await?);
        tokio::spawn(self.gate.run(async move {
            loop {
                tokio::select! {
                    () = lost.cancelled() => return,
                    () = sender.closed() => return,
                    _ = changes.changed() => {}
                }
                let Some(members) = session.read(members_in).await else { return lost.cancel() };
                sender.send_if_modified(|current| std::mem::replace(current, members.clone()) != members);
            }
        }));
        Some(receiver)
    }
}

#[async_trait]
impl Store for SimulatedStore {
    async fn campaign(&self, candidate: &Candidate) -> Result<Box<dyn Leadership>, StoreError> {
        let session = self.open().await?;
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).insert(session.id);
        tokio::select! {
            () = session.lost() => Err(over()),
            stood = self.stand(&session, candidate) => stood,
        }
    }

    fn follow(&self) -> watch::Receiver<Option<Leader>> {
        let (sender, receiver) = watch::channel(None);
        let (ensemble, host, gate) = (self.ensemble.clone(), self.host, self.gate.clone());
        tokio::spawn(self.gate.run(async move {
            let follow = async {
                loop {
                    if let Ok(session) = ensemble.open(host, &gate).await {
                        follow_on(&session, &sender).await;
                    }
                    sleep(FOLLOW_PAUSE).await;
                }
            };
            tokio::select! {
                () = sender.closed() => {}
                () = follow => {}
            }
        }));
        receiver
    }

    async fn register(&self, offer: &WorkerOffer) -> Result<Box<dyn Registration>, StoreError> {
        let session = self.open().await?;
        let path = paths::worker(&offer.worker_id);
        for _ in 0..ATTEMPTS {
            let there = path.clone();
            let there = session.read(move |tree| tree.get(&there).is_some()).await.ok_or_else(over)?;
            let mut write = Request::default();
            if there {
                write.delete(path.clone(), Expect::Present).map_err(|error| lost(&error))?;
            }
            write.create(path.clone(), &offer.incarnation.0, CreateMode::Ephemeral).map_err(|error| lost(&error))?;
            if session.write(write.0).await.ok_or_else(over)?.is_ok() {
                let lost = CancellationToken::new();
                tokio::spawn(self.gate.run(keep_vigil(session.clone(), path, lost.clone())));
                return Ok(Box::new(SimulatedRegistration { _session: session, lost }));
            }
        }
        Err(over())
    }

    async fn depose(&self, suspect: &Leader, candidate: &Candidate) -> Result<bool, StoreError> {
        let session = self.open().await?;
        let line = |tree: &Tree| {
            let places = tree.children(paths::ELECTION);
            let mut line: Vec<_> =
                places.filter_map(|(name, node)| Some((paths::term(name)?, name.to_owned(), node.clone()))).collect();
            line.sort_unstable_by_key(|(term, ..)| *term);
            line
        };
        let line = session.read(line).await.ok_or_else(over)?;
        let [(term, leader, leads), (_, _, next), ..] = line.as_slice() else { return Ok(false) };
        let of = |node: &Node, text: &str| String::from_utf8_lossy(&node.data).contains(text);
        if *term != suspect.term || !of(leads, &suspect.address) || !of(next, &candidate.id.to_string()) {
            return Ok(false);
        }
        let mut write = Request::default();
        write.delete(paths::child(paths::ELECTION, leader), Expect::Present).map_err(|error| lost(&error))?;
        let next = next.owner.unwrap_or_default();
        self.ensemble.sim.oracle(|oracle| oracle.deposes(self.host, suspect.term, next));
        match session.write(write.0).await.ok_or_else(over)? {
            Ok(()) => {
                self.ensemble.sim.note(format_args!("{} deposed term {}", self.host, suspect.term));
                Ok(true)
            }
            Err(_) => Ok(false),
        }
    }

    fn session_timeout(&self) -> Duration {
        SESSION_TIMEOUT
    }
}

async fn take_over(session: &Session, place: &str, term: Term, address: &str) -> Result<Version, StoreError> {
    let master = format!("{address} {term}").into_bytes();
    for _ in 0..ATTEMPTS {
        let found = |tree: &Tree| {
            let version = |path| tree.get(path).map(|node| node.version);
            (version(paths::TASKS), version(paths::ROOT), tree.get(paths::MASTER).is_some())
        };
        let (Some(tasks), Some(root), known) = session.read(found).await.ok_or_else(over)? else { return Err(over()) };
        let expect = |version| Version::new(version).map_or(Expect::Present, Expect::Version);
        let mut write = Request::default();
        announce(&mut write, place, expect(root), (term, expect(tasks)), known, &master)
            .map_err(|error| lost(&error))?;
        match session.write(write.0).await.ok_or_else(over)? {
            Ok(()) => return Version::new(tasks.wrapping_add(1)).ok_or_else(over),
            Err(refused) if refused.path == paths::MASTER => {}
            Err(refused) => return Err(lost(&refused.error)),
        }
    }
    Err(over())
}

async fn follow_on(session: &Arc<Session>, leader: &watch::Sender<Option<Leader>>) {
    let mut changes = session.ensemble.changes();
    let master = |tree: &Tree| tree.get(paths::MASTER).and_then(leader_in);
    while let Some(found) = session.read(master).await {
        leader.send_if_modified(|current| std::mem::replace(current, found.clone()) != found);
        tokio::select! {
            () = session.lost() => return,
            _ = changes.changed() => {}
        }
    }
}

fn leader_in(node: &Node) -> Option<Leader> {
    let text = std::str::from_utf8(&node.data).ok()?;
    let (address, term) = text.split_once(' ')?;
    Some(Leader { address: address.to_owned(), term: Term(term.parse().ok()?) })
}

fn members_in(tree: &Tree) -> Members {
    let member = |(name, node): (&str, &Node)| {
        let worker_id: crate::domain::WorkerId = name.parse().ok()?;
        let incarnation = Incarnation(node.data.as_ref().try_into().ok()?);
        Some((worker_id.clone(), Member { worker_id, incarnation }))
    };
    tree.children(paths::WORKERS).filter_map(member).collect()
}

/// Cancels `lost` when the session's connection is, or when its node at `path` is gone or not as it was created.
async fn keep_vigil(session: Arc<Session>, path: String, lost: CancellationToken) {
    let mut changes = session.ensemble.changes();
    let tampered = async {
        let ours =
            |tree: &Tree| tree.get(&path).is_some_and(|node| node.owner == Some(session.id) && node.version == 0);
        while session.read(ours).await == Some(true) && changes.changed().await.is_ok() {}
    };
    tokio::select! {
        () = lost.cancelled() => return,
        () = session.lost() => {}
        () = tampered => {}
    }
    lost.cancel();
}

struct SimulatedRegistration {
    _session: Arc<Session>,
    lost: CancellationToken,
}

#[async_trait]
impl Registration for SimulatedRegistration {
    fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    async fn unregister(self: Box<Self>) {}
}

impl Drop for SimulatedRegistration {
    fn drop(&mut self) {
        self.lost.cancel();
    }
}

pub fn over() -> StoreError {
    StoreError::Lost("the session is over".into())
}

fn lost(error: &Error) -> StoreError {
    StoreError::Lost(error.to_string())
}
