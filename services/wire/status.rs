//! Every error that leaves by gRPC becomes a `tonic::Status` here, with google.rpc details, and nowhere else.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::{InvalidField, proto::v1};
use crate::domain::{Refusal, TaskId, WorkerId};

/// The domain of every `ErrorInfo`.
pub const ERROR_DOMAIN: &str = "herdsman";
/// When a submit that ran into a budget may try again: retention frees room in steps of about this.
const BUDGET_RETRY_DELAY: Duration = Duration::from_secs(5);
/// When a submit to a full queue may try again: tasks of it start all the time.
const QUEUE_RETRY_DELAY: Duration = Duration::from_secs(1);
/// When a submit with one selector too many may try again: tasks end all the time, but whole groups of them seldom.
const SELECTOR_RETRY_DELAY: Duration = Duration::from_secs(5);
/// When to try again where a moment is enough: another client service, or the next leader, is a reconnect away.
const SHORT_RETRY_DELAY: Duration = Duration::from_millis(500);

/// How much of an id that is none is told, in bytes: enough to see that it is too long.
const LONGEST_ID_TOLD: usize = 64;

/// Why a call of the public contract failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error(transparent)]
    Invalid(#[from] InvalidField),
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What [`Refusal::CorruptRecord`] is to a submit.
    #[error("this id is taken: its stored record cannot be read")]
    CorruptExists,
    /// No leader answered in time. Whether a submit or a cancel was done is not known; repeating it is safe.
    #[error("no leader answered in time")]
    NoLeader,
    /// The caller's own deadline passed before a leader answered.
    #[error("the deadline passed before the leader answered")]
    DeadlineExceeded,
    /// This client service is stopping; another one serves.
    #[error("this client service is draining")]
    Draining,
    /// A limit of this client service.
    #[error("this client service has too many {0} open")]
    Busy(&'static str),
    /// More is offered than the cluster takes.
    #[error("this client service has as many calls under way as it may: more is offered than the cluster takes")]
    Overloaded,
    /// Nothing is kept of an attempt's output, for this reason.
    #[error("{0}")]
    OutputNotFound(std::borrow::Cow<'static, str>),
    #[error("worker {0}, which has the output, does not answer")]
    WorkerUnreachable(WorkerId),
    /// A limit of this client service, or of the worker.
    #[error("too many outputs are being read")]
    TooManyReads,
}

impl CallError {
    /// `ErrorInfo.reason` of [`CallError::Overloaded`].
    pub const OVERLOADED: &str = "OVERLOADED";

    pub fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidArgument,
            Self::Refused(Refusal::Invalid(_)) => Code::Internal,
            Self::Refused(Refusal::TaskNotFound | Refusal::WorkerNotFound) | Self::OutputNotFound(_) => Code::NotFound,
            Self::Refused(Refusal::TaskExists) | Self::CorruptExists => Code::AlreadyExists,
            Self::Refused(Refusal::CorruptRecord) => Code::DataLoss,
            Self::Refused(Refusal::TaskEnded | Refusal::TaskNotEnded) => Code::FailedPrecondition,
            Self::Refused(
                Refusal::BudgetExhausted(_)
                | Refusal::TooManyWatches
                | Refusal::QueueFull(_)
                | Refusal::TooManyQueues
                | Refusal::TooManyDrained
                | Refusal::TooManySelectors,
            )
            | Self::Busy(_)
            | Self::Overloaded
            | Self::TooManyReads => Code::ResourceExhausted,
            Self::Refused(Refusal::DeadlineExceeded) | Self::DeadlineExceeded => Code::DeadlineExceeded,
            Self::NoLeader | Self::Draining | Self::WorkerUnreachable(_) => Code::Unavailable,
        }
    }

    /// As `ErrorInfo.reason`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "INVALID_FIELD",
            Self::Refused(Refusal::Invalid(_)) => "VERSION_MISMATCH",
            Self::Refused(Refusal::TaskNotFound) => "TASK_NOT_FOUND",
            Self::Refused(Refusal::TaskExists) => "TASK_EXISTS",
            Self::Refused(Refusal::CorruptRecord) | Self::CorruptExists => "CORRUPT_RECORD",
            Self::Refused(Refusal::TaskEnded) => "TASK_ENDED",
            Self::Refused(Refusal::TaskNotEnded) => "TASK_NOT_ENDED",
            Self::Refused(Refusal::BudgetExhausted(_)) => "BUDGET_EXHAUSTED",
            Self::Refused(Refusal::TooManyWatches) | Self::Busy(_) => "TOO_MANY_WATCHES",
            Self::Refused(Refusal::QueueFull(_)) => "QUEUE_FULL",
            Self::Refused(Refusal::TooManyQueues) => "TOO_MANY_QUEUES",
            Self::Refused(Refusal::WorkerNotFound) => "WORKER_NOT_FOUND",
            Self::Refused(Refusal::TooManyDrained) => "TOO_MANY_DRAINED",
            Self::Refused(Refusal::TooManySelectors) => "TOO_MANY_SELECTORS",
            Self::Overloaded => Self::OVERLOADED,
            Self::Refused(Refusal::DeadlineExceeded) | Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NoLeader => "NO_LEADER",
            Self::Draining => "DRAINING",
            Self::OutputNotFound(_) => "OUTPUT_NOT_FOUND",
            Self::WorkerUnreachable(_) => "WORKER_UNREACHABLE",
            Self::TooManyReads => "TOO_MANY_READS",
        }
    }

    /// When trying again may help.
    fn retry_delay(&self) -> Option<Duration> {
        match self {
            Self::Refused(Refusal::BudgetExhausted(_)) => Some(BUDGET_RETRY_DELAY),
            Self::Refused(Refusal::QueueFull(_)) => Some(QUEUE_RETRY_DELAY),
            Self::Refused(Refusal::TooManySelectors) => Some(SELECTOR_RETRY_DELAY),
            Self::NoLeader
            | Self::Draining
            | Self::Busy(_)
            | Self::Overloaded
            | Self::WorkerUnreachable(_)
            | Self::TooManyReads
            | Self::Refused(Refusal::TooManyWatches) => Some(SHORT_RETRY_DELAY),
            _ => None,
        }
    }

    /// The status, with every detail; `task_id` is the task that it is about, if one is.
    pub fn status(&self, task_id: Option<&TaskId>) -> Status {
        let task = task_id.map(|id| ("task_id".to_owned(), id.to_string()));
        let full = if let Self::Refused(Refusal::QueueFull(queue)) = self { Some(queue.to_string()) } else { None };
        let queue = full.map(|queue| ("queue".to_owned(), queue));
        let metadata: HashMap<_, _> = task.into_iter().chain(queue).collect();
        let mut details = ErrorDetails::with_error_info(self.reason(), ERROR_DOMAIN, metadata);
        if let Self::Invalid(invalid) = self {
            details.add_bad_request_violation(&invalid.field, &invalid.problem);
        }
        if let Some(delay) = self.retry_delay() {
            details.set_retry_info(Some(delay));
        }
        Status::with_error_details(self.code(), self.to_string(), details)
    }

    /// The same for one item of a call about many; an id that is not valid is given back as it came, but for its length: an
    /// answer is not to grow by what was sent wrong.
    pub fn item(&self, task_id: &str) -> v1::SubmitTaskError {
        let field = if let Self::Invalid(invalid) = self { invalid.field.clone() } else { String::new() };
        v1::SubmitTaskError {
            code: self.code().into(),
            message: self.to_string(),
            reason: self.reason().to_owned(),
            task_id: task_id[..task_id.floor_char_boundary(LONGEST_ID_TOLD)].to_owned(),
            field,
            retry_delay: self.retry_delay().and_then(|delay| delay.try_into().ok()),
        }
    }
}

