//! Small things to store.

use std::sync::Arc;

use herdsman::domain::{
    Assignment, Fence, Incarnation, Outcome, Revision, Status, Submission, TaskId, TaskSpec, Wall, WorkerId,
};

pub fn id(text: &str) -> TaskId {
    text.parse().expect("an id")
}

pub fn worker(text: &str) -> WorkerId {
    text.parse().expect("an id")
}

pub fn submission(task_id: &str) -> Submission {
    Submission {
        task_id: id(task_id),
        spec: Arc::new(TaskSpec::new("echo".parse().expect("a kind"), b"hello")),
        create_time: Wall(1_700_000_000_123),
        revision: Revision(1),
        traceparent: None,
        retry_of: None,
    }
}

pub fn assignment(task_id: &str, to: &str, attempt: u32) -> Assignment {
    Assignment {
        task_id: id(task_id),
        worker: worker(to),
        attempt,
        incarnation: Incarnation([7; 16]),
        fence: Fence(40 + u64::from(attempt)),
    }
}

pub fn pending_again(attempt: u32, of: &str) -> Status {
    Status {
        attempt,
        revision: Revision(50 + u64::from(attempt)),
        worker_deaths: attempt,
        worker: Some(worker(of)),
        fence: Fence(40 + u64::from(attempt)),
        outcome: None,
        trials: None,
        start_time: Some(Wall(1_700_000_001_001)),
        end_time: None,
    }
}

pub fn ended(attempt: u32, outcome: Outcome) -> Status {
    Status {
        worker_deaths: 0,
        outcome: Some(outcome),
        end_time: Some(Wall(1_700_000_002_999)),
        ..pending_again(attempt, "worker-1")
    }
}
