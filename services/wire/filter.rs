//! Filters, in and out.

use super::{
    InvalidField, items, names,
    proto::v1,
    task::{
        labels, reason_from_proto, reason_to_proto, state_from_proto, state_to_proto, time_from_proto, time_to_proto,
    },
};
use crate::domain::{TaskFilter, TimeRange};

/// # Errors
/// Names the first field that is not as the .proto says.
pub fn filter_from_proto(filter: v1::TaskFilter) -> Result<TaskFilter, InvalidField> {
    for (field, texts) in [("queues", &filter.queues), ("kinds", &filter.kinds)] {
        if texts.len() > TaskFilter::MAX_NAMES {
            let problem = format!("must be at most {}, are {}", TaskFilter::MAX_NAMES, texts.len());
            return Err(InvalidField::new(field, problem));
        }
    }
    Ok(TaskFilter {
        queues: names("queues", &filter.queues)?,
        kinds: names("kinds", &filter.kinds)?,
        states: items("states", filter.states, |state| state_from_proto("", state))?,
        labels: labels("labels", filter.labels)?,
        failure_reasons: items("failure_reasons", filter.failure_reasons, |reason| reason_from_proto("", reason))?,
        created: range("create_time", filter.create_time_from, filter.create_time_until)?,
        ended: range("end_time", filter.end_time_from, filter.end_time_until)?,
    })
}

pub fn filter_to_proto(filter: &TaskFilter) -> v1::TaskFilter {
    v1::TaskFilter {
        queues: filter.queues.iter().map(ToString::to_string).collect(),
        kinds: filter.kinds.iter().map(ToString::to_string).collect(),
        states: filter.states.iter().map(|&state| state_to_proto(state).into()).collect(),
        labels: filter.labels.clone(),
        failure_reasons: filter.failure_reasons.iter().map(|&reason| reason_to_proto(reason).into()).collect(),
        create_time_from: filter.created.from.map(time_to_proto),
        create_time_until: filter.created.until.map(time_to_proto),
        end_time_from: filter.ended.from.map(time_to_proto),
        end_time_until: filter.ended.until.map(time_to_proto),
    }
}

fn range(
    field: &str,
    from: Option<prost_types::Timestamp>,
    until: Option<prost_types::Timestamp>,
) -> Result<TimeRange, InvalidField> {
    let (first, last) = (format!("{field}_from"), format!("{field}_until"));
    let range = TimeRange { from: time_from_proto(&first, from)?, until: time_from_proto(&last, until)? };
    match range {
        TimeRange { from: Some(from), until: Some(until) } if until <= from => {
            Err(InvalidField::new(last, format!("must be after {first}")))
        }
        _ => Ok(range),
    }
}
