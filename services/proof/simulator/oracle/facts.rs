//! What a write says, wherever it lies: a record in a node of its own, or in one that it shares.

use bytes::Bytes;

use super::Written;
use crate::{
    domain::{Assignment, Status, Submission, TaskId},
    proof::tree::Operation,
    store::zookeeper::proof::paths::{self, Place},
    wire::{self, StatusEntry},
};

#[derive(Debug)]
pub enum Fact {
    Submitted(Submission),
    Assigned(Assignment),
    Status(TaskId, Status),
    /// The node of an assignment went.
    Voided(Assignment),
    Removed(TaskId),
}

impl Fact {
    /// The order in which a leader decided what it wrote at once: by revisions, and a fence is one.
    fn order(&self) -> (u8, u64) {
        match self {
            Self::Submitted(submission) => (0, submission.revision.0),
            Self::Assigned(assignment) => (1, assignment.fence.0),
            Self::Status(_, status) => (1, status.revision.0),
            Self::Voided(_) | Self::Removed(_) => (2, 0),
        }
    }
}

/// Everything that a write says, in its order.
///
/// # Errors
/// A node or a record is none that a leader writes.
pub fn facts(written: &Written<'_>) -> Result<Vec<Fact>, String> {
    let mut facts = Vec::new();
    for (operation, before) in written.operations.iter().zip(written.before) {
        let path = operation.path();
        let wrong = |problem: String| format!("{path}: {problem}");
        let place = paths::place(path).map_err(wrong)?;
        let old = before.as_ref().map(|node| node.data.clone());
        match operation {
            Operation::Check { .. } => {}
            Operation::Create { data, .. } => told(&place, data, &mut facts).map_err(wrong)?,
            Operation::Set { data, .. } => match place {
                Place::Fixed | Place::Status(_) | Place::Queue(_) | Place::Drain(_) => {
                    told(&place, data, &mut facts).map_err(wrong)?;
                }
                other => return Err(wrong(format!("{other:?} was written again"))),
            },
            Operation::Delete { .. } => match place {
                Place::Task(id) | Place::Status(id) => facts.push(Fact::Removed(id)),
                // Created and gone in one write, it was never there.
                Place::Assignment(worker, id) => {
                    let old = old.map(|data| wire::decode_assignment(&worker, &id, &data)).transpose();
                    facts.extend(old.map_err(|error| wrong(error.to_string()))?.map(Fact::Voided));
                }
                // What was in them is superseded elsewhere.
                Place::Fixed
                | Place::Worker(_)
                | Place::TaskPack(_)
                | Place::StatusPack(_)
                | Place::AssignmentPack(..)
                | Place::Queue(_)
                | Place::Drain(_) => {}
            },
        }
    }
    facts.sort_by_key(Fact::order);
    Ok(facts)
}

fn told(place: &Place, data: &[u8], facts: &mut Vec<Fact>) -> Result<(), String> {
    let text = |error: wire::InvalidField| error.to_string();
    match place {
        Place::Fixed | Place::Worker(_) | Place::Queue(_) | Place::Drain(_) => {}
        Place::Task(id) => facts.push(Fact::Submitted(wire::decode_submission(id, data).map_err(text)?)),
        Place::Status(id) => facts.push(Fact::Status(id.clone(), wire::decode_status(data).map_err(text)?)),
        Place::Assignment(worker, id) => {
            facts.push(Fact::Assigned(wire::decode_assignment(worker, id, data).map_err(text)?));
        }
        Place::TaskPack(_) => {
            for entry in entries(data)? {
                let submission = wire::decode_packed_submission(&entry).map_err(|error| error.to_string())?;
                facts.push(Fact::Submitted(submission));
            }
        }
        Place::StatusPack(_) => {
            for entry in entries(data)? {
                facts.push(match wire::decode_status_entry(&entry).map_err(|error| error.to_string())? {
                    StatusEntry::Status(id, status) => Fact::Status(id, status),
                    StatusEntry::Removed(id, _) => Fact::Removed(id),
                });
            }
        }
        Place::AssignmentPack(worker, _) => {
            for entry in entries(data)? {
                let assignment = wire::decode_assignment_entry(worker, &entry).map_err(|error| error.to_string())?;
                facts.push(Fact::Assigned(assignment));
            }
        }
    }
    Ok(())
}

fn entries(data: &[u8]) -> Result<Vec<Bytes>, String> {
    match wire::decode_pack(data.to_vec()) {
        (entries, None) => Ok(entries),
        (_, Some(problem)) => Err(problem.to_string()),
    }
}
