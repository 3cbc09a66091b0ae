//! The options that say which tasks, for each verb that takes them.

use std::time::SystemTime;

use crate::wire::proto::v1;

/// Why a task failed, as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Reason {
    Handler,
    ResultTooLarge,
    WorkerLost,
    Poisoned,
    TimedOut,
}

impl From<Reason> for v1::FailureReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Handler => Self::Handler,
            Reason::ResultTooLarge => Self::ResultTooLarge,
            Reason::WorkerLost => Self::WorkerLost,
            Reason::Poisoned => Self::Poisoned,
            Reason::TimedOut => Self::TimedOut,
        }
    }
}

/// A moment: as RFC 3339 has it, or so long ago.
pub(super) fn moment(text: &str) -> Result<SystemTime, String> {
    if let Ok(time) = humantime::parse_rfc3339_weak(text) {
        return Ok(time);
    }
    let ago = humantime::parse_duration(text).ok().and_then(|age| SystemTime::now().checked_sub(age));
    ago.ok_or_else(|| "write 2026-01-31T12:00:00Z, or 2h for two hours ago".to_owned())
}

pub(super) fn timestamp(time: SystemTime) -> prost_types::Timestamp {
    time.into()
}

/// Makes the options of one verb, each with an environment variable of that verb.
macro_rules! filter {
    ($name:ident, $prefix:literal) => {
        /// Which tasks: all conditions hold.
        #[derive(Debug, clap::Args)]
        #[command(next_help_heading = "Which tasks")]
        pub(super) struct $name {
            /// Only tasks of this queue; repeat for any of several
            #[arg(long = "queue", env = concat!($prefix, "QUEUE"), value_name = "QUEUE", value_delimiter = ',', hide_env_values = true)]
            queues: Vec<String>,
            /// Only tasks of this kind; repeat for any of several
            #[arg(long = "kind", env = concat!($prefix, "KIND"), value_name = "KIND", value_delimiter = ',', hide_env_values = true)]
            kinds: Vec<String>,
            /// Only tasks in this state; repeat for any of several
            #[arg(long = "state", env = concat!($prefix, "STATE"), value_name = "STATE", value_delimiter = ',', ignore_case = true, hide_env_values = true)]
            states: Vec<$crate::cli::options::State>,
            /// Only tasks with this label; repeat for all of several
            #[arg(long = "label", env = concat!($prefix, "LABEL"), value_name = "KEY=VALUE", value_parser = $crate::cli::options::label, hide_env_values = true)]
            labels: Vec<(String, String)>,
            /// Only tasks that failed for this reason; repeat for any of several
            #[arg(long = "reason", env = concat!($prefix, "REASON"), value_name = "REASON", value_delimiter = ',', ignore_case = true, hide_env_values = true)]
            reasons: Vec<$crate::cli::filter::Reason>,
            /// Only tasks created at this time or later: 2026-01-31T12:00:00Z, or 2h for two hours ago
            #[arg(long, env = concat!($prefix, "CREATED_FROM"), value_name = "TIME", value_parser = $crate::cli::filter::moment, hide_env_values = true)]
            created_from: Option<std::time::SystemTime>,
            /// Only tasks created before this time
            #[arg(long, env = concat!($prefix, "CREATED_UNTIL"), value_name = "TIME", value_parser = $crate::cli::filter::moment, hide_env_values = true)]
            created_until: Option<std::time::SystemTime>,
            /// Only tasks that ended at this time or later
            #[arg(long, env = concat!($prefix, "ENDED_FROM"), value_name = "TIME", value_parser = $crate::cli::filter::moment, hide_env_values = true)]
            ended_from: Option<std::time::SystemTime>,
            /// Only tasks that ended before this time
            #[arg(long, env = concat!($prefix, "ENDED_UNTIL"), value_name = "TIME", value_parser = $crate::cli::filter::moment, hide_env_values = true)]
            ended_until: Option<std::time::SystemTime>,
        }

        impl From<$name> for $crate::wire::proto::v1::TaskFilter {
            fn from(filter: $name) -> Self {
                use $crate::{cli::filter::timestamp, wire::proto::v1};
                Self {
                    queues: filter.queues,
                    kinds: filter.kinds,
                    states: filter.states.into_iter().map(|state| v1::TaskState::from(state).into()).collect(),
                    labels: filter.labels.into_iter().collect(),
                    failure_reasons: filter
                        .reasons
                        .into_iter()
                        .map(|reason| v1::FailureReason::from(reason).into())
                        .collect(),
                    create_time_from: filter.created_from.map(timestamp),
                    create_time_until: filter.created_until.map(timestamp),
                    end_time_from: filter.ended_from.map(timestamp),
                    end_time_until: filter.ended_until.map(timestamp),
                }
            }
        }
    };
}
pub(super) use filter;
