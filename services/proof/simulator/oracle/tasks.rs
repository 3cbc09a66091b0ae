//! The lives of tasks, as the tree and the handlers have them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::Oracle;
use crate::domain::{
    Assignment, FailureReason, Fence, Incarnation, Loaded, Outcome, Policy, Revision, Status, Submission, TaskId,
    TaskSpec, Timeout, scheduler::MAX_WORKER_DEATHS,
};

/// After a disturbance, a worker may be taken for lost for so long: a link that fell silent is given up after 3 s, and
/// its grace, or that of a takeover, is 4 s at most; a queue may be before it.
const AFTERMATH: Duration = Duration::from_secs(10);

/// One run of a handler.
#[derive(Debug)]
pub struct Run {
    incarnation: Incarnation,
    fence: Fence,
    /// What it returned.
    result: Option<Result<Arc<[u8]>, ()>>,
}

/// What is known of one task.
#[derive(Debug, Default)]
pub struct Record {
    /// As it lies in the tree.
    pub spec: Option<Arc<TaskSpec>>,
    /// Every attempt that was ever assigned.
    pub assigned: BTreeMap<u32, Assignment>,
    pub current: Option<Assignment>,
    pub status: Option<Status>,
    pub runs: BTreeMap<u32, Vec<Run>>,
    /// The highest revision that an answer told.
    pub told: Revision,
    /// Since when the submitter knows.
    pub acknowledged: Option<Duration>,
    /// What users have asked for under this id.
    pub asked: Vec<Arc<TaskSpec>>,
    pub cancel_asked: bool,
}

impl Record {
    pub fn has_ended(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.outcome.is_some())
    }

    /// Its attempt failed, and the next one has its time.
    fn waits(&self) -> bool {
        let trials = self.status.as_ref().and_then(|status| status.trials.as_ref());
        self.current.is_none() && trials.is_some_and(|trials| trials.next_attempt_time.is_some())
    }

    /// Its current attempt runs on a worker that lives.
    fn runs_on(&self, alive: &BTreeSet<Incarnation>) -> bool {
        let Some(current) = &self.current else { return false };
        let runs = self.runs.get(&current.attempt).map_or(&[][..], Vec::as_slice);
        alive.contains(&current.incarnation)
            && runs.iter().any(|run| run.incarnation == current.incarnation && run.result.is_none())
    }
}

fn retries(status: &Status) -> u32 {
    status.trials.as_ref().map_or(0, |trials| trials.retries)
}

/// Whether no attempt was to follow the failure that ended a task: it was the last, or the time of the whole was too short
/// for another.
fn is_last(policy: Option<&Policy>, status: &Status) -> bool {
    let Some(policy) = policy else { return true };
    let most = policy.retry.as_ref().map_or(1, |retry| retry.max_attempts);
    retries(status) + 1 >= most || policy.timeout(Timeout::ScheduleToClose).is_some()
}

/// What the handler of the simulation returns: nobody else can have made it up.
pub fn result_of(id: &TaskId, attempt: u32, incarnation: Incarnation, fence: Fence) -> Vec<u8> {
    format!("{id}#{attempt} by {incarnation} under {}", fence.0).into_bytes()
}

impl Oracle {
    pub(super) fn record(&mut self, id: &TaskId) -> &mut Record {
        self.tasks.entry(id.clone()).or_default()
    }

    pub(super) fn submitted(&mut self, submission: Submission) {
        let id = submission.task_id;
        let record = self.record(&id);
        let asked = record.asked.iter().any(|asked| **asked == *submission.spec);
        if record.spec.replace(submission.spec).is_some() {
            self.violation(format!("I2: {id} was created twice"));
        } else if !asked {
            self.violation(format!("I2: nobody asked for this {id}"));
        }
    }

    pub(super) fn assigned(&mut self, assignment: Assignment) {
        let id = assignment.task_id.clone();
        let record = self.record(&id);
        let used = record.status.as_ref().map_or(0, |status| status.attempt);
        let last = record.assigned.keys().next_back().copied().unwrap_or_default().max(used);
        let problem = if record.spec.is_none() {
            Some("without its task")
        } else if record.has_ended() {
            Some("after its end")
        } else if record.current.is_some() {
            Some("while it was assigned")
        } else if assignment.attempt <= last {
            Some("under a number that was used")
        } else {
            None
        };
        record.assigned.insert(assignment.attempt, assignment.clone());
        record.current = Some(assignment);
        if let Some(problem) = problem {
            self.violation(format!("I3: {id} was assigned {problem}"));
        }
    }

