//! The hub without its task: mailboxes in scenarios, and the registry against a leader that changes, is cut off and is
//! replaced at every moment that proptest can think of.

mod mailbox;
mod model;
mod registry;

use std::sync::Arc;

use crate::domain::{Fence, Outcome, Revision, Task, TaskId, TaskSpec, TaskState, Wall};

fn id(name: &str) -> TaskId {
    name.parse().unwrap()
}

fn task(name: &str, revision: u64, state: TaskState) -> Arc<Task> {
    with_result(name, revision, state, 0)
}

fn with_result(name: &str, revision: u64, state: TaskState, result_bytes: usize) -> Arc<Task> {
    let outcome = match state {
        TaskState::Succeeded => Some(Outcome::Succeeded(vec![0; result_bytes].into())),
        TaskState::Cancelled => Some(Outcome::Cancelled),
        _ => None,
    };
    Arc::new(Task {
        id: id(name),
        spec: Arc::new(TaskSpec::new("echo".parse().unwrap(), b"")),
        state,
        attempt: 1,
        worker: None,
        incarnation: None,
        fence: Fence(0),
        revision: Revision(revision),
        worker_deaths: 0,
        progress: None,
        outcome,
        trials: None,
        traceparent: None,
        retry_of: None,
        create_time: Wall(0),
        start_time: None,
        end_time: None,
    })
}
