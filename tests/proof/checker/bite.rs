//! Whether the faults did anything: a round in which nothing happened shows nothing.

use super::{
    case::{Case, Change},
    leaders::refusals_and_takeovers,
};
use crate::proof::evidence::{Moment, Outcome, Round};

/// What the faults of a round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bite {
    /// Multis that ZooKeeper refused to a session that had led.
    pub refused_writes: usize,
    /// Operations whose client does not know what became of them.
    pub unknown_outcomes: usize,
    /// Attempts that were not a task's first.
    pub reassignments: usize,
    /// For people; a leader can be replaced without anything having been at stake.
    pub takeovers: usize,
}

impl Bite {
    pub fn is_nothing(&self) -> bool {
        self.refused_writes + self.unknown_outcomes + self.reassignments == 0
    }
}

/// What bit in each round that had a fault.
pub fn bites(case: &Case) -> Vec<(String, Bite)> {
    let rounds = || case.evidence.plan.rounds.iter();
    let mut bites: Vec<_> = rounds().map(|round| (round.name.clone(), Bite::default())).collect();
    let mut count = |at: Moment, what: fn(&mut Bite) -> &mut usize| {
        let within = |round: &Round| round.from <= at && at < round.until;
        if let Some(of) = rounds().position(within) {
            *what(&mut bites[of].1) += 1;
        }
    };
    let (refused, takeovers) = refusals_and_takeovers(case);
    for txn in refused {
        count(case.moment(txn), |bite| &mut bite.refused_writes);
    }
    for txn in takeovers {
        count(case.moment(txn), |bite| &mut bite.takeovers);
    }
    for operation in case.operations() {
        if let (Outcome::Unknown { .. }, at) = (&operation.outcome, operation.answered.unwrap_or(operation.asked)) {
            count(at, |bite| &mut bite.unknown_outcomes);
        }
    }
    for change in case.tasks.values().flat_map(|task| &task.changes) {
        if matches!(&change.what, Change::Assigned(assignment) if assignment.attempt > 1) {
            count(change.at, |bite| &mut bite.reassignments);
        }
    }
    let faulty = rounds().map(|round| !round.faults.is_empty()).collect::<Vec<_>>();
    bites.into_iter().zip(faulty).filter_map(|(bite, faulty)| faulty.then_some(bite)).collect()
}