    /// The node of an assignment went; its status has to have said before what became of it.
    pub(super) fn voided(&mut self, assignment: &Assignment) {
        let current = self.record(&assignment.task_id).current.clone();
        if current.is_some_and(|current| current.fence == assignment.fence) {
            self.violation(format!("the assignment of {} went, and its attempt has not ended", assignment.task_id));
        }
    }

    pub(super) fn status_written(&mut self, id: &TaskId, status: &Status) {
        let record = self.record(id);
        let released = record.current.take_if(|current| current.attempt <= status.attempt);
        let before = record.status.replace(status.clone());
        let ended = before.as_ref().is_some_and(|status| status.outcome.is_some());
        let older = before.as_ref().is_some_and(|before| {
            before.attempt > status.attempt || before.revision >= status.revision || before.fence > status.fence
        });
        if ended {
            self.violation(format!("I3: the end of {id} was overwritten"));
        } else if older {
            self.violation(format!("I3: the status of {id} went back, from {before:?} to {status:?}"));
        }
        let deaths = before.as_ref().map_or(0, |status| status.worker_deaths);
        let retried = before.as_ref().map_or(0, retries);
        if status.worker_deaths > deaths {
            self.lost(id, released.as_ref());
        }
        match &status.outcome {
            None if released.is_none() => self.violation(format!("{id} was given back, and was not assigned")),
            None if retries(status) > retried => {
                self.sights.retries += 1;
                self.retried(id, status);
            }
            None => self.sights.reassignments += 1,
            Some(outcome) => self.ended(id, status, outcome, released.as_ref()),
        }
    }

    /// I4: the outcome is that of the attempt that was current, and a handler has said so.
    fn ended(&mut self, id: &TaskId, status: &Status, outcome: &Outcome, released: Option<&Assignment>) {
        let record = self.record(id);
        let run = released
            .filter(|current| current.attempt == status.attempt && current.fence == status.fence)
            .and_then(|current| {
                let runs = record.runs.get(&current.attempt)?;
                runs.iter().find(|run| run.incarnation == current.incarnation && run.fence == current.fence)
            });
        let policy = record.spec.as_ref().and_then(|spec| spec.policy.as_deref());
        let good = match outcome {
            Outcome::Succeeded(result) => run.is_some_and(|run| run.result.as_ref() == Some(&Ok(result.clone()))),
            Outcome::Failed(failure) => match failure.reason {
                FailureReason::Handler | FailureReason::ResultTooLarge => {
                    run.is_some_and(|run| run.result == Some(Err(()))) && is_last(policy, status)
                }
                FailureReason::WorkerLost => record.spec.as_ref().is_some_and(|spec| spec.at_most_once),
                FailureReason::Poisoned => status.worker_deaths >= MAX_WORKER_DEATHS,
                FailureReason::TimedOut => failure
                    .timeout
                    .is_some_and(|timeout| policy.is_some_and(|policy| policy.timeout(timeout).is_some())),
            },
            Outcome::Cancelled => record.cancel_asked,
        };
        match outcome {
            Outcome::Cancelled => self.sights.cancels += 1,
            Outcome::Failed(failure) if failure.reason == FailureReason::Poisoned => self.sights.poisoned += 1,
            Outcome::Failed(failure) if failure.timeout.is_some() => self.sights.timeouts += 1,
            _ => {}
        }
        if !good {
            let run = format!("{:?}", self.record(id).runs.get(&status.attempt));
            self.violation(format!("I4: {id} ended as {status:?}, released {released:?}, but what ran was {run}"));
        }
    }

    /// A task is not tried more often than it was to be.
    fn retried(&mut self, id: &TaskId, status: &Status) {
        let policy = self.record(id).spec.as_ref().and_then(|spec| spec.policy.clone());
        let most = policy.and_then(|policy| policy.retry).map_or(1, |retry| retry.max_attempts);
        if retries(status) >= most {
            self.violation(format!("{id} is tried again after {} failures of {most}", retries(status)));
        }
    }

