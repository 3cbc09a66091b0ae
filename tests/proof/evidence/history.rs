//! What clients asked and were told: an invocation before the request leaves, an outcome after the answer came.

use herdsman::wire;
use serde::{Deserialize, Serialize};
use tonic::{Code, Status};

use super::{Moment, Spec, Told};

/// One line of `history.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Said {
    Asked { op: u64, client: String, at: Moment, call: Call },
    Answered { op: u64, at: Moment, outcome: Outcome },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum Call {
    Submit { task: String, spec: Spec },
    Get { task: String },
    Cancel { task: String },
}

impl Call {
    pub fn task(&self) -> &str {
        match self {
            Self::Submit { task, .. } | Self::Get { task } | Self::Cancel { task } => task,
        }
    }
}

/// An operation without an outcome counts as unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    Ok {
        told: Box<Told>,
    },
    /// It did not happen, and `reason` is why: TASK_NOT_FOUND, TASK_EXISTS, …
    Refused {
        code: String,
        reason: String,
    },
    /// It may have happened, or may yet happen.
    Unknown {
        code: String,
        reason: Option<String>,
        /// The server said when to try again.
        retry: bool,
    },
}

impl Outcome {
    /// A refusal is what Herdsman itself says is one, and is not of the moment.
    pub fn of_error(status: &Status) -> Self {
        use tonic_types::StatusExt;
        let code = format!("{:?}", status.code());
        let reason = wire::reason_of(status);
        let refused = matches!(
            status.code(),
            Code::InvalidArgument
                | Code::NotFound
                | Code::AlreadyExists
                | Code::FailedPrecondition
                | Code::ResourceExhausted
                | Code::DataLoss
        );
        match reason {
            Some(reason) if refused => Self::Refused { code, reason },
            reason => Self::Unknown { code, reason, retry: status.get_details_retry_info().is_some() },
        }
    }
}
