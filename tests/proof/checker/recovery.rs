//! I7, I9, I10 and I12: what is so again after a fault, and what a fault must not do.

use std::{collections::HashMap, time::Duration};

use super::{
    case::{Case, Change, Task},
    report::Finding,
    tree::{self, Assignment, Fact},
};
use crate::proof::evidence::{Moment, Process, ProcessEvent, Role, RunKind};

/// Behind the session timeout: what recovery may take.
const RECOVERY: Duration = Duration::from_secs(5);
/// How long a handler's child may outlive its worker.
const CHILD_LIMIT: Duration = Duration::from_secs(5);
/// By when nothing lies about that is nobody's.
const SWEEP: Duration = Duration::from_secs(30);

/// Within a session timeout and five seconds of healing, every task that was acknowledged by then has ended, or is on
/// its way: an attempt of it started since, or runs. When the run is closed, all have ended.
pub fn nobody_waits(case: &Case) -> Finding {
    let mut finding = Finding::new("I7", "soon after healing every acknowledged task goes on", "tasks at calm moments");
    let moments = calm_moments(case);
    for (id, task) in &case.tasks {
        let Some(acknowledged) = task.acknowledged().map(|(_, at)| at).min() else { continue };
        for (healed, due) in &moments {
            if acknowledged > *healed {
                continue;
            }
            finding.looked_at += 1;
            if !goes_on(case, task, *healed, *due) {
                let problem = format!("{id} is stuck at {due}; what was broken was whole at {healed}");
                finding.violated(problem, evidence(task));
            }
        }
        finding.looked_at += 1;
        if task.terminal().is_none() {
            finding.violated(format!("{id} has not ended when the run is closed"), evidence(task));
        }
    }
    finding
}

fn evidence(task: &Task) -> Vec<String> {
    task.story().into_iter().chain(task.runs.iter().map(ToString::to_string)).collect()
}

/// When everything was whole, and when everything has to go on again: for each stretch that is long enough.
fn calm_moments(case: &Case) -> Vec<(Moment, Moment)> {
    let plan = &case.evidence.plan;
    let recovery = plan.session_timeout() + RECOVERY;
    let mut faults: Vec<_> = plan.faults().map(|fault| (fault.from, fault.until)).collect();
    faults.sort_unstable();
    let mut moments = Vec::new();
    let mut healed = Moment(0);
    for (at, &(_, until)) in faults.iter().enumerate() {
        healed = healed.max(until);
        let next = faults.get(at + 1).map_or(plan.closed, |&(from, _)| from);
        let due = healed + recovery;
        if due <= next {
            moments.push((healed, due));
        }
    }
    moments
}

fn goes_on(case: &Case, task: &Task, healed: Moment, due: Moment) -> bool {
    let before = task.changes.iter().take_while(|change| change.at <= due);
    let Some(last) = before.last() else { return false };
    match &last.what {
        Change::Status(status) if status.state.is_terminal() => true,
        // Waits again: something happened to it since.
        Change::Status(_) => last.at > healed,
        Change::Assigned(assignment) => last.at > healed || runs(case, task, assignment, due),
    }
}

/// The attempt had started by then and had not ended.
fn runs(case: &Case, task: &Task, assignment: &Assignment, at: Moment) -> bool {
    let by_then = |kind: RunKind| {
        let mut runs = task.runs.iter().filter(|run| run.attempt == assignment.attempt && run.kind == kind);
        runs.any(|run| case.evidence.plan.moment(run.epoch_ns) <= at)
    };
    by_then(RunKind::Start) && !by_then(RunKind::End)
}

