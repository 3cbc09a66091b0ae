//! I1 to I4 and I6: what is kept of each task, and how often it ran.

use std::collections::BTreeMap;

use super::{
    case::{Case, Change, Task},
    report::Finding,
    tree::{Assignment, LOSSES, Status},
};
use crate::proof::evidence::{Call, RunKind, State};

/// Every OK submit exists at the end, as it was sent. (The harness switches retention off.)
pub fn acknowledged_is_kept(case: &Case) -> Finding {
    let mut finding = Finding::new("I1", "every acknowledged task exists at the end, as sent", "OK submits");
    for (id, task) in &case.tasks {
        for (operation, _) in task.acknowledged() {
            let Call::Submit { spec, .. } = &operation.call else { continue };
            finding.looked_at += 1;
            match task.kept.last() {
                None => finding.violated(format!("{id} is lost"), vec![operation.to_string()]),
                Some(kept) if kept.spec != *spec => {
                    let (sent, kept) = (format!("sent: {spec:?}"), format!("kept: {:?}", kept.spec));
                    finding.violated(format!("{id} is another task"), vec![operation.to_string(), sent, kept]);
                }
                Some(_) => {}
            }
        }
    }
    for problem in &case.unreadable {
        finding.violated("a record cannot be read", vec![problem.clone()]);
    }
    finding
}

/// One id is one task: created once, as somebody asked, whether or not the asker was told.
pub fn one_id_one_task(case: &Case) -> Finding {
    let mut finding = Finding::new("I2", "one id is one task, unknown outcomes included", "ids");
    for (id, task) in &case.tasks {
        finding.looked_at += 1;
        let created = || task.submitted.iter().map(|created| format!("created by zxid {:#x}", created.zxid)).collect();
        if task.submitted.len() > 1 {
            finding.violated(format!("{id} was created {} times", task.submitted.len()), created());
        }
        if task.kept.len() > 1 {
            finding.violated(format!("{id} is kept in {} places", task.kept.len()), created());
        }
        let Some(first) = task.submitted.first() else {
            if !task.kept.is_empty() || !task.changes.is_empty() {
                finding.violated(format!("{id} was never created, and is there"), task.story());
            }
            continue;
        };
        let asked = |call: &Call| matches!(call, Call::Submit { spec, .. } if *spec == first.what.spec);
        if !task.operations.iter().any(|operation| asked(&operation.call)) {
            let spec = format!("created: {:?}", first.what.spec);
            finding.violated(format!("nobody asked for {id} as it is"), vec![spec]);
        }
        if task.kept.iter().any(|kept| *kept != first.what) {
            let (created, kept) = (format!("created: {:?}", first.what), format!("kept: {:?}", task.kept));
            finding.violated(format!("{id} was changed after it was created"), vec![created, kept]);
        }
    }
    finding
}

/// Terminal is final, and numbers only grow.
pub fn one_end(case: &Case) -> Finding {
    let mut finding = Finding::new("I3", "one end at most; attempts and fences strictly grow", "ends");
    for (id, task) in &case.tasks {
        let mut ended = false;
        let (mut attempt, mut fence, mut revision) = (0, 0, 0);
        for change in &task.changes {
            if ended {
                finding.violated(format!("{id} was changed after its end"), task.story());
                break;
            }
            match &change.what {
                Change::Assigned(new) => {
                    if new.attempt <= attempt || new.fence <= fence {
                        finding.violated(format!("{id}: attempt {} follows {attempt}", new.attempt), task.story());
                    }
                    (attempt, fence) = (new.attempt, new.fence);
                    revision = revision.max(new.fence);
                }
                Change::Status(status) => {
                    if status.revision <= revision || status.attempt < attempt {
                        finding.violated(format!("{id}: a status goes back"), task.story());
                    }
                    revision = status.revision;
                    ended = status.state.is_terminal();
                    finding.looked_at += usize::from(ended);
                }
            }
        }
        let last = task.statuses().last().map(|(status, _)| status);
        if last != task.kept_status.as_ref() {
            let kept = format!("kept: {:?}", task.kept_status);
            finding.violated(
                format!("{id}: what is kept is not what was committed last"),
                [task.story(), vec![kept]].concat(),
            );
        }
    }
    finding
}

