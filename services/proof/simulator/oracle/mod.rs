//! What must hold, whatever goes wrong. The oracle sees every write that reaches the tree, every run of a handler, every
//! call of a user and all that watchers are told; it believes none of them, and writes down what contradicts what.

mod calls;
mod facts;
mod reigns;
mod tasks;
mod watches;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub use tasks::result_of;

use super::network::Host;
use crate::{
    domain::{Incarnation, TaskId},
    proof::tree::{Node, Operation, Refused, Session},
    store::zookeeper::proof::{Expect, paths},
};
use facts::Fact;
use reigns::Reigns;
use tasks::Record;
use watches::Streams;

/// How often the simulations met what they are there for. What none of them meets is not tested.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sights {
    /// Commits of a leader that had lost its place.
    pub stale_commits_refused: u64,
    /// Commits behind one that was refused or lost.
    pub chained_commits_refused: u64,
    /// Writes whose process never learnt what became of them.
    pub unknown_outcomes: u64,
    /// Attempts that went back to be run elsewhere.
    pub reassignments: u64,
    pub takeovers: u64,
    pub depositions: u64,
    pub expired_sessions: u64,
    pub worker_deaths: u64,
    /// Reports that came twice, in a hello or by another link.
    pub conflations: u64,
    pub cancels: u64,
    pub poisoned: u64,
    pub retries: u64,
    pub timeouts: u64,
    /// Runs whose outcome was not wanted any more.
    pub runs_in_vain: u64,
}

impl Sights {
    pub fn add(&mut self, other: &Self) {
        let mut other = *other;
        for ((_, sum), (_, more)) in self.by_name().into_iter().zip(other.by_name()) {
            *sum += *more;
        }
    }

    /// Each by its name.
    pub fn by_name(&mut self) -> [(&'static str, &mut u64); 14] {
        [
            ("stale commits refused", &mut self.stale_commits_refused),
            ("chained commits refused", &mut self.chained_commits_refused),
            ("unknown outcomes", &mut self.unknown_outcomes),
            ("reassignments", &mut self.reassignments),
            ("takeovers", &mut self.takeovers),
            ("depositions", &mut self.depositions),
            ("expired sessions", &mut self.expired_sessions),
            ("worker deaths", &mut self.worker_deaths),
            ("conflations", &mut self.conflations),
            ("cancels", &mut self.cancels),
            ("poisoned", &mut self.poisoned),
            ("retries", &mut self.retries),
            ("timeouts", &mut self.timeouts),
            ("runs in vain", &mut self.runs_in_vain),
        ]
    }
}

/// A write that reached the tree, and what its operations found there before it.
pub struct Written<'a> {
    pub session: Session,
    pub host: Host,
    pub operations: &'a [Operation],
    pub before: &'a [Option<Node>],
    pub result: &'a Result<(), Refused>,
}

#[derive(Default)]
pub struct Oracle {
    pub sights: Sights,
    /// Since the start of the simulation; the simulation sets it before it says anything.
    pub now: Duration,
    violations: Vec<String>,
    tasks: BTreeMap<TaskId, Record>,
    reigns: Reigns,
    streams: Streams,
    /// Until when each worker's links, and its way to the store, were disturbed by a fault.
    disturbed: BTreeMap<Host, Duration>,
    blinded: BTreeMap<Host, Duration>,
    /// Until when a master stood still.
    stood_still: Duration,
    alive: BTreeSet<Incarnation>,
}

impl Oracle {
    /// Something that must not be.
    pub fn violation(&mut self, what: impl Into<String>) {
        self.violations.push(format!("at {:.4}: {}", self.now.as_secs_f64(), what.into()));
    }

    pub fn finish(self) -> (Vec<String>, Sights) {
        (self.violations, self.sights)
    }

    /// A write reached the tree.
    pub fn written(&mut self, written: &Written<'_>) {
        let of_a_leader = written
            .operations
            .iter()
            .any(|operation| !matches!(operation, Operation::Check { .. }) && is_of_leaders(operation.path()));
        if let Err(refused) = written.result {
            if of_a_leader {
                self.refused(written, refused);
            }
            return;
        }
        if of_a_leader {
            self.fenced(written);
        }
        for (operation, before) in written.operations.iter().zip(written.before) {
            self.reigned(written, operation, before.as_ref());
        }
        match facts::facts(written) {
            Ok(facts) => facts.into_iter().for_each(|fact| self.learn(fact)),
            Err(problem) => self.violation(problem),
        }
    }

    fn learn(&mut self, fact: Fact) {
        match fact {
            Fact::Submitted(submission) => self.submitted(submission),
            Fact::Assigned(assignment) => self.assigned(assignment),
            Fact::Status(id, status) => self.status_written(&id, &status),
            Fact::Voided(assignment) => self.voided(&assignment),
            Fact::Removed(id) => self.violation(format!("I1: {id} was removed")),
        }
    }

    /// A leader's write is refused because it leads no more, or because one before it was. Nothing else can be wrong:
    /// nobody else writes there.
    fn refused(&mut self, written: &Written<'_>, refused: &Refused) {
        if refused.path.starts_with(paths::ELECTION) {
            self.sights.stale_commits_refused += 1;
        } else if refused.path == paths::TASKS {
            self.sights.chained_commits_refused += 1;
        } else if refused.path != paths::MASTER && !refused.path.is_empty() {
            let (host, path, error) = (written.host, &refused.path, &refused.error);
            self.violation(format!(
                "{host} did not know what is in the tree: its write was refused at {path}: {error}"
            ));
        }
    }

    /// I5: every write of a leader begins with a check of its own place in the line, and follows on the one before.
    fn fenced(&mut self, written: &Written<'_>) {
        let own = |node: &Option<Node>| node.as_ref().is_some_and(|node| node.owner == Some(written.session));
        let checked =
            matches!(&written.operations[0], Operation::Check { path, .. } if path.starts_with(paths::ELECTION));
        if !checked || !own(&written.before[0]) {
            self.violation(format!("I5: {} wrote without a check of its own place", written.host));
        }
        let chained = |operation: &Operation| matches!(operation, Operation::Set { path, expect: Expect::Version(_), .. } if path == paths::TASKS);
        if !written.operations.iter().any(chained) {
            self.violation(format!("I5: {} wrote without following on the write before", written.host));
        }
    }

    pub fn session_ended(&mut self, how: &str) {
        self.sights.expired_sessions += u64::from(how == "expired");
    }

    pub fn worker_lives(&mut self, incarnation: Incarnation) {
        self.alive.insert(incarnation);
    }

    pub fn worker_died(&mut self, incarnation: Incarnation) {
        self.sights.worker_deaths += 1;
        self.alive.remove(&incarnation);
    }

    /// A fault disturbs a worker's links, or its process, until then.
    pub fn disturbs(&mut self, worker: Host, until: Duration) {
        let known = self.disturbed.entry(worker).or_default();
        *known = (*known).max(until);
    }

    /// A fault keeps a worker from the store until then: it cannot find another leader.
    pub fn blinds(&mut self, worker: Host, until: Duration) {
        let known = self.blinded.entry(worker).or_default();
        *known = (*known).max(until);
    }

    pub fn stands_still(&mut self, until: Duration) {
        self.stood_still = self.stood_still.max(until);
    }
}

/// Nodes that only a leader may write.
fn is_of_leaders(path: &str) -> bool {
    [paths::TASKS, paths::ASSIGN, paths::QUEUES, paths::DRAINS].iter().any(|top| path.starts_with(top))
}
