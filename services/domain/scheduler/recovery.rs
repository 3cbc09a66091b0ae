//! How a new leader begins: from what the store holds, and nothing else.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Effect, Limits, Scheduler, attempts::Return, fleet::Hold, lanes::is_suspect, patience, retention::end_on_clock,
    table::Entry,
};
use crate::domain::{
    Assignment, AttemptId, Change, Incarnation, Loaded, LoadedTask, Now, Outcome, Task, TaskState, Term, WorkerId,
};

impl Scheduler {
    /// The scheduler of a new term, and what must be made durable first.
    ///
    /// An assignment is taken over if it is the next attempt of a live task; any other is swept. The workers that hold
    /// one have the takeover grace, counted from now, to say hello. What queues had of their starts is forgotten: each begins
    /// with a second's worth, and where the others are.
    pub fn recover(limits: Limits, term: Term, now: Now, loaded: Loaded) -> (Self, Vec<Effect>) {
        let mut scheduler = Self::new(limits, term);
        let mut effects = Vec::new();
        scheduler.table.set_corrupt(loaded.corrupt);
        scheduler.retention.begin(now.monotonic);
        for (queue, settings) in loaded.queues {
            scheduler.queues.set(now.monotonic, &queue, settings);
        }
        scheduler.fleet.drains.restore(loaded.drained, now.monotonic.after(scheduler.limits.takeover_grace));
        for task in loaded.tasks {
            scheduler.restore(now, task);
        }
        let incarnations = scheduler.expect_workers(now, &loaded.assignments);
        for assignment in loaded.assignments {
            scheduler.take_over(now, assignment, &incarnations, &mut effects);
        }
        for worker in loaded.workers {
            if !incarnations.contains_key(&worker) {
                effects.push(Effect::Change(Change::WorkerForgotten { worker }));
            }
        }
        scheduler.recent.begin(scheduler.revision);
        (scheduler, effects)
    }

    fn restore(&mut self, now: Now, loaded: LoadedTask) {
        let submitted = loaded.submission.revision;
        let mut task = Task::new(&loaded.submission);
        if let Some(status) = loaded.status {
            task.attempt = status.attempt;
            task.revision = status.revision;
            task.worker_deaths = status.worker_deaths;
            task.worker = status.worker;
            task.fence = status.fence;
            task.start_time = status.start_time;
            task.end_time = status.end_time;
            task.state = status.outcome.as_ref().map_or(TaskState::Pending, Outcome::state);
            task.outcome = status.outcome;
            task.trials = status.trials;
        }
        if task.state.is_terminal() {
            let failed = task.state == TaskState::Failed;
            let retention = if failed { self.limits.retain_failed } else { self.limits.retain_finished };
            let end = end_on_clock(task.end_time.unwrap_or_default(), now.wall, now.monotonic, retention);
            self.retention.keep(&task, end);
        } else {
            self.fleet.hold_selector(&task.spec);
            self.resume(now, &task, submitted);
        }
        self.insert(Entry { task: Arc::new(task), submitted });
    }

    /// Each worker's incarnation is the one of its youngest assignment.
    fn expect_workers(&mut self, now: Now, assignments: &[Assignment]) -> BTreeMap<WorkerId, Incarnation> {
        let mut youngest = BTreeMap::new();
        for assignment in assignments {
            let seen = youngest.entry(assignment.worker.clone()).or_insert((assignment.fence, assignment.incarnation));
            *seen = (*seen).max((assignment.fence, assignment.incarnation));
        }
        let lost_at = now.monotonic.after(self.limits.takeover_grace);
        let incarnations = youngest.into_iter().map(|(worker, (_, incarnation))| (worker, incarnation));
        incarnations.inspect(|(worker, incarnation)| self.fleet.expect(worker.clone(), *incarnation, lost_at)).collect()
    }

    fn take_over(
        &mut self,
        now: Now,
        assignment: Assignment,
        incarnations: &BTreeMap<WorkerId, Incarnation>,
        effects: &mut Vec<Effect>,
    ) {
        let Assignment { task_id, worker, attempt, incarnation, fence } = assignment;
        if self.table.is_corrupt(&task_id) {
            return;
        }
        let next = self
            .table
            .get(&task_id)
            .filter(|entry| entry.task.state == TaskState::Pending && entry.task.attempt < attempt);
        let Some(entry) = next else {
            effects.push(Effect::Change(Change::Swept { task_id, worker }));
            return;
        };
        if !self.timers.end_wait(&entry.task) {
            self.queues.remove(&entry.task, entry.submitted, self.fleet.selectors().id(&entry.task.spec));
        }
        let (suspect, spec) = (is_suspect(&entry.task), entry.task.spec.clone());
        // What a watcher sees may have changed with the leader (RUNNING is not stored), so the revision is a new one.
        let revision = self.next_revision();
        self.update(&task_id, |task| {
            task.state = TaskState::Assigned;
            task.attempt = attempt;
            task.worker = Some(worker.clone());
            task.incarnation = Some(incarnation);
            task.fence = fence;
            task.revision = revision;
            task.start_time = None;
            patience::wait_no_more(task);
        });
        self.time_attempt(now, &task_id, &spec);
        if incarnations.get(&worker) == Some(&incarnation) {
            let attempt = AttemptId { fence, task_id, attempt };
            self.fleet.set_hold(&worker, attempt, Hold::Current { suspect });
        } else {
            self.take_back(now, &task_id, Return::WorkerLost, effects);
        }
    }
}
