//! A task as a client sees it, in plain words.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use herdsman::wire::proto::v1;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Bytes, in base64.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(D::Error::custom)
    }
}

/// What is to be done, as sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Spec {
    pub kind: String,
    pub queue: String,
    pub payload: Bytes,
    pub labels: BTreeMap<String, String>,
    pub priority: Option<i32>,
    pub at_most_once: bool,
}

impl From<&v1::TaskSpec> for Spec {
    fn from(spec: &v1::TaskSpec) -> Self {
        Self {
            kind: spec.kind.clone(),
            queue: spec.queue.clone(),
            payload: Bytes(spec.payload.to_vec()),
            labels: spec.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            priority: spec.priority,
            at_most_once: spec.at_most_once,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Pending,
    Assigned,
    Running,
    Succeeded,
    Failed,
    Cancelled,
    /// None of those that were known when this was written.
    Other,
}

impl State {
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

impl From<v1::TaskState> for State {
    fn from(state: v1::TaskState) -> Self {
        match state {
            v1::TaskState::Pending => Self::Pending,
            v1::TaskState::Assigned => Self::Assigned,
            v1::TaskState::Running => Self::Running,
            v1::TaskState::Succeeded => Self::Succeeded,
            v1::TaskState::Failed => Self::Failed,
            v1::TaskState::Cancelled => Self::Cancelled,
            v1::TaskState::Unspecified => Self::Other,
        }
    }
}

/// A task as a client was told of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Told {
    pub task: String,
    pub state: State,
    pub attempt: i32,
    pub worker: String,
    pub revision: u64,
    pub fence: u64,
    /// As told: only a get tells the payload.
    pub spec: Spec,
    pub result: Bytes,
    /// The reason of a failure, in the words of the contract.
    pub failure: Option<String>,
}

impl From<&v1::Task> for Told {
    fn from(task: &v1::Task) -> Self {
        Self {
            task: task.task_id.clone(),
            state: task.state().into(),
            attempt: task.attempt,
            worker: task.worker_id.clone(),
            revision: task.revision,
            fence: task.fence,
            spec: task.spec.as_ref().map(Spec::from).unwrap_or_default(),
            result: Bytes(task.result.to_vec()),
            failure: task.failure.as_ref().map(|failure| failure.reason().as_str_name().to_owned()),
        }
    }
}
