//! Who and what there is: two of everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::domain::{Incarnation, Monotonic, Now, TaskId, TaskSpec, Wall, WorkerId, WorkerOffer};

pub const MASTERS: usize = 2;
pub const WORKERS: usize = 2;
pub const TASKS: usize = 2;

/// Attempts that a worker runs at once: two, so that one worker can hold two attempts of one task.
pub const SLOTS: u32 = 2;

/// The moment of every event that nothing else is said of: time passes only where a grace is over.
pub const NOW: Now = Now { monotonic: Monotonic(1 << 40), wall: Wall(0) };

pub fn task(number: usize) -> TaskId {
    ["a", "b"][number].parse().expect("is an id")
}

pub fn task_number(id: &TaskId) -> usize {
    usize::from(id.as_str() == "b")
}

pub fn worker(number: usize) -> WorkerId {
    ["v", "w"][number].parse().expect("is an id")
}

pub fn worker_number(id: &WorkerId) -> usize {
    usize::from(id.as_str() == "w")
}

pub fn life(number: u8) -> Incarnation {
    Incarnation([number; 16])
}

/// What is asked for under an id; with another payload it is another task.
pub fn spec(payload: u8) -> Arc<TaskSpec> {
    Arc::new(TaskSpec::new("work".parse().expect("is a kind"), &[payload]))
}

pub fn offer(number: usize, incarnation: Incarnation) -> WorkerOffer {
    WorkerOffer {
        worker_id: worker(number),
        incarnation,
        address: "127.0.0.1:1".into(),
        slots: SLOTS,
        kinds: BTreeSet::from(["work".parse().expect("is a kind")]),
        queues: BTreeSet::from(["default".parse().expect("is a queue")]),
        labels: BTreeMap::new(),
        version: "0".into(),
    }
}
