//! Queues and what holds for them, in and out.

use super::{
    InvalidField, cluster, name,
    proto::{internal::v1 as internal, v1},
    task,
};
use crate::domain::{LimitUpdate, QueueName, QueueSettings, QueueState, QueueUpdate, QueueView, Rate};

/// Highest `max_running`: workers in their thousands with all their slots.
const MAX_RUNNING: u32 = 1_000_000;
/// Highest `max_pending`: far more than a leader's memory holds.
const MAX_PENDING: u32 = 1_000_000_000;
const THOUSANDTHS: f64 = 1_000.0;

pub fn queue_to_proto(view: &QueueView) -> v1::Queue {
    let state = match view.state {
        QueueState::Open => v1::QueueState::Open,
        QueueState::Paused => v1::QueueState::Paused,
        QueueState::AtMaxRunning => v1::QueueState::AtMaxRunning,
        QueueState::AtMaxStarts => v1::QueueState::AtMaxStarts,
    };
    let settings = &view.settings;
    v1::Queue {
        name: view.name.to_string(),
        state: state.into(),
        settings: Some(v1::QueueSettings {
            weight: cluster::signed(settings.weight),
            max_running: cluster::signed(settings.max_running.unwrap_or(0)),
            max_starts_per_second: per_second(settings.max_starts),
            max_pending: cluster::signed(settings.max_pending.unwrap_or(0)),
        }),
        tasks: Some(cluster::counts_to_proto(&view.tasks)),
        oldest_pending_time: view.oldest_pending.map(task::time_to_proto),
    }
}

/// # Errors
/// Names the first field that is not as the .proto says.
pub fn queue_from_proto(queue: v1::Queue) -> Result<QueueView, InvalidField> {
    let state = match queue.state() {
        v1::QueueState::Open => QueueState::Open,
        v1::QueueState::Paused => QueueState::Paused,
        v1::QueueState::AtMaxRunning => QueueState::AtMaxRunning,
        v1::QueueState::AtMaxStarts => QueueState::AtMaxStarts,
        v1::QueueState::Unspecified => {
            return Err(InvalidField::new("state", format!("{} is not a state of a queue", queue.state)));
        }
    };
    let settings = queue.settings.unwrap_or_default();
    let update = v1::UpdateQueueRequest {
        name: queue.name,
        weight: Some(settings.weight),
        max_running: Some(settings.max_running),
        max_starts_per_second: Some(settings.max_starts_per_second),
        max_pending: Some(settings.max_pending),
    };
    let (name, update) = queue_update_from_proto(&update).map_err(|error| error.within("settings"))?;
    let paused = state == QueueState::Paused;
    Ok(QueueView {
        name,
        settings: QueueSettings { paused, ..QueueSettings::default().with(&update) },
        state,
        tasks: cluster::counts_from_proto(&queue.tasks.unwrap_or_default())?,
        oldest_pending: task::time_from_proto("oldest_pending_time", queue.oldest_pending_time)?,
    })
}

/// Of which queue, and what is to be changed; whether it is paused is not among it.
///
/// # Errors
/// Names the first field that is not as the .proto says.
pub fn queue_update_from_proto(update: &v1::UpdateQueueRequest) -> Result<(QueueName, QueueUpdate), InvalidField> {
    let weight = update.weight.map(|weight| number("weight", weight, 1, QueueSettings::MAX_WEIGHT)).transpose()?;
    let limit = |field, value: Option<i32>, most| match value {
        None => Ok(LimitUpdate::AsItIs),
        Some(0) => Ok(LimitUpdate::Lifted),
        Some(value) => number(field, value, 0, most).map(LimitUpdate::To),
    };
    let update_of = QueueUpdate {
        paused: None,
        weight,
        max_running: limit("max_running", update.max_running, MAX_RUNNING)?,
        max_starts: update.max_starts_per_second.map_or(Ok(LimitUpdate::AsItIs), rate)?,
        max_pending: limit("max_pending", update.max_pending, MAX_PENDING)?,
    };
    Ok((name("name", &update.name)?, update_of))
}

pub fn queue_update_to_proto(queue: &QueueName, update: &QueueUpdate) -> v1::UpdateQueueRequest {
    let limit = |limit| match limit {
        LimitUpdate::AsItIs => None,
        LimitUpdate::Lifted => Some(0),
        LimitUpdate::To(most) => Some(cluster::signed(most)),
    };
    v1::UpdateQueueRequest {
        name: queue.to_string(),
        weight: update.weight.map(cluster::signed),
        max_running: limit(update.max_running),
        max_starts_per_second: match update.max_starts {
            LimitUpdate::AsItIs => None,
            LimitUpdate::Lifted => Some(0.0),
            LimitUpdate::To(rate) => Some(per_second(Some(rate))),
        },
        max_pending: limit(update.max_pending),
    }
}

