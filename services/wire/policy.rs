//! What a spec expects in time, in and out.

use std::time::Duration;

use super::{
    InvalidField, items,
    proto::v1,
    task::{time_from_proto, time_to_proto},
};
use crate::domain::{EXIT_STATUSES, MAX_ATTEMPTS, MAX_TIME, Multiplier, Policy, RetryPolicy, Timeout, Timeouts};

/// As [`Multiplier::ONE`].
const THOUSANDTHS: f64 = 1_000.0;

/// None: nothing of it was said.
pub(super) fn policy_from_proto(
    retry: Option<v1::RetryPolicy>,
    timeouts: Option<v1::Timeouts>,
    not_before: Option<prost_types::Timestamp>,
    delay: Option<prost_types::Duration>,
) -> Result<Option<Box<Policy>>, InvalidField> {
    let policy = Policy {
        retry: retry.map(retry_from_proto).transpose().map_err(|error| error.within("retry"))?,
        timeouts: timeouts.map(timeouts_from_proto).transpose().map_err(|error| error.within("timeouts"))?,
        not_before: time_from_proto("not_before", not_before)?,
        delay: duration_from_proto("delay", delay)?,
    };
    Ok((!policy.is_empty()).then(|| Box::new(policy)))
}

/// A spec with a policy, and nothing else.
pub(super) fn policy_to_proto(policy: Option<&Policy>) -> v1::TaskSpec {
    let Some(policy) = policy else { return v1::TaskSpec::default() };
    v1::TaskSpec {
        retry: policy.retry.as_ref().map(|retry| v1::RetryPolicy {
            max_attempts: i32::try_from(retry.max_attempts).unwrap_or(i32::MAX),
            initial_backoff: retry.initial_backoff.map(duration_to_proto),
            backoff_multiplier: retry.backoff_multiplier.map(|factor| f64::from(factor.thousandths()) / THOUSANDTHS),
            max_backoff: retry.max_backoff.map(duration_to_proto),
            final_exit_statuses: retry
                .final_exit_statuses
                .as_ref()
                .map(|statuses| v1::ExitStatuses { statuses: statuses.iter().copied().collect() }),
        }),
        timeouts: policy.timeouts.as_ref().map(|timeouts| v1::Timeouts {
            schedule_to_start: timeouts.schedule_to_start.map(duration_to_proto),
            start_to_close: timeouts.start_to_close.map(duration_to_proto),
            schedule_to_close: timeouts.schedule_to_close.map(duration_to_proto),
            heartbeat: timeouts.heartbeat.map(duration_to_proto),
        }),
        not_before: policy.not_before.map(time_to_proto),
        delay: policy.delay.map(duration_to_proto),
        ..v1::TaskSpec::default()
    }
}

/// Each is a part of the other.
const PARTS: [(Timeout, Timeout); 4] = [
    (Timeout::ScheduleToStart, Timeout::ScheduleToClose),
    (Timeout::StartToClose, Timeout::ScheduleToClose),
    (Timeout::Heartbeat, Timeout::ScheduleToClose),
    (Timeout::Heartbeat, Timeout::StartToClose),
];

/// What contradicts itself.
pub(super) fn check_together(policy: &Policy, at_most_once: bool) -> Result<(), InvalidField> {
    let refuse = |field: &str, problem: &str| Err(InvalidField::new(field, problem));
    if at_most_once && policy.retry.as_ref().is_some_and(|retry| retry.max_attempts > 1) {
        return refuse("retry.max_attempts", "must be 1 with at_most_once");
    }
    if policy.delay.is_some() && policy.not_before.is_some() {
        return refuse("delay", "must not be set together with not_before");
    }
    if let Some((part, whole)) = PARTS.into_iter().find(|(part, whole)| {
        let times = policy.timeout(*part).zip(policy.timeout(*whole));
        times.is_some_and(|(part, whole)| part > whole)
    }) {
        return refuse(&format!("timeouts.{}", part.name()), &format!("must not be above {}", whole.name()));
    }
    let Some(whole) = policy.timeout(Timeout::ScheduleToClose) else { return Ok(()) };
    if policy.delay.is_some_and(|delay| delay >= whole) {
        return refuse("delay", "must be below timeouts.schedule_to_close, which counts from the submit");
    }
    Ok(())
}