/// Why the leader's end refuses, or ends, a link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkRefusal {
    #[error("this master does not lead")]
    NotLeader,
    #[error("another incarnation of worker {0} has a link")]
    IncarnationConflict(WorkerId),
    /// A message that is not valid, or not in its place.
    #[error(transparent)]
    Invalid(#[from] InvalidField),
    #[error("nothing was heard from the other end for too long")]
    Silent,
    #[error("this master has too many links")]
    TooManyLinks,
}

impl LinkRefusal {
    /// `ErrorInfo.reason` of [`LinkRefusal::NotLeader`].
    pub const NOT_LEADER: &str = "NOT_LEADER";
    /// `ErrorInfo.reason` of [`LinkRefusal::IncarnationConflict`].
    pub const INCARNATION_CONFLICT: &str = "INCARNATION_CONFLICT";

    /// As `ErrorInfo.reason`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotLeader => Self::NOT_LEADER,
            Self::IncarnationConflict(_) => Self::INCARNATION_CONFLICT,
            Self::Invalid(_) => "INVALID_FIELD",
            Self::Silent => "SILENT",
            Self::TooManyLinks => "TOO_MANY_LINKS",
        }
    }
}

impl From<LinkRefusal> for Status {
    fn from(refusal: LinkRefusal) -> Self {
        let code = match &refusal {
            LinkRefusal::NotLeader | LinkRefusal::IncarnationConflict(_) => Code::FailedPrecondition,
            LinkRefusal::Invalid(_) => Code::InvalidArgument,
            LinkRefusal::Silent => Code::Unavailable,
            LinkRefusal::TooManyLinks => Code::ResourceExhausted,
        };
        let mut details = ErrorDetails::with_error_info(refusal.reason(), ERROR_DOMAIN, HashMap::new());
        if let LinkRefusal::Invalid(invalid) = &refusal {
            details.add_bad_request_violation(&invalid.field, &invalid.problem);
        }
        Status::with_error_details(code, refusal.to_string(), details)
    }
}

