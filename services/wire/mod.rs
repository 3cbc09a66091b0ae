//! Where generated types stop: every message from outside becomes a domain value here, or an error that names its
//! field, and every error becomes a `tonic::Status` here.

mod bundle;
mod client_link;
mod cluster;
mod explanation;
mod filter;
mod pack;
mod policy;
mod queue;
mod record;
mod refusal;
mod selector;
mod standby_link;
mod status;
mod task;
mod worker_link;

pub use bundle::{Bundle, Bundled, unbundle};
pub use client_link::{ClientToLeader, LeaderToClient, detail_of};
pub use cluster::{cluster_from_proto, cluster_to_proto, drain_to_proto, worker_from_proto, worker_to_proto};
pub use explanation::{explanation_from_proto, explanation_to_proto, no_leader_to_proto};
pub use filter::{filter_from_proto, filter_to_proto};
pub use pack::{
    StatusEntry, UnreadableEntry, decode_assignment_entry, decode_pack, decode_packed_submission, decode_status_entry,
    encode_assignment_entry, encode_pack, encode_removal_entry, encode_status_entry,
};
pub use queue::{queue_to_proto, queue_update_from_proto};
pub use record::{
    decode_assignment, decode_drain, decode_queue, decode_status, decode_submission, encode_assignment, encode_drain,
    encode_queue, encode_status, encode_submission,
};
pub use standby_link::{LeaderToStandby, StandbyToLeader};
pub use status::{CallError, ERROR_DOMAIN, LinkRefusal, reason_of};
pub use task::{
    Detail, failure_from_proto, failure_to_proto, label, spec_from_proto, spec_to_proto, task_from_proto, task_to_proto,
};
pub use worker_link::{LeaderToWorker, WorkerToLeader};

/// The code generated from `proto/`.
pub mod proto {
    /// The public contract.
    #[allow(clippy::all, clippy::pedantic, missing_docs)]
    pub mod v1 {
        tonic::include_proto!("herdsman.v1");
    }
    /// The links between Herdsman's own services, and the stored records.
    #[allow(clippy::all, clippy::pedantic, missing_docs)]
    pub mod internal {
        /// Package `herdsman.internal.v1`.
        pub mod v1 {
            tonic::include_proto!("herdsman.internal.v1");
        }
    }

    /// Every .proto file of Herdsman's as an encoded `FileDescriptorSet`.
    pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("herdsman");
}

/// A message that is not valid, and the field that makes it so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidField {
    /// The path of the field in the request, as in the .proto: `spec.labels`.
    pub field: String,
    pub problem: String,
}

impl InvalidField {
    pub fn new(field: impl Into<String>, problem: impl std::fmt::Display) -> Self {
        Self { field: field.into(), problem: problem.to_string() }
    }

    /// The same, seen from the message that contains it.
    #[must_use]
    pub fn within(mut self, parent: &str) -> Self {
        let dot = if self.field.is_empty() { "" } else { "." };
        self.field = format!("{parent}{dot}{}", self.field);
        self
    }
}

/// Parses an id or a name.
pub fn name<T: std::str::FromStr>(field: &str, text: &str) -> Result<T, InvalidField>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error| InvalidField::new(field, error))
}

/// The same; None if it is empty.
fn optional_name<T: std::str::FromStr>(field: &str, text: &str) -> Result<Option<T>, InvalidField>
where
    T::Err: std::fmt::Display,
{
    if text.is_empty() { Ok(None) } else { name(field, text).map(Some) }
}

/// Parses a list of them; the error names the item: `queues[0]`.
pub fn names<T: std::str::FromStr, C: FromIterator<T>>(field: &str, texts: &[String]) -> Result<C, InvalidField>
where
    T::Err: std::fmt::Display,
{
    items(field, texts, |text| text.parse::<T>().map_err(|error| InvalidField::new("", error)))
}

/// Reads a list; the error names the item, and the field within it if there is one: `tasks[3].state`.
fn items<Q, T, C: FromIterator<T>>(
    field: &str,
    items: impl IntoIterator<Item = Q>,
    read: impl Fn(Q) -> Result<T, InvalidField>,
) -> Result<C, InvalidField> {
    let item = |(at, item)| read(item).map_err(|error| error.within(&format!("{field}[{at}]")));
    items.into_iter().enumerate().map(item).collect()
}