pub fn queue_record(queue: &QueueName, settings: &QueueSettings) -> internal::QueueRecord {
    internal::QueueRecord {
        name: queue.to_string(),
        paused: settings.paused,
        weight: settings.weight,
        max_running: settings.max_running.unwrap_or(0),
        max_starts_per_1000_seconds: settings.max_starts.map_or(0, Rate::thousandths),
        max_pending: settings.max_pending.unwrap_or(0),
    }
}

pub fn queue_from_record(record: &internal::QueueRecord) -> Result<QueueSettings, InvalidField> {
    let limit = |value: u32| (value > 0).then_some(value);
    let max_starts =
        match record.max_starts_per_1000_seconds {
            0 => None,
            thousandths => Some(Rate::from_thousandths(thousandths).ok_or_else(|| {
                InvalidField::new("max_starts_per_1000_seconds", format!("is {thousandths}, too many"))
            })?),
        };
    let weight = record.weight.max(1);
    if weight > QueueSettings::MAX_WEIGHT {
        return Err(InvalidField::new("weight", format!("must be at most {}", QueueSettings::MAX_WEIGHT)));
    }
    Ok(QueueSettings {
        paused: record.paused,
        weight,
        max_running: limit(record.max_running),
        max_starts,
        max_pending: limit(record.max_pending),
    })
}

fn number(field: &str, value: i32, least: u32, most: u32) -> Result<u32, InvalidField> {
    let in_range = u32::try_from(value).ok().filter(|value| (least..=most).contains(value));
    in_range.ok_or_else(|| InvalidField::new(field, format!("must be {least} to {most}, is {value}")))
}

fn rate(per_second: f64) -> Result<LimitUpdate<Rate>, InvalidField> {
    if per_second == 0.0 {
        return Ok(LimitUpdate::Lifted);
    }
    rate_of("max_starts_per_second", per_second).map(LimitUpdate::To)
}

/// # Errors
/// It is no rate.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in the range of a rate")]
pub(super) fn rate_of(field: &str, per_second: f64) -> Result<Rate, InvalidField> {
    let thousandths = (per_second * THOUSANDTHS).round();
    let in_range = (1.0..=f64::from(Rate::MAX_THOUSANDTHS)).contains(&thousandths);
    let rate = in_range.then_some(thousandths as u32).and_then(Rate::from_thousandths);
    let problem = || format!("must be 0, or 0.001 to 1000000, is {per_second}");
    rate.ok_or_else(|| InvalidField::new(field, problem()))
}

pub(super) fn per_second(rate: Option<Rate>) -> f64 {
    rate.map_or(0.0, |rate| f64::from(rate.thousandths()) / THOUSANDTHS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(change: impl FnOnce(&mut v1::UpdateQueueRequest)) -> Result<(QueueName, QueueUpdate), InvalidField> {
        let mut update = v1::UpdateQueueRequest { name: "q".into(), ..v1::UpdateQueueRequest::default() };
        change(&mut update);
        queue_update_from_proto(&update)
    }

    #[test]
    fn what_is_not_set_stays_and_zero_takes_a_limit_away() {
        assert_eq!(update(|_| ()), Ok(("q".parse().unwrap(), QueueUpdate::default())));
        let (_, lifted) = update(|update| {
            update.max_running = Some(0);
            update.max_starts_per_second = Some(0.0);
        })
        .unwrap();
        assert_eq!((lifted.max_running, lifted.max_pending), (LimitUpdate::Lifted, LimitUpdate::AsItIs));
        assert_eq!(lifted.max_starts, LimitUpdate::Lifted);
    }

    #[test]
    fn what_is_out_of_range_is_refused_by_name() {
        let field = |result: Result<_, InvalidField>| result.unwrap_err().field;
        for weight in [0, -1, 1_001] {
            assert_eq!(field(update(|update| update.weight = Some(weight))), "weight");
        }
        assert_eq!(field(update(|update| update.max_running = Some(-1))), "max_running");
        assert_eq!(field(update(|update| update.max_pending = Some(1_000_000_001))), "max_pending");
        for rate in [-1.0, 0.000_4, 1e6 + 1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(field(update(|update| update.max_starts_per_second = Some(rate))), "max_starts_per_second");
        }
        assert_eq!(field(update(|update| update.name = "Q".into())), "name");
    }

    #[test]
    fn rates_go_to_the_thousandth() {
        for per in [0.001, 0.1, 5.0, 33.333, 1e6] {
            let (queue, there) = update(|update| update.max_starts_per_second = Some(per)).unwrap();
            let back = queue_update_to_proto(&queue, &there);
            assert_eq!(back.max_starts_per_second, Some(per));
        }
    }
}
