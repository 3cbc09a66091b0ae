//! Why a task waits, in and out.

use super::{
    Detail, InvalidField,
    cluster::{signed, worker_from_proto, worker_to_proto},
    items, name,
    proto::v1::{self, pending_reason::Reason},
    queue::{per_second, rate_of},
    selector::{requirement_from_proto, requirement_to_proto},
    task::{count, task_from_proto, task_to_proto, time_from_proto, time_to_proto},
};
use crate::domain::{Explanation, PendingReason, Requirement, UnavailableWorkers, Wall};

pub fn explanation_to_proto(explanation: &Explanation) -> v1::ExplainTaskResponse {
    v1::ExplainTaskResponse {
        task: Some(task_to_proto(&explanation.task, Detail::Summary)),
        reasons: explanation.reasons.iter().map(reason_to_proto).collect(),
        worker: explanation.worker.as_ref().map(worker_to_proto),
    }
}

/// What there is to say of a task while there is no leader.
pub fn no_leader_to_proto() -> v1::ExplainTaskResponse {
    let reason = v1::PendingReason { reason: Some(Reason::NoLeader(v1::NoLeader {})) };
    v1::ExplainTaskResponse { task: None, reasons: vec![reason], worker: None }
}

/// # Errors
/// Names the first field that is not as the .proto says.
pub fn explanation_from_proto(response: v1::ExplainTaskResponse) -> Result<Explanation, InvalidField> {
    let task = task_from_proto(response.task.unwrap_or_default()).map_err(|error| error.within("task"))?;
    let worker = response.worker.map(worker_from_proto).transpose().map_err(|error| error.within("worker"))?;
    Ok(Explanation { task: task.into(), reasons: items("reasons", response.reasons, reason_from_proto)?, worker })
}

fn reason_to_proto(reason: &PendingReason) -> v1::PendingReason {
    let time = |wall: &Wall| Some(time_to_proto(*wall));
    let large = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let reason = match reason {
        PendingReason::NotBefore { start } => Reason::NotBefore(v1::NotBefore { start_time: time(start) }),
        PendingReason::BackingOff { retry, failed_attempts } => Reason::BackingOff(v1::BackingOff {
            retry_time: time(retry),
            failed_attempt_count: signed(*failed_attempts),
        }),
        PendingReason::QueuePaused { queue } => Reason::QueuePaused(v1::QueuePaused { queue: queue.to_string() }),
        PendingReason::QueueAtMaxRunning { queue, max_running, running } => {
            Reason::QueueAtMaxRunning(v1::QueueAtMaxRunning {
                queue: queue.to_string(),
                max_running: signed(*max_running),
                running_count: large(*running),
            })
        }
        PendingReason::QueueAtMaxStarts { queue, max_starts, next_start } => {
            Reason::QueueAtMaxStarts(v1::QueueAtMaxStarts {
                queue: queue.to_string(),
                max_starts_per_second: per_second(Some(*max_starts)),
                next_start_time: time(next_start),
            })
        }
        PendingReason::KindNotServed { kind, workers } => {
            Reason::KindNotServed(v1::KindNotServed { kind: kind.to_string(), worker_count: signed(*workers) })
        }
        PendingReason::QueueNotServed { queue, workers } => {
            Reason::QueueNotServed(v1::QueueNotServed { queue: queue.to_string(), worker_count: signed(*workers) })
        }
        PendingReason::SelectorNotMatched { workers, requirements } => {
            let matched = |(requirement, workers): &(Requirement, u32)| v1::RequirementMatch {
                requirement: Some(requirement_to_proto(requirement)),
                worker_count: signed(*workers),
            };
            Reason::SelectorNotMatched(v1::SelectorNotMatched {
                worker_count: signed(*workers),
                requirements: requirements.iter().map(matched).collect(),
            })
        }
        PendingReason::WorkersUnavailable(counts) => Reason::WorkersUnavailable(v1::WorkersUnavailable {
            drained_count: signed(counts.drained),
            stopping_count: signed(counts.stopping),
            unregistered_count: signed(counts.unregistered),
            resting_count: signed(counts.resting),
            disconnected_count: signed(counts.disconnected),
        }),
        PendingReason::SlotsBusy { workers, slots, pending } => Reason::SlotsBusy(v1::SlotsBusy {
            worker_count: signed(*workers),
            slot_count: signed(*slots),
            queue_pending_count: large(*pending),
        }),
        PendingReason::KeptApart { worker_deaths, workers } => {
            Reason::KeptApart(v1::KeptApart { worker_deaths: signed(*worker_deaths), worker_count: signed(*workers) })
        }
        PendingReason::AboutToStart => Reason::AboutToStart(v1::AboutToStart {}),
        PendingReason::Other => return v1::PendingReason { reason: None },
    };
    v1::PendingReason { reason: Some(reason) }
}

