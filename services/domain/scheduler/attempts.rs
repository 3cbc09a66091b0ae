//! What becomes of an attempt: it starts, it ends, it is given back. A report counts only if it is for the current
//! attempt of its task, by the incarnation that it was assigned to; it never depends on the term.

use std::{sync::Arc, time::Duration};

use super::{Effect, MAX_WORKER_DEATHS, Note, Scheduler, fleet::Hold, patience};
use crate::domain::{
    AttemptId, Change, Failure, FailureReason, Now, Order, Outcome, Progress, Report, Revision, Status, Task,
    TaskEvent, TaskId, TaskState, Wall, WorkerId,
};

/// How long a worker that did not begin what it was given gets nothing more. It and the leader disagree about its slots or
/// its kinds, and would hand the task back and forth as fast as they can; so it costs a few commits a second, and the
/// worker's other slots are not idle for long.
const REST: Duration = Duration::from_secs(1);

/// Why an attempt ends without an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Return {
    /// Its worker did not begin it.
    Unbegun,
    /// Its worker stopped it, or cannot be asked any more how far it came.
    GivenBack,
    /// Its worker is lost, and may have died of it.
    WorkerLost,
}

impl Scheduler {
    pub(super) fn report(&mut self, now: Now, worker: &WorkerId, report: Report, effects: &mut Vec<Effect>) {
        let attempt = report.attempt().clone();
        let current = self.is_current(worker, &attempt);
        match report {
            Report::Started { start_time, .. } if current => return self.started(now, &attempt, start_time, effects),
            Report::Started { .. } => return self.stop_stray(worker, attempt, effects),
            Report::Progress { progress, .. } if current => return self.progressed(&attempt, progress, effects),
            Report::Progress { .. } => return,
            _ => {}
        }
        if current {
            let task_id = &attempt.task_id;
            match report {
                Report::Succeeded { start_time, result, .. } => {
                    self.finish(now, task_id, Some(start_time), Outcome::Succeeded(result), effects);
                }
                Report::Failed { start_time, failure, .. } => {
                    self.fail(now, task_id, Some(start_time), failure, effects);
                }
                Report::GivenBack { started: false, .. } => {
                    self.fleet.rest(worker, now.monotonic.after(REST));
                    self.take_back(now, task_id, Return::Unbegun, effects);
                }
                Report::GivenBack { started: true, .. }
                | Report::Stopped { .. }
                | Report::Started { .. }
                | Report::Progress { .. } => {
                    self.take_back(now, task_id, Return::GivenBack, effects);
                }
            }
        } else if !matches!(report, Report::Stopped { .. }) {
            effects.push(Effect::Note(Note::StaleReport {
                worker: worker.clone(),
                report: name(&report),
                task_id: attempt.task_id.clone(),
                attempt: attempt.attempt,
            }));
        }
        self.fleet.release(worker, &attempt);
        effects.push(Effect::Order { worker: worker.clone(), order: Order::Acknowledge { attempt } });
    }

    pub(super) fn is_current(&self, worker: &WorkerId, attempt: &AttemptId) -> bool {
        let incarnation = self.fleet.get(worker).map(|worker| worker.incarnation);
        self.table.get(&attempt.task_id).is_some_and(|entry| {
            entry.task.state.is_active()
                && entry.task.attempt == attempt.attempt
                && entry.task.fence == attempt.fence
                && entry.task.worker.as_ref() == Some(worker)
                && entry.task.incarnation == incarnation
        })
    }

    pub(super) fn started(&mut self, now: Now, attempt: &AttemptId, start_time: Wall, effects: &mut Vec<Effect>) {
        let assigned = self.table.get(&attempt.task_id).is_some_and(|entry| entry.task.state == TaskState::Assigned);
        if assigned {
            let revision = self.next_revision();
            let running = |task: &mut Task| {
                task.state = TaskState::Running;
                task.start_time = Some(start_time);
                task.revision = revision;
            };
            if let Some(task) = self.transition(&attempt.task_id, effects, running, |_| None) {
                self.time_attempt(now, &task.id, &task.spec);
            }
        }
    }

    /// A running attempt has got further: the watchers are told, and nothing is written down.
    fn progressed(&mut self, attempt: &AttemptId, progress: Option<Arc<Progress>>, effects: &mut Vec<Effect>) {
        let Some(progress) = progress else { return };
        let new = self.table.get(&attempt.task_id).is_some_and(|entry| {
            entry.task.state == TaskState::Running && entry.task.progress.as_ref() != Some(&progress)
        });
        if new {
            let revision = self.next_revision();
            let further = |task: &mut Task| {
                task.progress = Some(progress);
                task.revision = revision;
            };
            self.transition(&attempt.task_id, effects, further, |_| None);
        }
    }

