//! The link between a standby and the leader, in and out.

use std::time::Duration;

use uuid::Uuid;

use super::{InvalidField, bundle::nested_bundle, proto::internal::v1 as link};
use crate::domain::Term;

/// What a standby says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StandbyToLeader {
    /// First, once.
    Hello {
        /// Of its program.
        version: String,
        /// As in its election node.
        candidate: Uuid,
    },
    Heartbeat,
    Goodbye,
}

/// What the leader says to a standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaderToStandby {
    /// First, once.
    Welcome {
        term: Term,
        /// From now, the leader must not be deposed by suspicion for this long.
        immune_for: Duration,
        /// Given to the leader at the start of its term, for its successor to double. Zero: none.
        immunity: Duration,
    },
    Heartbeat,
    Goodbye,
}

impl From<StandbyToLeader> for link::LinkStandbyRequest {
    fn from(message: StandbyToLeader) -> Self {
        use link::link_standby_request::Message;
        let message = match message {
            StandbyToLeader::Hello { version, candidate } => {
                Message::Hello(link::StandbyHello { version, candidate_id: candidate.to_string() })
            }
            StandbyToLeader::Heartbeat => Message::Heartbeat(link::Heartbeat {}),
            StandbyToLeader::Goodbye => Message::Goodbye(link::Goodbye {}),
        };
        Self { message: Some(message) }
    }
}

impl TryFrom<link::LinkStandbyRequest> for StandbyToLeader {
    type Error = InvalidField;

    fn try_from(request: link::LinkStandbyRequest) -> Result<Self, InvalidField> {
        use link::link_standby_request::Message;
        Ok(match request.message.ok_or_else(|| InvalidField::new("message", "must be set"))? {
            Message::Hello(hello) => Self::Hello {
                version: hello.version,
                candidate: Uuid::parse_str(&hello.candidate_id)
                    .map_err(|error| InvalidField::new("hello.candidate_id", error))?,
            },
            Message::Heartbeat(_) => Self::Heartbeat,
            Message::Goodbye(_) => Self::Goodbye,
            Message::Bundle(_) => return Err(nested_bundle()),
        })
    }
}

impl From<LeaderToStandby> for link::LinkStandbyResponse {
    fn from(message: LeaderToStandby) -> Self {
        use link::link_standby_response::Message;
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let message = match message {
            LeaderToStandby::Welcome { term, immune_for, immunity } => Message::Welcome(link::StandbyWelcome {
                term: term.0,
                immune_for_ms: millis(immune_for),
                immunity_ms: millis(immunity),
            }),
            LeaderToStandby::Heartbeat => Message::Heartbeat(link::Heartbeat {}),
            LeaderToStandby::Goodbye => Message::Goodbye(link::Goodbye {}),
        };
        Self { message: Some(message) }
    }
}

impl TryFrom<link::LinkStandbyResponse> for LeaderToStandby {
    type Error = InvalidField;

    fn try_from(response: link::LinkStandbyResponse) -> Result<Self, InvalidField> {
        use link::link_standby_response::Message;
        Ok(match response.message.ok_or_else(|| InvalidField::new("message", "must be set"))? {
            Message::Welcome(welcome) => Self::Welcome {
                term: Term(welcome.term),
                immune_for: Duration::from_millis(welcome.immune_for_ms),
                immunity: Duration::from_millis(welcome.immunity_ms),
            },
            Message::Heartbeat(_) => Self::Heartbeat,
            Message::Goodbye(_) => Self::Goodbye,
            Message::Bundle(_) => return Err(nested_bundle()),
        })
    }
}