fn reason_from_proto(reason: v1::PendingReason) -> Result<PendingReason, InvalidField> {
    let time = |field: &str, time| Ok::<_, InvalidField>(time_from_proto(field, time)?.unwrap_or_default());
    let large = |count: i64| u64::try_from(count).unwrap_or_default();
    Ok(match reason.reason {
        Some(Reason::NotBefore(it)) => {
            PendingReason::NotBefore { start: time("not_before.start_time", it.start_time)? }
        }
        Some(Reason::BackingOff(it)) => PendingReason::BackingOff {
            retry: time("backing_off.retry_time", it.retry_time)?,
            failed_attempts: count("backing_off.failed_attempt_count", it.failed_attempt_count)?,
        },
        Some(Reason::QueuePaused(it)) => PendingReason::QueuePaused { queue: name("queue_paused.queue", &it.queue)? },
        Some(Reason::QueueAtMaxRunning(it)) => PendingReason::QueueAtMaxRunning {
            queue: name("queue_at_max_running.queue", &it.queue)?,
            max_running: count("queue_at_max_running.max_running", it.max_running)?,
            running: large(it.running_count),
        },
        Some(Reason::QueueAtMaxStarts(it)) => PendingReason::QueueAtMaxStarts {
            queue: name("queue_at_max_starts.queue", &it.queue)?,
            max_starts: rate_of("queue_at_max_starts.max_starts_per_second", it.max_starts_per_second)?,
            next_start: time("queue_at_max_starts.next_start_time", it.next_start_time)?,
        },
        Some(Reason::KindNotServed(it)) => PendingReason::KindNotServed {
            kind: name("kind_not_served.kind", &it.kind)?,
            workers: count("kind_not_served.worker_count", it.worker_count)?,
        },
        Some(Reason::QueueNotServed(it)) => PendingReason::QueueNotServed {
            queue: name("queue_not_served.queue", &it.queue)?,
            workers: count("queue_not_served.worker_count", it.worker_count)?,
        },
        Some(Reason::SelectorNotMatched(it)) => PendingReason::SelectorNotMatched {
            workers: count("selector_not_matched.worker_count", it.worker_count)?,
            requirements: items("selector_not_matched.requirements", it.requirements, match_from_proto)?,
        },
        Some(Reason::WorkersUnavailable(it)) => PendingReason::WorkersUnavailable(UnavailableWorkers {
            drained: count("workers_unavailable.drained_count", it.drained_count)?,
            stopping: count("workers_unavailable.stopping_count", it.stopping_count)?,
            unregistered: count("workers_unavailable.unregistered_count", it.unregistered_count)?,
            resting: count("workers_unavailable.resting_count", it.resting_count)?,
            disconnected: count("workers_unavailable.disconnected_count", it.disconnected_count)?,
        }),
        Some(Reason::SlotsBusy(it)) => PendingReason::SlotsBusy {
            workers: count("slots_busy.worker_count", it.worker_count)?,
            slots: count("slots_busy.slot_count", it.slot_count)?,
            pending: large(it.queue_pending_count),
        },
        Some(Reason::KeptApart(it)) => PendingReason::KeptApart {
            worker_deaths: count("kept_apart.worker_deaths", it.worker_deaths)?,
            workers: count("kept_apart.worker_count", it.worker_count)?,
        },
        Some(Reason::AboutToStart(_)) => PendingReason::AboutToStart,
        // Whoever has no leader has nobody to say so.
        Some(Reason::NoLeader(_)) | None => PendingReason::Other,
    })
}

fn match_from_proto(matched: v1::RequirementMatch) -> Result<(Requirement, u32), InvalidField> {
    let requirement = requirement_from_proto(matched.requirement.unwrap_or_default());
    let requirement = requirement.map_err(|error| error.within("requirement"))?;
    Ok((requirement, count("worker_count", matched.worker_count)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Condition, Rate};

    #[test]
    fn every_reason_comes_out_as_it_went_in() {
        let queue = || "nightly".parse().unwrap();
        let counts = UnavailableWorkers { drained: 1, stopping: 2, unregistered: 3, resting: 4, disconnected: 5 };
        let max_starts = Rate::from_thousandths(500).unwrap();
        for reason in [
            PendingReason::NotBefore { start: Wall(1_500) },
            PendingReason::BackingOff { retry: Wall(1), failed_attempts: 2 },
            PendingReason::QueuePaused { queue: queue() },
            PendingReason::QueueAtMaxRunning { queue: queue(), max_running: 3, running: 4 },
            PendingReason::QueueAtMaxStarts { queue: queue(), max_starts, next_start: Wall(7) },
            PendingReason::KindNotServed { kind: "resize".parse().unwrap(), workers: 8 },
            PendingReason::QueueNotServed { queue: queue(), workers: 9 },
            PendingReason::SelectorNotMatched {
                workers: 2,
                requirements: vec![(Requirement { key: "gpu".into(), condition: Condition::Exists }, 1)],
            },
            PendingReason::WorkersUnavailable(counts),
            PendingReason::SlotsBusy { workers: 1, slots: 8, pending: 1 << 40 },
            PendingReason::KeptApart { worker_deaths: 2, workers: 1 },
            PendingReason::AboutToStart,
            PendingReason::Other,
        ] {
            assert_eq!(reason_from_proto(reason_to_proto(&reason)), Ok(reason));
        }
    }
}
