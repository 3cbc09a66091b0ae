//! What a task's policy says: it waits before its attempts, is tried again, and ends when something takes too long. A
//! pending task is in its lane or in the waiting room (see [`Timer::Ready`]), never in both.

use std::{sync::Arc, time::Duration};

use super::{
    Effect, Note, Scheduler,
    attempts::{make_pending, status_of},
    timers::Timer,
};
use crate::domain::{
    AttemptId, Change, Failure, Now, Outcome, Revision, Task, TaskId, TaskSpec, TaskState, Timeout, Wall,
};

/// How long after the end of an attempt's time the leader takes the attempt away from a worker that has not said what
/// became of it. A worker stops the attempt by itself, and says so when nothing of it is left, or when it gives it up: 35 s
/// after it told it to stop.
const BACKSTOP: Duration = Duration::from_secs(45);

impl Scheduler {
    /// A task was accepted.
    pub(super) fn begin(&mut self, now: Now, task: &Task, submitted: Revision) {
        let selector = self.fleet.selectors().id(&task.spec);
        let Some(policy) = &task.spec.policy else { return self.queues.push(task, submitted, selector) };
        if let Some(limit) = policy.timeout(Timeout::ScheduleToClose) {
            self.timers.set(&task.id, Timer::Over(Timeout::ScheduleToClose), now.monotonic.after(limit));
        }
        let wait = next_attempt_time(task).map_or(Duration::ZERO, |at| now.wall.until(at));
        self.line_up(now, &task.id, wait);
    }

    /// A new leader has found a task that has not ended. What is left of its times is told by wall clocks, and never more
    /// than was said.
    pub(super) fn resume(&mut self, now: Now, task: &Task, submitted: Revision) {
        let selector = self.fleet.selectors().id(&task.spec);
        let Some(policy) = &task.spec.policy else { return self.queues.restore(task, submitted, selector) };
        let left = |limit: Duration, since: Wall| limit.saturating_sub(since.until(now.wall));
        if let Some(limit) = policy.timeout(Timeout::ScheduleToClose) {
            let at = now.monotonic.after(left(limit, task.create_time));
            self.timers.set(&task.id, Timer::Over(Timeout::ScheduleToClose), at);
        }
        let longest = if task.attempt == 0 {
            policy.start(task.create_time).map_or(Duration::ZERO, |start| task.create_time.until(start))
        } else {
            policy.longest_backoff(retries(task).saturating_sub(1))
        };
        let wait = next_attempt_time(task).map_or(Duration::ZERO, |at| now.wall.until(at)).min(longest);
        if wait > Duration::ZERO {
            self.timers.set(&task.id, Timer::Ready, now.monotonic.after(wait));
            return;
        }
        self.queues.restore(task, submitted, selector);
        if let Some(limit) = policy.timeout(Timeout::ScheduleToStart) {
            let at = now.monotonic.after(left(limit, next_attempt_time(task).unwrap_or(task.create_time)));
            self.timers.set(&task.id, Timer::Over(Timeout::ScheduleToStart), at);
        }
    }

    /// A task has become pending: it waits for its time, and then for a worker.
    pub(super) fn line_up(&mut self, now: Now, task_id: &TaskId, wait: Duration) {
        let Some(entry) = self.table.get(task_id) else { return };
        if let Some(policy) = &entry.task.spec.policy {
            self.timers.clear(task_id, Timer::Over(Timeout::StartToClose));
            if wait > Duration::ZERO {
                self.timers.set(task_id, Timer::Ready, now.monotonic.after(wait));
                return;
            }
            if let Some(limit) = policy.timeout(Timeout::ScheduleToStart) {
                self.timers.set(task_id, Timer::Over(Timeout::ScheduleToStart), now.monotonic.after(limit));
            }
        }
        self.queues.push(&entry.task, entry.submitted, self.fleet.selectors().id(&entry.task.spec));
    }

    /// A task has an attempt, which was assigned, has started, or was found by a new leader. That one cannot know how long
    /// it has run, as wall clocks may be hours off, and gives it all of its time: its worker still counts.
    pub(super) fn time_attempt(&mut self, now: Now, task_id: &TaskId, spec: &TaskSpec) {
        let Some(policy) = &spec.policy else { return };
        self.timers.clear(task_id, Timer::Over(Timeout::ScheduleToStart));
        if let Some(limit) = policy.timeout(Timeout::StartToClose) {
            let at = now.monotonic.after(limit).after(BACKSTOP);
            self.timers.set(task_id, Timer::Over(Timeout::StartToClose), at);
        }
    }