/// No child of a handler's is alive five seconds after its worker is gone; and somebody looked.
pub fn no_child_outlives_its_worker(case: &Case) -> Finding {
    let mut finding = Finding::new("I9", "no handler's child outlives its worker by 5 s", "worker deaths");
    let scans = &case.evidence.scans;
    let is_end = |process: &&Process| process.role == Role::Worker && process.event == ProcessEvent::Ended;
    for worker in case.evidence.processes.iter().filter(is_end) {
        finding.looked_at += 1;
        let due = worker.at + CHILD_LIMIT;
        let mut late = scans.iter().filter(|scan| scan.at >= due).peekable();
        if late.peek().is_none() {
            let problem = format!("nobody looked for children of {} after {due}", worker.life);
            finding.violated(problem, vec![format!("it ended at {}", worker.at)]);
        }
        let orphans = late.flat_map(|scan| scan.children.iter().map(move |child| (scan.at, child)));
        let orphans: Vec<_> = orphans
            .filter(|(_, child)| child.life == worker.life)
            .map(|(at, child)| format!("at {at}: process {} of {} attempt {}", child.pid, child.task, child.attempt))
            .collect();
        if !orphans.is_empty() {
            finding.violated(format!("{} ended at {}, its children live on", worker.life, worker.at), orphans);
        }
    }
    finding
}

/// Half a minute after healing no assignment is nobody's: its task has not ended, its worker lives, in that incarnation.
/// An entry that something took the place of may stay in a packed node, but no node of which that is so of all.
pub fn no_dead_assignment(case: &Case) -> Finding {
    let mut finding =
        Finding::new("I10", "no assignment without its live task and its worker's incarnation", "assignments");
    let (tree, due) = (case.evidence.tree(), case.evidence.plan.healed() + SWEEP);
    if tree.at < due {
        let problem = format!("the tree was read for the last time at {}, before {due}", tree.at);
        finding.violated(problem, vec![]);
    }
    let members: HashMap<_, _> = tree.nodes.iter().filter_map(tree::member).collect();
    for node in tree.nodes.iter().filter(|node| tree::holds_assignments(&node.path)) {
        let facts = tree::facts(&node.path, &node.data.0);
        let assignments = facts.iter().filter_map(|fact| match fact {
            Fact::Assigned(assignment) => Some(assignment),
            _ => None,
        });
        let standing: Vec<_> = assignments.filter(|assignment| !is_superseded(case, assignment)).collect();
        finding.looked_at += facts.len();
        if standing.is_empty() {
            finding.violated(format!("{} is of no live task", node.path), vec![format!("{facts:?}")]);
        }
        for assignment in standing {
            let lives = members.get(&assignment.worker);
            let problem = if !is_kept(case, &assignment.task) {
                "is of no live task"
            } else if lives != Some(&assignment.incarnation) {
                "is for a dead incarnation"
            } else {
                continue;
            };
            let what = format!("{}, {} {problem}", node.path, assignment.task);
            finding.violated(what, vec![format!("{assignment:?}"), format!("lives: {lives:?}")]);
        }
    }
    finding
}

/// A later change of the task has taken its place.
fn is_superseded(case: &Case, assignment: &Assignment) -> bool {
    let task = case.tasks.get(&assignment.task);
    task.is_some_and(|task| task.changes.iter().any(|change| change.what.revision() > assignment.fence))
}

/// The task is in the last tree.
fn is_kept(case: &Case, task: &str) -> bool {
    case.tasks.get(task).is_some_and(|task| !task.kept.is_empty())
}

/// An outage of ZooKeeper that is shorter than the tasks reruns none of those that ran.
pub fn an_outage_reruns_nothing(case: &Case) -> Finding {
    let mut finding = Finding::new("I12", "an outage shorter than the tasks reruns none", "running attempts");
    for round in &case.evidence.plan.rounds {
        for outage in &round.outages {
            if outage.running.is_empty() {
                finding.violated(format!("nothing ran in the outage at {}: it shows nothing", outage.from), vec![]);
            }
            for running in &outage.running {
                finding.looked_at += 1;
                let Some(task) = case.tasks.get(&running.task) else {
                    finding.violated(format!("{} ran, and nobody knows it", running.task), vec![]);
                    continue;
                };
                let within = |at: Moment| outage.from <= at && at < round.until;
                let assigned = |assignment: &Assignment, at: Moment| assignment.attempt > running.attempt && within(at);
                if task.assignments().any(|(assignment, change)| assigned(assignment, change.at)) {
                    let problem = format!("{} ran attempt {}, and was run again", running.task, running.attempt);
                    finding.violated(problem, evidence(task));
                }
            }
        }
    }
    finding
}
