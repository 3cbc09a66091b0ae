//! What an observer has seen who reads the tree after every write and hears everything that is told: what was broken, for
//! good, and what of interest has happened.

use std::collections::BTreeSet;

use super::{
    master::{Said, Shown, Write},
    names::{TASKS, task, task_number, worker},
};
use crate::{
    domain::{Assignment, AttemptId, Order, Outcome, Status, Term},
    proof::tree::{Node, Operation, Tree},
    store::zookeeper::proof::paths::{self, Place},
    wire,
};

/// What must never happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    OneIdOneTask,
    TerminalIsFinal,
    OneTerminal,
    AttemptsIncrease,
    OutcomeOfTheCurrentAttempt,
    DeposedWritesNothing,
    OneRunEach,
    NothingLeavesBeforeItsCommit,
    NoDeadAssignment,
    NoCommitWithoutTheOnesBefore,
    MemoryIsWhatIsDurable,
    AnswersAreOfTheirTime,
}

/// What has to be seen somewhere, or the model shows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    StaleWriteRefused,
    WriteBehindALostOneRefused,
    UnknownThatHappened,
    UnknownThatDidNot,
    Reassignment,
    SuccessAfterTakeover,
    StaleReport,
    SecondIncarnationRefused,
    TwoLeaders,
    CancelOfARun,
    SentAgain,
    AnswerToAQuestion,
    DeadAssignmentSwept,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct History {
    broken: u32,
    /// The payload under which a client was told that the task exists.
    pub acknowledged: [Option<u8>; TASKS],
    /// A client was told that it is cancelled.
    pub cancelled: [bool; TASKS],
    /// Highest attempt that was ever assigned.
    attempts: [u32; TASKS],
    ends: [u8; TASKS],
    runs: BTreeSet<(usize, u32)>,
}

impl History {
    pub fn is_broken(&self, rule: u32) -> bool {
        self.broken & (1 << rule) != 0
    }

    pub fn is_any_broken(&self) -> bool {
        self.broken != 0
    }

    pub fn demand(&mut self, rule: Rule, holds: bool) {
        self.broken |= u32::from(!holds) << rule as u32;
    }

    /// An attempt begins.
    pub fn began(&mut self, attempt: &AttemptId) {
        let first = self.runs.insert((task_number(&attempt.task_id), attempt.attempt));
        self.demand(Rule::OneRunEach, first);
    }

    /// A client is told this.
    pub fn said(&mut self, said: &Said, tree: &Tree) {
        match *said {
            Said::Exists { task: number, payload } => {
                let node = tree.get(&paths::task(&task(number)));
                self.demand(Rule::NothingLeavesBeforeItsCommit, node.is_some());
                let durable = node.map(|node| payload_of(number, node));
                let before = self.acknowledged[number].replace(payload);
                self.demand(Rule::OneIdOneTask, before.is_none_or(|before| before == payload));
                self.demand(Rule::OneIdOneTask, durable.is_none_or(|durable| durable == payload));
            }
            Said::Cancelled { task: number } => {
                let cancelled = status(tree, number).is_some_and(|status| status.outcome == Some(Outcome::Cancelled));
                self.demand(Rule::NothingLeavesBeforeItsCommit, cancelled);
                self.cancelled[number] = true;
            }
            Said::State { shown, durable, .. } => self.demand(Rule::AnswersAreOfTheirTime, shown >= durable),
            Said::Refused => {}
        }
    }

    /// A worker is told this.
    pub fn told(&mut self, number: usize, order: &Order, tree: &Tree) {
        let promised = |attempt: &AttemptId| {
            let node = tree.get(&paths::assignment(&worker(number), &attempt.task_id));
            node.map(|node| assignment(number, attempt, node))
                .filter(|found| found.attempt == attempt.attempt && found.fence == attempt.fence)
        };
        match order {
            Order::Assign { attempt, .. } => {
                self.demand(Rule::NothingLeavesBeforeItsCommit, promised(attempt).is_some());
            }
            Order::Acknowledge { attempt } => {
                self.demand(Rule::NothingLeavesBeforeItsCommit, promised(attempt).is_none());
            }
            Order::Cancel { .. } => {}
        }
    }