    /// I12 and more: a worker that nothing disturbed is not lost, whatever the store goes through.
    fn lost(&mut self, id: &TaskId, released: Option<&Assignment>) {
        let Some(Assignment { worker, incarnation, attempt, .. }) = released else { return };
        let since = |times: &BTreeMap<&'static str, Duration>| {
            times.get(worker.as_str()).is_some_and(|until| self.now < *until + AFTERMATH)
        };
        let takeover = self.reigns.last_takeover().is_some_and(|at| self.now < at + AFTERMATH);
        let excused = since(&self.disturbed)
            || (takeover && since(&self.blinded))
            || self.now < self.stood_still + AFTERMATH
            || !self.alive.contains(incarnation);
        if !excused {
            self.violation(format!("I12: {id}#{attempt} was taken from {worker}, which nothing had disturbed"));
        }
    }

    pub fn run_started(&mut self, id: &TaskId, attempt: u32, incarnation: Incarnation, fence: Fence) {
        let record = self.record(id);
        let promised = record.assigned.get(&attempt);
        let durable = promised.is_some_and(|promised| promised.incarnation == incarnation && promised.fence == fence);
        let once = record.spec.as_ref().is_some_and(|spec| spec.at_most_once) && !record.runs.is_empty();
        let runs = record.runs.entry(attempt).or_default();
        runs.push(Run { incarnation, fence, result: None });
        let twice = runs.len() > 1;
        if !durable {
            self.violation(format!("{id}#{attempt} runs on {incarnation} under {}, which is not durable", fence.0));
        }
        if twice {
            self.violation(format!("I6: {id}#{attempt} runs twice"));
        }
        if once {
            self.violation(format!("{id}, which runs at most once, runs again as #{attempt}"));
        }
    }

    pub fn run_ended(&mut self, id: &TaskId, attempt: u32, incarnation: Incarnation, result: Result<Arc<[u8]>, ()>) {
        let record = self.record(id);
        let vain = record.has_ended() || record.current.as_ref().is_none_or(|current| current.attempt != attempt);
        let runs = record.runs.entry(attempt).or_default();
        if let Some(run) = runs.iter_mut().find(|run| run.incarnation == incarnation) {
            run.result = Some(result);
        }
        self.sights.runs_in_vain += u64::from(vain);
    }

    /// I7: what was acknowledged by then has ended, or its current attempt runs, or is to be followed by another.
    pub fn must_go_on(&mut self, acknowledged_until: Duration) {
        self.look_for_open(acknowledged_until, |record, alive| !record.runs_on(alive) && !record.waits());
    }

    /// I7: what was acknowledged by then has ended.
    pub fn must_have_ended(&mut self, acknowledged_until: Duration) {
        self.look_for_open(acknowledged_until, |_, _| true);
    }

    fn look_for_open(
        &mut self,
        acknowledged_until: Duration,
        counts: impl Fn(&Record, &BTreeSet<Incarnation>) -> bool,
    ) {
        let open = self.tasks.iter().filter(|(_, record)| {
            let acknowledged = record.acknowledged.is_some_and(|at| at <= acknowledged_until);
            acknowledged && !record.has_ended() && counts(record, &self.alive)
        });
        let open: Vec<_> = open.map(|(id, record)| format!("{id} ({:?})", record.current)).collect();
        if !open.is_empty() {
            self.violation(format!("I7: not ended in time after healing: {}", open.join(", ")));
        }
    }

    /// I1 and I10: what was acknowledged is there, as the next leader would find it, and no assignment is left over.
    pub fn must_be_tidy(&mut self, found: &Loaded) {
        let mut problems: Vec<_> = found.corrupt.iter().map(|id| format!("{id} cannot be read")).collect();
        let there: BTreeMap<_, _> = found.tasks.iter().map(|task| (&task.submission.task_id, task)).collect();
        for assignment in &found.assignments {
            let current = self.tasks.get(&assignment.task_id).and_then(|record| record.current.as_ref());
            if current != Some(assignment) {
                problems.push(format!("I10: a dead assignment is left over: {assignment:?}"));
            }
        }
        for (id, record) in &self.tasks {
            let found = there.get(id).map(|task| (&task.submission.spec, &task.status));
            if found != record.spec.as_ref().map(|spec| (spec, &record.status)) {
                problems.push(format!("I1: {id} is there as {found:?}"));
            }
            if record.acknowledged.is_some() && record.spec.is_none() {
                problems.push(format!("I1: {id} was acknowledged, and is not there"));
            }
            if let Some(current) = &record.current {
                if record.has_ended() {
                    problems.push(format!("I10: {id} has ended, and is assigned to {}", current.worker));
                } else if !self.alive.contains(&current.incarnation) {
                    problems.push(format!("I10: {id} is assigned to a worker that is dead"));
                }
            }
        }
        for problem in problems {
            self.violation(problem);
        }
    }
}
