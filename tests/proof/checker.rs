//! The checker: reads what others wrote, and says whether Herdsman kept its promises. It knows no rule of Herdsman's, only
//! how the tree is laid out; it is told nothing by Herdsman, only by those who used it.
//!
//! I1 to I12 are functions of their own, each of which gives a [`Finding`].

mod bite;
mod case;
mod leaders;
mod linearizable;
mod log;
mod recovery;
mod report;
mod tasks;
mod tree;
mod txnlog;
mod watches;

use anyhow::Result;

use super::evidence::{Directory, Evidence, RunKind};
use case::Case;
use log::Log;
pub use report::Report;
use report::{Counts, Finding};

/// Judges the evidence in a directory.
///
/// # Errors
/// The evidence cannot be read.
pub fn check(directory: &Directory) -> Result<Report> {
    let evidence = Evidence::read(directory)?;
    let log = Log::read(&directory.zookeeper(), &format!("{}{}", evidence.plan.chroot, tree::CHAIN))?;
    Ok(judge(&Case::new(evidence, log)))
}

/// Every invariant, in the order of their numbers.
const INVARIANTS: [fn(&Case) -> Finding; 12] = [
    tasks::acknowledged_is_kept,
    tasks::one_id_one_task,
    tasks::one_end,
    tasks::outcome_is_of_the_current_attempt,
    leaders::leaders_writes_are_fenced,
    tasks::one_run,
    recovery::nobody_waits,
    watches::watchers_are_told,
    recovery::no_child_outlives_its_worker,
    recovery::no_dead_assignment,
    linearizable::histories_are_linearizable,
    recovery::an_outage_reruns_nothing,
];

fn judge(case: &Case) -> Report {
    let findings: Vec<_> = INVARIANTS.iter().map(|invariant| invariant(case)).collect();
    let violations = |at: usize| findings[at].violations.len();
    let (refused, _) = leaders::refusals_and_takeovers(case);
    let counts = Counts {
        acknowledged: case.tasks.values().filter(|task| task.acknowledged().next().is_some()).count(),
        terminals: case.tasks.values().filter(|task| task.terminal().is_some()).count(),
        leader_writes: findings[4].looked_at,
        stale_attempts: stale_attempts(case),
        stale_attempts_accepted: violations(3),
        stale_leader_writes: refused.len(),
        stale_leader_writes_accepted: violations(4),
    };
    Report { findings, bites: bite::bites(case), counts }
}

/// Attempts that came to their end after something else had taken their place: their reports were refused.
fn stale_attempts(case: &Case) -> usize {
    let of_task = |task: &case::Task| {
        let ends = task.runs.iter().filter(|run| run.kind == RunKind::End);
        let replaced = |run: &&super::evidence::Run| {
            let at = case.evidence.plan.moment(run.epoch_ns);
            let followed = |change: &case::Committed<case::Change>| {
                let after = match &change.what {
                    case::Change::Assigned(assignment) => assignment.attempt > run.attempt,
                    case::Change::Status(status) => status.attempt >= run.attempt,
                };
                after && change.at < at
            };
            task.changes.iter().any(followed)
        };
        ends.filter(replaced).count()
    };
    case.tasks.values().map(of_task).sum()
}

mod tests;