/// The attempt that is current before the change at this place: assigned, and neither given back nor ended.
fn current(task: &Task, at: usize) -> Option<&Assignment> {
    match &task.changes.get(at.checked_sub(1)?)?.what {
        Change::Assigned(assignment) => Some(assignment),
        Change::Status(_) => None,
    }
}

/// An outcome belongs to the attempt that was current when it was committed, and that attempt ran.
pub fn outcome_is_of_the_current_attempt(case: &Case) -> Finding {
    let mut finding =
        Finding::new("I4", "an outcome is that of the attempt that was current, which ran", "outcomes of attempts");
    for (id, task) in &case.tasks {
        for (at, change) in task.changes.iter().enumerate() {
            let Change::Status(status) = &change.what else { continue };
            if !matches!(status.state, State::Succeeded | State::Failed) {
                continue;
            }
            finding.looked_at += 1;
            let problem = match current(task, at) {
                None => Some("no attempt was current".to_owned()),
                Some(assignment) if !is_of(status, assignment) => {
                    Some(format!("attempt {} was current, with fence {:#x}", assignment.attempt, assignment.fence))
                }
                Some(_) => missing_line(task, status),
            };
            if let Some(problem) = problem {
                let lines = task.runs.iter().map(ToString::to_string);
                finding.violated(
                    format!("{id}, zxid {:#x}: {problem}", change.zxid),
                    task.story().into_iter().chain(lines).collect(),
                );
            }
        }
    }
    finding
}

fn is_of(status: &Status, assignment: &Assignment) -> bool {
    status.attempt == assignment.attempt && status.fence == assignment.fence && status.worker == assignment.worker
}

/// The line that its handler should have written, and has not.
fn missing_line(task: &Task, status: &Status) -> Option<String> {
    let wrote = |kind: RunKind| {
        let of = |run: &&crate::proof::evidence::Run| run.attempt == status.attempt && run.fence == status.fence;
        task.runs.iter().filter(of).any(|run| run.kind == kind)
    };
    // The handler of a lost worker may not have begun.
    let lost = status.failure.as_deref().is_some_and(|reason| LOSSES.contains(&reason));
    if !lost && !wrote(RunKind::Start) {
        return Some("it has no start line".into());
    }
    (status.state == State::Succeeded && !wrote(RunKind::End)).then(|| "it succeeded without an end line".into())
}

/// One attempt runs at most once, and only after it was assigned.
pub fn one_run(case: &Case) -> Finding {
    let mut finding = Finding::new("I6", "one run at most of each attempt, and only of assigned ones", "runs");
    for (id, task) in &case.tasks {
        let mut starts: BTreeMap<u32, usize> = BTreeMap::new();
        let lines = || task.runs.iter().map(ToString::to_string).collect::<Vec<_>>();
        for run in task.runs.iter().filter(|run| run.kind == RunKind::Start) {
            finding.looked_at += 1;
            *starts.entry(run.attempt).or_default() += 1;
            let assigned = |assignment: &Assignment| assignment.attempt == run.attempt && assignment.fence == run.fence;
            if !task.assignments().any(|(assignment, _)| assigned(assignment)) {
                finding.violated(
                    format!("{id}: attempt {} ran and was never assigned", run.attempt),
                    [lines(), task.story()].concat(),
                );
            }
        }
        for (attempt, times) in starts.into_iter().filter(|(_, times)| *times > 1) {
            finding.violated(format!("{id}: attempt {attempt} ran {times} times"), lines());
        }
    }
    finding
}