fn retry_from_proto(retry: v1::RetryPolicy) -> Result<RetryPolicy, InvalidField> {
    let max_attempts = u32::try_from(retry.max_attempts).ok().filter(|most| (1..=MAX_ATTEMPTS).contains(most));
    let max_attempts = max_attempts.ok_or_else(|| {
        InvalidField::new("max_attempts", format!("must be 1 to {MAX_ATTEMPTS}, is {}", retry.max_attempts))
    })?;
    let initial_backoff = duration_from_proto("initial_backoff", retry.initial_backoff)?;
    let max_backoff = duration_from_proto("max_backoff", retry.max_backoff)?;
    if let (Some(first), Some(most)) = (initial_backoff, max_backoff)
        && most < first
    {
        return Err(InvalidField::new("max_backoff", "must not be below initial_backoff"));
    }
    let multiplier = |factor: f64| {
        let most = Multiplier::MAX / Multiplier::ONE;
        let problem = || InvalidField::new("backoff_multiplier", format!("must be 1 to {most}, is {factor}"));
        multiplier_from_double(factor).ok_or_else(problem)
    };
    let status = |status: i32| {
        let problem = || format!("must be {} to {}, is {status}", EXIT_STATUSES.start(), EXIT_STATUSES.end());
        if EXIT_STATUSES.contains(&status) { Ok(status) } else { Err(InvalidField::new("", problem())) }
    };
    let statuses = |list: v1::ExitStatuses| items("final_exit_statuses.statuses", list.statuses, status);
    Ok(RetryPolicy {
        max_attempts,
        initial_backoff,
        backoff_multiplier: retry.backoff_multiplier.map(multiplier).transpose()?,
        max_backoff,
        final_exit_statuses: retry.final_exit_statuses.map(statuses).transpose()?,
    })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "what is outside is none; NaN becomes 0")]
fn multiplier_from_double(factor: f64) -> Option<Multiplier> {
    Multiplier::of_thousandths((factor * THOUSANDTHS).round() as u32)
}

fn timeouts_from_proto(timeouts: v1::Timeouts) -> Result<Timeouts, InvalidField> {
    Ok(Timeouts {
        schedule_to_start: duration_from_proto("schedule_to_start", timeouts.schedule_to_start)?,
        start_to_close: duration_from_proto("start_to_close", timeouts.start_to_close)?,
        schedule_to_close: duration_from_proto("schedule_to_close", timeouts.schedule_to_close)?,
        heartbeat: duration_from_proto("heartbeat", timeouts.heartbeat)?,
    })
}

/// A time of a policy, in whole milliseconds.
pub(super) fn duration_from_proto(
    field: &str,
    duration: Option<prost_types::Duration>,
) -> Result<Option<Duration>, InvalidField> {
    let Some(duration) = duration else { return Ok(None) };
    let read = Duration::try_from(duration).ok().filter(|time| *time <= MAX_TIME);
    let millis = read.and_then(|time| u64::try_from(time.as_millis()).ok());
    let within = millis.filter(|millis| *millis > 0).map(Duration::from_millis);
    let problem = || format!("must be 1ms to {} days, is {duration}", MAX_TIME.as_secs() / (24 * 60 * 60));
    within.map(Some).ok_or_else(|| InvalidField::new(field, problem()))
}

pub(super) fn duration_to_proto(duration: Duration) -> prost_types::Duration {
    duration.try_into().unwrap_or_default()
}

pub(super) fn timeout_to_proto(timeout: Timeout) -> v1::Timeout {
    match timeout {
        Timeout::ScheduleToStart => v1::Timeout::ScheduleToStart,
        Timeout::StartToClose => v1::Timeout::StartToClose,
        Timeout::ScheduleToClose => v1::Timeout::ScheduleToClose,
        Timeout::Heartbeat => v1::Timeout::Heartbeat,
    }
}

pub(super) fn timeout_from_proto(field: &str, timeout: i32) -> Result<Timeout, InvalidField> {
    match v1::Timeout::try_from(timeout) {
        Ok(v1::Timeout::ScheduleToStart) => Ok(Timeout::ScheduleToStart),
        Ok(v1::Timeout::StartToClose) => Ok(Timeout::StartToClose),
        Ok(v1::Timeout::ScheduleToClose) => Ok(Timeout::ScheduleToClose),
        Ok(v1::Timeout::Heartbeat) => Ok(Timeout::Heartbeat),
        Ok(v1::Timeout::Unspecified) | Err(_) => Err(InvalidField::new(field, format!("{timeout} is unknown"))),
    }
}
