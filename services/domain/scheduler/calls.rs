//! Submit, cancel, and what holds for a queue: what a client may change.

use std::sync::Arc;

use super::{Effect, Scheduler, table::Entry, table::cost_of_spec};
use crate::domain::{
    Answer, AttemptId, Budget, Change, Monotonic, Now, Outcome, QueueName, QueueUpdate, Refusal, Submission, Task,
    TaskEvent, TaskId, TaskSpec, TaskState,
};

/// A task that somebody hands over.
pub(super) struct NewTask {
    pub task_id: TaskId,
    pub spec: Arc<TaskSpec>,
    pub retry_of: Option<TaskId>,
    pub traceparent: Option<Arc<str>>,
    /// Not accepted after it.
    pub deadline: Monotonic,
}

impl Scheduler {
    pub(super) fn submit(&mut self, now: Now, new: NewTask, effects: &mut Vec<Effect>) -> Answer {
        if let Some(answer) = self.known(&new) {
            return answer;
        }
        let NewTask { task_id, spec, retry_of, traceparent, deadline } = new;
        if now.monotonic > deadline {
            return Answer::Refused(Refusal::DeadlineExceeded);
        }
        if self.queues.is_full(&spec) {
            return Answer::Refused(Refusal::QueueFull(spec.queue()));
        }
        if spec.selector.as_ref().is_some_and(|selector| self.fleet.selectors().is_full(selector)) {
            return Answer::Refused(Refusal::TooManySelectors);
        }
        if let Some(budget) = self.used_up(&spec) {
            return Answer::Refused(Refusal::BudgetExhausted(budget));
        }
        let revision = self.next_revision();
        let submission = Submission { task_id, spec, create_time: now.wall, revision, traceparent, retry_of };
        let task = Arc::new(Task::new(&submission));
        self.fleet.hold_selector(&task.spec);
        self.insert(Entry { task: task.clone(), submitted: revision });
        self.recent.push(revision, task.id.clone());
        self.begin(now, &task, revision);
        effects.push(Effect::Change(Change::Submitted(submission)));
        effects.push(Effect::Push(TaskEvent { task: task.clone(), previous_state: TaskState::Pending }));
        Answer::Task(task)
    }

    /// The answer to a submit of an id that is taken: one id, one task.
    fn known(&self, new: &NewTask) -> Option<Answer> {
        if self.table.is_corrupt(&new.task_id) {
            return Some(Answer::Refused(Refusal::CorruptRecord));
        }
        let entry = self.table.get(&new.task_id)?;
        let same = *entry.task.spec == *new.spec && entry.task.retry_of == new.retry_of;
        Some(if same { Answer::Task(entry.task.clone()) } else { Answer::Refused(Refusal::TaskExists) })
    }

    fn used_up(&self, spec: &TaskSpec) -> Option<Budget> {
        if self.table.tasks() >= self.limits.max_tasks {
            return Some(Budget::Tasks);
        }
        let bytes = self.table.bytes() + cost_of_spec(spec);
        (bytes > self.limits.max_bytes).then_some(Budget::Bytes)
    }

    pub(super) fn cancel(&mut self, now: Now, task_id: &TaskId, effects: &mut Vec<Effect>) -> Answer {
        if self.table.is_corrupt(task_id) {
            return Answer::Refused(Refusal::CorruptRecord);
        }
        let Some(task) = self.table.get(task_id).map(|entry| entry.task.clone()) else {
            return Answer::Refused(Refusal::TaskNotFound);
        };
        match task.state {
            TaskState::Cancelled => return Answer::Task(task),
            TaskState::Succeeded | TaskState::Failed => return Answer::Refused(Refusal::TaskEnded),
            TaskState::Pending | TaskState::Assigned | TaskState::Running => {}
        }
        self.finish(now, task_id, None, Outcome::Cancelled, effects);
        if let Some(worker) = task.worker.as_ref().filter(|_| task.state.is_active()) {
            let attempt = AttemptId { task_id: task_id.clone(), attempt: task.attempt, fence: task.fence };
            self.stop(worker, attempt, "the task was cancelled", effects);
        }
        self.table.get(task_id).map_or(Answer::Refused(Refusal::TaskNotFound), |entry| Answer::Task(entry.task.clone()))
    }

    pub(super) fn update_queue(
        &mut self,
        now: Now,
        queue: &QueueName,
        update: &QueueUpdate,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        let Some(settings) = self.queues.updated(queue, update) else {
            return Answer::Refused(Refusal::TooManyQueues);
        };
        if settings != self.queues.settings(queue) {
            self.queues.set(now.monotonic, queue, settings.clone());
            effects.push(Effect::Change(Change::QueueSet { queue: queue.clone(), settings }));
        }
        Answer::Queue(Box::new(self.queue(now, queue)))
    }
}
