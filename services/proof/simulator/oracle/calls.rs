//! What users ask, and what they are answered.

use std::sync::Arc;

use super::Oracle;
use crate::{
    client::simulated::AskError,
    domain::{Answer, Call, Outcome, Refusal, Revision, Task, TaskId, TaskSpec, TaskState},
};

#[derive(Debug, Clone)]
enum Kind {
    Submit(Arc<TaskSpec>),
    Cancel,
    Get,
}

/// A call under way.
#[derive(Debug, Clone)]
pub struct Asked {
    id: TaskId,
    kind: Kind,
    /// The highest revision of the task that anybody had been told when the call was made.
    floor: Revision,
    /// Its submit had been acknowledged before.
    known: bool,
}

impl Oracle {
    /// None: nothing is held against such a call.
    pub fn asks(&mut self, call: &Call) -> Option<Asked> {
        let (id, kind) = match call {
            Call::Submit { task_id, spec, .. } => (task_id.clone(), Kind::Submit(spec.clone())),
            Call::Cancel { task_id } => (task_id.clone(), Kind::Cancel),
            Call::Get { task_id } => (task_id.clone(), Kind::Get),
            _ => return None,
        };
        let record = self.record(&id);
        match &kind {
            Kind::Submit(spec) => record.asked.push(spec.clone()),
            Kind::Cancel => record.cancel_asked = true,
            Kind::Get => {}
        }
        let (floor, known) = (record.told, record.acknowledged.is_some());
        Some(Asked { id, kind, floor, known })
    }

    pub fn answered(&mut self, asked: &Asked, answer: &Result<Answer, AskError>) {
        let Asked { id, kind, floor, known } = asked;
        match (kind, answer) {
            // Nobody knows what became of it, or nothing did.
            (_, Err(_)) | (Kind::Submit(_), Ok(Answer::Refused(Refusal::DeadlineExceeded))) => {}
            (_, Ok(Answer::Task(task))) => {
                self.told(id, kind, *floor, task);
            }
            (Kind::Submit(spec), Ok(Answer::Refused(Refusal::TaskExists))) => {
                let other = self.record(id).spec.as_ref().is_some_and(|there| there != spec);
                if !other {
                    self.violation(format!("I2: a submit of {id} was refused for another one, which is not there"));
                }
            }
            (Kind::Cancel, Ok(Answer::Refused(Refusal::TaskEnded))) => {
                if !self.record(id).has_ended() {
                    self.violation(format!("{id} was said to have ended before that was durable"));
                }
            }
            (Kind::Cancel | Kind::Get, Ok(Answer::Refused(Refusal::TaskNotFound))) => {
                if *known {
                    self.violation(format!("I11: {id} was acknowledged, and then not found"));
                }
            }
            (_, Ok(other)) => self.violation(format!("{id}: {kind:?} was answered {other:?}")),
        }
    }

    fn told(&mut self, id: &TaskId, kind: &Kind, floor: Revision, task: &Task) {
        let now = self.now;
        let record = self.record(id);
        record.told = record.told.max(task.revision);
        let mut problems = Vec::new();
        if record.spec.is_none() {
            problems.push("I1: it was told before it was durable".to_owned());
        }
        if task.revision < floor {
            problems.push(format!("I11: it was told at revision {:x}, after {:x} had been", task.revision.0, floor.0));
        }
        if task.state.is_terminal() && !record.has_ended() {
            problems.push(format!("its end as {:?} was told before it was durable", task.state));
        }
        match kind {
            Kind::Submit(spec) => {
                record.acknowledged.get_or_insert(now);
                if record.spec.as_ref().is_some_and(|there| there != spec) {
                    problems.push("I2: a submit was acknowledged, and another one is there".to_owned());
                }
            }
            Kind::Cancel => {
                let cancelled = record.status.as_ref().is_some_and(|status| status.outcome == Some(Outcome::Cancelled));
                if task.state != TaskState::Cancelled || !cancelled {
                    problems.push("a cancel was acknowledged, and it is not cancelled".to_owned());
                }
            }
            Kind::Get => {}
        }
        for problem in problems {
            self.violation(format!("{id}: {problem}"));
        }
    }
}