    /// An attempt runs whose outcome nobody wants: its slot is held until the worker says that it stopped.
    pub(super) fn stop_stray(&mut self, worker: &WorkerId, attempt: AttemptId, effects: &mut Vec<Effect>) {
        self.fleet.set_hold(worker, attempt.clone(), Hold::Stopping);
        let order = Order::Cancel { attempt, reason: "the attempt is not current".into() };
        effects.push(Effect::Order { worker: worker.clone(), order });
    }

    /// Ends a task. The caller sees to the slot of its attempt.
    pub(super) fn finish(
        &mut self,
        now: Now,
        task_id: &TaskId,
        start_time: Option<Wall>,
        outcome: Outcome,
        effects: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.table.get(task_id) else { return };
        let assigned_to = entry.task.worker.clone().filter(|_| entry.task.state.is_active());
        if entry.task.state == TaskState::Pending && !self.timers.end_wait(&entry.task) {
            self.queues.remove(&entry.task, entry.submitted, self.fleet.selectors().id(&entry.task.spec));
        }
        self.timers.forget(&entry.task);
        let revision = self.next_revision();
        let end = |task: &mut Task| {
            task.state = outcome.state();
            task.start_time = start_time.or(task.start_time);
            task.end_time = Some(now.wall);
            task.revision = revision;
            task.incarnation = None;
            task.progress = None;
            task.outcome = Some(outcome);
            patience::wait_no_more(task);
        };
        let finished =
            |task: &Task| Some(Change::Finished { task_id: task_id.clone(), assigned_to, status: status_of(task) });
        if let Some(task) = self.transition(task_id, effects, end, finished) {
            self.retention.keep(&task, now.monotonic);
        }
    }

    /// Makes a task pending again, or ends it if its return is one too many.
    pub(super) fn take_back(&mut self, now: Now, task_id: &TaskId, why: Return, effects: &mut Vec<Effect>) {
        let Some(task) = self.table.get(task_id).map(|entry| &entry.task) else { return };
        let Some(worker) = task.worker.clone() else { return };
        let lost = why == Return::WorkerLost;
        let deaths = task.worker_deaths + u32::from(lost);
        let last_straw = last_straw(task, &worker, why, deaths);
        if lost {
            self.table.update(task_id, |task| task.worker_deaths = deaths);
        }
        if let Some(failure) = last_straw {
            return self.finish(now, task_id, None, Outcome::Failed(failure), effects);
        }
        let revision = self.next_revision();
        let pend = |task: &mut Task| {
            make_pending(task, revision);
            patience::wait_anew(task, now.wall);
        };
        let given_back =
            |task: &Task| Some(Change::GivenBack { task_id: task_id.clone(), worker, status: status_of(task) });
        self.transition(task_id, effects, pend, given_back);
        self.line_up(now, task_id, Duration::ZERO);
    }

    /// Changes a task visibly: makes the change durable, if it is one to keep, and tells the watchers. Returns the task
    /// as it is after the change.
    pub(super) fn transition(
        &mut self,
        task_id: &TaskId,
        effects: &mut Vec<Effect>,
        change: impl FnOnce(&mut Task),
        durable: impl FnOnce(&Task) -> Option<Change>,
    ) -> Option<Arc<Task>> {
        let (entry, previous_state) = self.update(task_id, change)?;
        let task = entry.task.clone();
        self.recent.push(task.revision, task.id.clone());
        effects.extend(durable(&task).map(Effect::Change));
        effects.push(Effect::Push(TaskEvent { task: task.clone(), previous_state }));
        Some(task)
    }
}

/// Why a task does not run again after its attempt came back, if it does not.
fn last_straw(task: &Task, worker: &WorkerId, why: Return, deaths: u32) -> Option<Failure> {
    let (reason, message) = if task.spec.at_most_once && why != Return::Unbegun {
        let fate = if why == Return::WorkerLost { "was lost" } else { "stopped it" };
        (FailureReason::WorkerLost, format!("worker {worker} {fate}, and the task runs at most once"))
    } else if deaths >= MAX_WORKER_DEATHS {
        (FailureReason::Poisoned, format!("{deaths} workers were lost while they ran it, the last was {worker}"))
    } else {
        return None;
    };
    Some(Failure::new(reason, message))
}

/// What is so of every task that is pending again.
pub(super) fn make_pending(task: &mut Task, revision: Revision) {
    task.state = TaskState::Pending;
    task.revision = revision;
    task.incarnation = None;
    task.progress = None;
}

pub(super) fn status_of(task: &Task) -> Status {
    Status {
        attempt: task.attempt,
        revision: task.revision,
        worker_deaths: task.worker_deaths,
        worker: task.worker.clone(),
        fence: task.fence,
        outcome: task.outcome.clone(),
        trials: task.trials.clone(),
        start_time: task.start_time,
        end_time: task.end_time,
    }
}

fn name(report: &Report) -> &'static str {
    match report {
        Report::Started { .. } => "started",
        Report::Progress { .. } => "progress",
        Report::Succeeded { .. } => "succeeded",
        Report::Failed { .. } => "failed",
        Report::Stopped { .. } => "stopped",
        Report::GivenBack { .. } => "given back",
    }
}
