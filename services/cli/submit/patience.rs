//! What a submit says of its tasks in time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;

use crate::{cli::options::duration, wire::proto::v1};

#[derive(Debug, Args)]
pub(super) struct Patience {
    /// Failed attempts after which it has failed; not given: 1
    #[arg(long, env = "HERDSMAN_SUBMIT_MAX_ATTEMPTS", value_name = "N", value_parser = clap::value_parser!(i32).range(1..), hide_env_values = true)]
    max_attempts: Option<i32>,
    /// Wait after its first failed attempt; not given: 1s
    #[arg(long, env = "HERDSMAN_SUBMIT_INITIAL_BACKOFF", value_name = "DURATION", value_parser = duration, requires = "max_attempts", hide_env_values = true)]
    initial_backoff: Option<Duration>,
    /// Each later wait is so many times the one before; not given: 2
    #[arg(
        long,
        env = "HERDSMAN_SUBMIT_BACKOFF_MULTIPLIER",
        value_name = "FACTOR",
        requires = "max_attempts",
        hide_env_values = true
    )]
    backoff_multiplier: Option<f64>,
    /// Longest wait between attempts; not given: 5m
    #[arg(long, env = "HERDSMAN_SUBMIT_MAX_BACKOFF", value_name = "DURATION", value_parser = duration, requires = "max_attempts", hide_env_values = true)]
    max_backoff: Option<Duration>,
    /// Exit status of a program after which it is not tried again; repeat for several. Not given: 65 to 78 without 75
    #[arg(
        long = "final-exit-status",
        env = "HERDSMAN_SUBMIT_FINAL_EXIT_STATUS",
        value_name = "STATUS",
        value_delimiter = ',',
        requires = "max_attempts",
        hide_env_values = true
    )]
    final_exit_statuses: Vec<i32>,
    /// It has failed if no worker takes it for so long
    #[arg(long, env = "HERDSMAN_SUBMIT_SCHEDULE_TO_START", value_name = "DURATION", value_parser = duration, hide_env_values = true)]
    schedule_to_start: Option<Duration>,
    /// An attempt that takes longer is stopped, and has failed
    #[arg(long, env = "HERDSMAN_SUBMIT_START_TO_CLOSE", value_name = "DURATION", value_parser = duration, hide_env_values = true)]
    start_to_close: Option<Duration>,
    /// An attempt that has not said for so long how far it is is stopped, and has failed
    #[arg(long, env = "HERDSMAN_SUBMIT_HEARTBEAT", value_name = "DURATION", value_parser = duration, hide_env_values = true)]
    heartbeat: Option<Duration>,
    /// It has failed if it is not done so long after the submit, every attempt included
    #[arg(long, env = "HERDSMAN_SUBMIT_SCHEDULE_TO_CLOSE", value_name = "DURATION", value_parser = duration, hide_env_values = true)]
    schedule_to_close: Option<Duration>,
    /// It does not begin before so long after the submit
    #[arg(long, env = "HERDSMAN_SUBMIT_DELAY", value_name = "DURATION", value_parser = duration, conflicts_with = "not_before", hide_env_values = true)]
    delay: Option<Duration>,
    /// It does not begin before this time, as 2030-01-31T08:00:00Z
    #[arg(long, env = "HERDSMAN_SUBMIT_NOT_BEFORE", value_name = "TIME", value_parser = moment, hide_env_values = true)]
    not_before: Option<SystemTime>,
}

impl Patience {
    /// A spec with what was said, and nothing else.
    pub(super) fn spec(&self) -> v1::TaskSpec {
        let proto = |duration: Option<Duration>| duration.and_then(|duration| duration.try_into().ok());
        let statuses = &self.final_exit_statuses;
        let retry = self.max_attempts.map(|max_attempts| v1::RetryPolicy {
            max_attempts,
            initial_backoff: proto(self.initial_backoff),
            backoff_multiplier: self.backoff_multiplier,
            max_backoff: proto(self.max_backoff),
            final_exit_statuses: (!statuses.is_empty()).then(|| v1::ExitStatuses { statuses: statuses.clone() }),
        });
        let timeouts = v1::Timeouts {
            schedule_to_start: proto(self.schedule_to_start),
            start_to_close: proto(self.start_to_close),
            schedule_to_close: proto(self.schedule_to_close),
            heartbeat: proto(self.heartbeat),
        };
        v1::TaskSpec {
            retry,
            timeouts: (timeouts != v1::Timeouts::default()).then_some(timeouts),
            not_before: self.not_before.map(Into::into),
            delay: proto(self.delay),
            ..v1::TaskSpec::default()
        }
    }
}

fn moment(text: &str) -> Result<SystemTime, String> {
    match humantime::parse_rfc3339_weak(text) {
        Ok(time) if time >= UNIX_EPOCH => Ok(time),
        Ok(_) => Err("must be after 1970".to_owned()),
        Err(error) => Err(format!("{error}; write 2030-01-31T08:00:00Z")),
    }
}