    /// An attempt has failed: its task is tried again if its policy says so, and has failed if not. The caller sees to the
    /// slot of the attempt.
    pub(super) fn fail(
        &mut self,
        now: Now,
        task_id: &TaskId,
        start_time: Option<Wall>,
        failure: Failure,
        effects: &mut Vec<Effect>,
    ) {
        let Some(task) = self.table.get(task_id).map(|entry| &entry.task) else { return };
        let attempt = task.attempt;
        if let Some(timeout) = failure.timeout {
            effects.push(Effect::Note(Note::TimedOut { task_id: task_id.clone(), attempt, timeout }));
        }
        let wait = task.spec.policy.as_ref().and_then(|policy| policy.backoff(task_id, retries(task), &failure));
        // An attempt that could only begin after the task's end is none to wait for.
        let end = self.timers.at(task_id, Timer::Over(Timeout::ScheduleToClose));
        let wait = wait.filter(|wait| end.is_none_or(|end| now.monotonic.after(*wait) < end));
        let (Some(wait), Some(worker)) = (wait, task.worker.clone()) else {
            return self.finish(now, task_id, start_time, Outcome::Failed(failure), effects);
        };
        effects.push(Effect::Note(Note::Retried { task_id: task_id.clone(), attempt, wait }));
        let revision = self.next_revision();
        let pend = |task: &mut Task| {
            make_pending(task, revision);
            task.start_time = start_time.or(task.start_time);
            let trials = Arc::make_mut(task.trials.get_or_insert_default());
            trials.retries += 1;
            trials.last_failure = Some(failure);
            trials.next_attempt_time = Some(now.wall.after(wait));
        };
        let given_back =
            |task: &Task| Some(Change::GivenBack { task_id: task_id.clone(), worker, status: status_of(task) });
        self.transition(task_id, effects, pend, given_back);
        self.line_up(now, task_id, wait);
    }

    /// Does what is due.
    pub(super) fn ring(&mut self, now: Now, effects: &mut Vec<Effect>) {
        for (task_id, timer) in self.timers.take_due(now.monotonic) {
            let Some(task) = self.table.get(&task_id).map(|entry| &entry.task) else { continue };
            // What was taken together may have been done by another of it.
            match timer {
                Timer::Ready if task.state == TaskState::Pending => self.line_up(now, &task_id, Duration::ZERO),
                Timer::Over(Timeout::ScheduleToStart) if task.state != TaskState::Pending => {}
                Timer::Over(Timeout::StartToClose) if !task.state.is_active() => {}
                Timer::Over(timeout) if !task.state.is_terminal() => self.time_out(now, &task_id, timeout, effects),
                Timer::Ready | Timer::Over(_) => {}
            }
        }
    }

    fn time_out(&mut self, now: Now, task_id: &TaskId, timeout: Timeout, effects: &mut Vec<Effect>) {
        let Some(task) = self.table.get(task_id).map(|entry| entry.task.clone()) else { return };
        let limit = task.spec.policy.as_ref().and_then(|policy| policy.timeout(timeout)).unwrap_or_default();
        let what = match timeout {
            Timeout::ScheduleToStart => "no worker took it",
            Timeout::StartToClose | Timeout::Heartbeat => "its worker has neither ended nor stopped it, long",
            Timeout::ScheduleToClose => "it was not done",
        };
        let within = if timeout == Timeout::StartToClose { "after" } else { "within" };
        let message = format!("{what} {within} its {} timeout of {limit:?}", timeout.name());
        let failure = Failure::timed_out(timeout, message);
        if timeout == Timeout::StartToClose {
            self.fail(now, task_id, None, failure, effects);
        } else {
            effects.push(Effect::Note(Note::TimedOut { task_id: task_id.clone(), attempt: task.attempt, timeout }));
            self.finish(now, task_id, None, Outcome::Failed(failure), effects);
        }
        if let Some(worker) = task.worker.as_ref().filter(|_| task.state.is_active()) {
            let attempt = AttemptId { task_id: task_id.clone(), attempt: task.attempt, fence: task.fence };
            self.stop(worker, attempt, "it took too long", effects);
        }
    }
}

/// The next attempt of a task that is pending again may begin at once; from now on it waits for a worker.
pub(super) fn wait_anew(task: &mut Task, now: Wall) {
    let policy = task.spec.policy.as_ref();
    if policy.is_some_and(|policy| policy.timeout(Timeout::ScheduleToStart).is_some()) {
        Arc::make_mut(task.trials.get_or_insert_default()).next_attempt_time = Some(now);
    }
}

/// A task that runs or has ended waits for no moment.
pub(super) fn wait_no_more(task: &mut Task) {
    if let Some(trials) = task.trials.as_mut().filter(|trials| trials.next_attempt_time.is_some()) {
        Arc::make_mut(trials).next_attempt_time = None;
    }
}

fn next_attempt_time(task: &Task) -> Option<Wall> {
    task.trials.as_ref().and_then(|trials| trials.next_attempt_time)
}

fn retries(task: &Task) -> u32 {
    task.trials.as_ref().map_or(0, |trials| trials.retries)
}
