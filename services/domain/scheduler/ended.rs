//! What may be done with a task that has ended: it is run once more, as a new task, or forgotten.

use std::sync::Arc;

use super::{Effect, Scheduler, calls::NewTask};
use crate::domain::{Answer, Change, Monotonic, Now, Refusal, Task, TaskId};

impl Scheduler {
    pub(super) fn retry(
        &mut self,
        now: Now,
        of: TaskId,
        task_id: TaskId,
        traceparent: Option<Arc<str>>,
        deadline: Monotonic,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        // Said again, it is the same retry, whatever has become of the old task.
        if let Some(entry) = self.table.get(&task_id)
            && entry.task.retry_of.as_ref() == Some(&of)
        {
            return Answer::Task(entry.task.clone());
        }
        match self.ended(&of) {
            Ok(task) => {
                let spec = task.spec.clone();
                self.submit(now, NewTask { task_id, spec, retry_of: Some(of), traceparent, deadline }, effects)
            }
            Err(refusal) => Answer::Refused(refusal),
        }
    }

    pub(super) fn delete(&mut self, task_id: &TaskId, effects: &mut Vec<Effect>) -> Answer {
        match self.ended(task_id).cloned() {
            Ok(task) => {
                self.retention.forget(task.state, task.revision);
                self.remove(task_id);
                effects.push(Effect::Change(Change::Removed { task_id: task_id.clone() }));
                Answer::Task(task)
            }
            Err(refusal) => Answer::Refused(refusal),
        }
    }

    fn ended(&self, task_id: &TaskId) -> Result<&Arc<Task>, Refusal> {
        if self.table.is_corrupt(task_id) {
            return Err(Refusal::CorruptRecord);
        }
        let task = self.table.get(task_id).map(|entry| &entry.task).ok_or(Refusal::TaskNotFound)?;
        if task.state.is_terminal() { Ok(task) } else { Err(Refusal::TaskNotEnded) }
    }
}
