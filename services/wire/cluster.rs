//! The cluster and its workers as readers see them, in and out.

use super::{InvalidField, name, names, proto::v1, record::incarnation, task};
use crate::domain::{ClusterView, DrainView, TaskState, Term, Wall, WorkerOffer, WorkerState, WorkerView};

pub fn cluster_to_proto(view: &ClusterView) -> v1::Cluster {
    v1::Cluster {
        leader: Some(v1::Leader {
            address: view.address.clone(),
            term: view.term.0,
            start_time: Some(task::time_to_proto(view.start_time)),
            version: view.version.clone(),
        }),
        worker_count: signed(view.workers),
        slot_count: signed(view.slots),
        busy_slot_count: signed(view.busy_slots),
        tasks: Some(counts_to_proto(&view.tasks)),
        corrupt_record_count: i64::try_from(view.corrupt_records).unwrap_or(i64::MAX),
        standby_count: signed(view.standbys),
    }
}

/// # Errors
/// A number is negative.
pub fn cluster_from_proto(view: v1::Cluster) -> Result<ClusterView, InvalidField> {
    let leader = view.leader.unwrap_or_default();
    Ok(ClusterView {
        address: leader.address,
        term: Term(leader.term),
        start_time: task::time_from_proto("leader.start_time", leader.start_time)?.unwrap_or(Wall(0)),
        version: leader.version,
        workers: task::count("worker_count", view.worker_count)?,
        slots: task::count("slot_count", view.slot_count)?,
        busy_slots: task::count("busy_slot_count", view.busy_slot_count)?,
        standbys: task::count("standby_count", view.standby_count)?,
        corrupt_records: large_count("corrupt_record_count", view.corrupt_record_count)?,
        tasks: counts_from_proto(&view.tasks.unwrap_or_default())?,
    })
}

pub fn worker_to_proto(view: &WorkerView) -> v1::Worker {
    let state = match view.state {
        WorkerState::Ready => v1::WorkerState::Ready,
        WorkerState::Unregistered => v1::WorkerState::Unregistered,
        WorkerState::Draining => v1::WorkerState::Draining,
        WorkerState::Disconnected => v1::WorkerState::Disconnected,
        WorkerState::Drained => v1::WorkerState::Drained,
    };
    let worker = v1::Worker {
        worker_id: view.worker_id.to_string(),
        incarnation: view.incarnation.map(|incarnation| incarnation.to_string()).unwrap_or_default(),
        state: state.into(),
        drained: view.drained,
        busy_slot_count: signed(view.busy_slots),
        ..v1::Worker::default()
    };
    let Some(offer) = &view.offer else { return worker };
    v1::Worker {
        address: offer.address.clone(),
        slot_count: signed(offer.slots),
        kinds: offer.kinds.iter().map(ToString::to_string).collect(),
        queues: offer.queues.iter().map(ToString::to_string).collect(),
        labels: offer.labels.clone(),
        version: offer.version.clone(),
        ..worker
    }
}

pub fn drain_to_proto(view: &DrainView) -> v1::WatchDrainResponse {
    v1::WatchDrainResponse { worker: Some(worker_to_proto(&view.worker)), empty: view.empty }
}

/// # Errors
/// Names the first field that is not as the .proto says.
pub fn worker_from_proto(worker: v1::Worker) -> Result<WorkerView, InvalidField> {
    let state = match worker.state() {
        v1::WorkerState::Ready => WorkerState::Ready,
        v1::WorkerState::Unregistered => WorkerState::Unregistered,
        v1::WorkerState::Draining => WorkerState::Draining,
        v1::WorkerState::Disconnected => WorkerState::Disconnected,
        v1::WorkerState::Drained => WorkerState::Drained,
        v1::WorkerState::Unspecified => {
            return Err(InvalidField::new("state", format!("{} is not a state of a worker", worker.state)));
        }
    };
    let worker_id = name("worker_id", &worker.worker_id)?;
    let life = |text: &str| {
        let uuid = uuid::Uuid::parse_str(text).map_err(|error| InvalidField::new("incarnation", error))?;
        incarnation("incarnation", uuid.as_bytes())
    };
    let incarnation = if worker.incarnation.is_empty() { None } else { Some(life(&worker.incarnation)?) };
    let slots = task::count("slot_count", worker.slot_count)?;
    // A worker that offers has a slot at least.
    let offer = (slots > 0).then(|| {
        Ok::<_, InvalidField>(WorkerOffer {
            worker_id: name("worker_id", &worker.worker_id)?,
            incarnation: incarnation.ok_or_else(|| InvalidField::new("incarnation", "must be set"))?,
            address: worker.address,
            slots,
            kinds: names("kinds", &worker.kinds)?,
            queues: names("queues", &worker.queues)?,
            labels: task::labels("labels", worker.labels)?,
            version: worker.version,
        })
    });
    Ok(WorkerView {
        worker_id,
        incarnation,
        state,
        busy_slots: task::count("busy_slot_count", worker.busy_slot_count)?,
        drained: worker.drained,
        offer: offer.transpose()?,
    })
}

pub(super) fn counts_to_proto(counts: &[u64; TaskState::ALL.len()]) -> v1::TaskCounts {
    let count = |state: TaskState| i64::try_from(counts[state as usize]).unwrap_or(i64::MAX);
    v1::TaskCounts {
        pending: count(TaskState::Pending),
        assigned: count(TaskState::Assigned),
        running: count(TaskState::Running),
        succeeded: count(TaskState::Succeeded),
        failed: count(TaskState::Failed),
        cancelled: count(TaskState::Cancelled),
    }
}

/// # Errors
/// A number is negative.
pub(super) fn counts_from_proto(counts: &v1::TaskCounts) -> Result<[u64; TaskState::ALL.len()], InvalidField> {
    let mut read = [0; TaskState::ALL.len()];
    for (state, count) in [
        (TaskState::Pending, counts.pending),
        (TaskState::Assigned, counts.assigned),
        (TaskState::Running, counts.running),
        (TaskState::Succeeded, counts.succeeded),
        (TaskState::Failed, counts.failed),
        (TaskState::Cancelled, counts.cancelled),
    ] {
        read[state as usize] = large_count("tasks", count)?;
    }
    Ok(read)
}

pub(super) fn signed(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn large_count(field: &str, value: i64) -> Result<u64, InvalidField> {
    u64::try_from(value).map_err(|_| InvalidField::new(field, format!("must not be negative, is {value}")))
}