/// `ErrorInfo.reason` of a status that Herdsman made.
pub fn reason_of(status: &Status) -> Option<String> {
    status.get_details_error_info().filter(|info| info.domain == ERROR_DOMAIN).map(|info| info.reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Budget;

    #[test]
    fn an_error_carries_its_reason_and_its_task() {
        let id = "a".parse().unwrap();
        let status = CallError::Refused(Refusal::CorruptRecord).status(Some(&id));
        assert_eq!(status.code(), Code::DataLoss);
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("CORRUPT_RECORD", "herdsman"));
        assert_eq!(info.metadata["task_id"], "a");
    }

    #[test]
    fn a_full_queue_is_named_and_the_submit_may_try_again() {
        let status =
            CallError::from(Refusal::QueueFull("nightly".parse().unwrap())).status(Some(&"a".parse().unwrap()));
        assert_eq!(status.code(), Code::ResourceExhausted);
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.metadata["queue"].as_str()), ("QUEUE_FULL", "nightly"));
        assert_eq!(info.metadata["task_id"], "a");
        assert!(status.get_details_retry_info().is_some() && status.message().contains("nightly"), "{status:?}");
    }

    #[test]
    fn a_leader_of_another_version_is_not_the_caller_s_fault() {
        let status = CallError::from(Refusal::Invalid("question: must be set".into())).status(None);
        assert_eq!(status.code(), Code::Internal);
        assert_eq!(reason_of(&status).as_deref(), Some("VERSION_MISMATCH"));
        assert!(status.get_details_bad_request().is_none());
    }

    #[test]
    fn an_item_says_when_to_try_again_and_gives_back_no_more_than_an_id() {
        let delay = CallError::NoLeader.item("a").retry_delay.unwrap();
        assert_eq!((delay.seconds, delay.nanos), (0, 500_000_000));
        let long = CallError::from(InvalidField::new("task_id", "is too long")).item(&"ä".repeat(100));
        assert_eq!((long.task_id.len(), long.retry_delay), (64, None));
    }

    #[test]
    fn what_passes_by_itself_says_when_to_try_again() {
        for error in [
            CallError::NoLeader,
            CallError::Draining,
            CallError::Overloaded,
            Refusal::BudgetExhausted(Budget::Bytes).into(),
            Refusal::TooManySelectors.into(),
        ] {
            let status = error.status(None);
            assert!(status.get_details_retry_info().is_some(), "{error}");
        }
        assert!(CallError::from(Refusal::TaskEnded).status(None).get_details_retry_info().is_none());
    }

    #[test]
    fn an_invalid_field_is_named() {
        let status = CallError::from(InvalidField::new("spec.kind", "must not be empty")).status(None);
        assert_eq!(status.code(), Code::InvalidArgument);
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "spec.kind");
    }

    #[test]
    fn a_link_refusal_can_be_told_from_a_stranger_s_status() {
        assert_eq!(reason_of(&LinkRefusal::NotLeader.into()).as_deref(), Some(LinkRefusal::NOT_LEADER));
        assert_eq!(reason_of(&Status::failed_precondition("no")), None);
    }
}