    /// A write has happened, of a leader of this term. Returns what of interest it was.
    pub fn wrote(&mut self, term: Term, write: &Write, before: &Tree, after: &Tree) -> Vec<Sight> {
        let mut sights = Vec::new();
        for operation in &write.operations {
            let Ok(place) = paths::place(operation.path()) else { continue };
            match (place, operation) {
                (Place::Status(id), Operation::Create { .. } | Operation::Set { .. }) => {
                    let number = task_number(&id);
                    let now = status(after, number).expect("was just written");
                    sights.extend(self.status_written(term, number, status(before, number).as_ref(), &now, before));
                }
                (Place::Assignment(to, id), Operation::Create { data, .. }) => {
                    let number = task_number(&id);
                    let assignment = wire::decode_assignment(&to, &id, data).expect("a leader wrote it");
                    self.demand(Rule::AttemptsIncrease, assignment.attempt > self.attempts[number]);
                    self.attempts[number] = assignment.attempt;
                    sights.extend((assignment.attempt > 1).then_some(Sight::Reassignment));
                }
                (Place::Assignment(_, id), Operation::Delete { .. }) if before.get(&paths::task(&id)).is_none() => {
                    sights.push(Sight::DeadAssignmentSwept);
                }
                _ => {}
            }
        }
        sights
    }

    fn status_written(
        &mut self,
        term: Term,
        number: usize,
        was: Option<&Status>,
        is: &Status,
        before: &Tree,
    ) -> Option<Sight> {
        let was_over = was.is_some_and(|was| was.outcome.is_some());
        self.demand(Rule::TerminalIsFinal, !was_over);
        let outcome = is.outcome.as_ref()?;
        self.ends[number] += 1;
        self.demand(Rule::OneTerminal, self.ends[number] == 1);
        let Outcome::Succeeded(result) = outcome else { return None };
        // The result names the attempt that it is of and the life that ran it.
        let current = is.worker.as_ref().and_then(|worker| {
            let node = before.get(&paths::assignment(worker, &task(number)))?;
            wire::decode_assignment(worker, &task(number), &node.data).ok()
        });
        let current = current.map(|found| super::worker::result(found.attempt, found.fence, found.incarnation));
        self.demand(Rule::OutcomeOfTheCurrentAttempt, current.as_ref() == Some(result));
        let assigned_in = crate::domain::Revision(is.fence.0).term();
        (assigned_in < term).then_some(Sight::SuccessAfterTakeover)
    }

    /// A leader has nothing on its way: what lies in the tree is what it recovered and decided.
    pub fn at_rest(&mut self, tree: &Tree) {
        for worker_path in tree.children(paths::ASSIGN).map(|(name, _)| paths::child(paths::ASSIGN, name)) {
            for (name, _) in tree.children(&worker_path) {
                let number = task_number(&name.parse().expect("nobody writes other names"));
                let is_there = name == task(number).as_str() && tree.get(&paths::task(&task(number))).is_some();
                let lives = is_there && status(tree, number).is_none_or(|status| status.outcome.is_none());
                self.demand(Rule::NoDeadAssignment, lives);
            }
        }
    }
}

/// How far a task is in the tree.
pub fn durable(tree: &Tree, number: usize) -> Shown {
    if tree.get(&paths::task(&task(number))).is_none() {
        return Shown::Nothing;
    }
    match status(tree, number) {
        Some(status) if status.outcome.is_some() => Shown::Ended,
        _ => Shown::Live,
    }
}

/// Nothing that a client was told is missing in the tree.
pub fn is_anything_lost(history: &History, tree: &Tree) -> bool {
    (0..TASKS).any(|number| {
        let exists = tree.get(&paths::task(&task(number))).is_some();
        let cancelled = || status(tree, number).is_some_and(|status| status.outcome == Some(Outcome::Cancelled));
        (history.acknowledged[number].is_some() && !exists) || (history.cancelled[number] && !cancelled())
    })
}

fn status(tree: &Tree, number: usize) -> Option<Status> {
    let node = tree.get(&paths::status(&task(number)))?;
    Some(wire::decode_status(&node.data).expect("a leader wrote it"))
}

fn assignment(number: usize, attempt: &AttemptId, node: &Node) -> Assignment {
    wire::decode_assignment(&worker(number), &attempt.task_id, &node.data).expect("a leader wrote it")
}

fn payload_of(number: usize, node: &Node) -> u8 {
    wire::decode_submission(&task(number), &node.data).expect("a leader wrote it").spec.payload[0]
}
