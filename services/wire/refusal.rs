//! Why the leader did not do it, on the link of a client service.

use super::{InvalidField, name, proto::internal::v1 as link};
use crate::domain::{Budget, Refusal};

pub fn refusal_to_proto(refusal: &Refusal) -> link::Refusal {
    let mut budget = link::Budget::Unspecified;
    let mut queue = String::new();
    let reason = match refusal {
        Refusal::TaskNotFound => link::RefusalReason::TaskNotFound,
        Refusal::TaskExists => link::RefusalReason::TaskExists,
        Refusal::CorruptRecord => link::RefusalReason::CorruptRecord,
        Refusal::TaskEnded => link::RefusalReason::TaskEnded,
        Refusal::TaskNotEnded => link::RefusalReason::TaskNotEnded,
        Refusal::BudgetExhausted(exhausted) => {
            budget = match exhausted {
                Budget::Tasks => link::Budget::Tasks,
                Budget::Bytes => link::Budget::Bytes,
            };
            link::RefusalReason::BudgetExhausted
        }
        Refusal::DeadlineExceeded => link::RefusalReason::DeadlineExceeded,
        Refusal::TooManyWatches => link::RefusalReason::TooManyWatches,
        Refusal::QueueFull(full) => {
            queue = full.to_string();
            link::RefusalReason::QueueFull
        }
        Refusal::TooManyQueues => link::RefusalReason::TooManyQueues,
        Refusal::TooManySelectors => link::RefusalReason::TooManySelectors,
        Refusal::WorkerNotFound => link::RefusalReason::WorkerNotFound,
        Refusal::TooManyDrained => link::RefusalReason::TooManyDrained,
        Refusal::Invalid(_) => link::RefusalReason::Invalid,
    };
    let message = match refusal {
        Refusal::Invalid(problem) => problem.to_string(),
        other => other.to_string(),
    };
    link::Refusal { reason: reason.into(), message, budget: budget.into(), queue }
}

/// # Errors
/// The leader is of a version that refuses for other reasons.
pub fn refusal_from_proto(refusal: link::Refusal) -> Result<Refusal, InvalidField> {
    Ok(match refusal.reason() {
        link::RefusalReason::TaskNotFound => Refusal::TaskNotFound,
        link::RefusalReason::TaskExists => Refusal::TaskExists,
        link::RefusalReason::CorruptRecord => Refusal::CorruptRecord,
        link::RefusalReason::TaskEnded => Refusal::TaskEnded,
        link::RefusalReason::TaskNotEnded => Refusal::TaskNotEnded,
        link::RefusalReason::BudgetExhausted => match refusal.budget() {
            link::Budget::Bytes => Refusal::BudgetExhausted(Budget::Bytes),
            link::Budget::Tasks | link::Budget::Unspecified => Refusal::BudgetExhausted(Budget::Tasks),
        },
        link::RefusalReason::DeadlineExceeded => Refusal::DeadlineExceeded,
        link::RefusalReason::TooManyWatches => Refusal::TooManyWatches,
        link::RefusalReason::QueueFull => Refusal::QueueFull(name("reply.refusal.queue", &refusal.queue)?),
        link::RefusalReason::TooManyQueues => Refusal::TooManyQueues,
        link::RefusalReason::TooManySelectors => Refusal::TooManySelectors,
        link::RefusalReason::WorkerNotFound => Refusal::WorkerNotFound,
        link::RefusalReason::TooManyDrained => Refusal::TooManyDrained,
        link::RefusalReason::Invalid => Refusal::Invalid(refusal.message.into()),
        link::RefusalReason::Unspecified => {
            return Err(InvalidField::new("reply.refusal.reason", format!("{} is unknown", refusal.reason)));
        }
    })
}
