//! The ends of a measurement's tasks: over one stream, by the label that only they have, or each over its own.

use std::collections::BTreeMap;

use futures::StreamExt;
use tonic::Status;

use super::api::{Api, Events, Seen};
use crate::wire::proto::v1::{TaskFilter, TaskState, WatchTaskRequest, WatchTasksRequest, watch_tasks_request::Target};

/// The label of every task of a bench.
pub(super) const LABEL: &str = "bench";

pub(super) struct Watch {
    api: Api,
    measurement: String,
    events: Events,
    resume: u64,
}

impl Watch {
    /// Of what happens after this revision.
    pub(super) async fn open(api: Api, measurement: &str, after: u64) -> Result<Self, Status> {
        let events = open(&api, measurement, after).await?;
        Ok(Self { api, measurement: measurement.to_owned(), events, resume: after })
    }

    /// Tasks that have ended, at least one; some may come twice.
    pub(super) async fn next(&mut self) -> Result<Vec<Seen>, Status> {
        loop {
            let Some(chunk) = self.events.next().await else {
                // The stream has reached its age, or this reader was behind.
                self.events = open(&self.api, &self.measurement, self.resume).await?;
                continue;
            };
            let mut tasks = Vec::with_capacity(chunk.len());
            for event in chunk {
                let event = event?;
                self.resume = event.resume_revision;
                tasks.extend(event.task);
            }
            return Ok(tasks);
        }
    }
}

async fn open(api: &Api, measurement: &str, after_revision: u64) -> Result<Events, Status> {
    let terminal = [TaskState::Succeeded, TaskState::Failed, TaskState::Cancelled];
    let filter = TaskFilter {
        states: terminal.map(Into::into).to_vec(),
        labels: BTreeMap::from([(LABEL.to_owned(), measurement.to_owned())]),
        ..TaskFilter::default()
    };
    api.watch_tasks(WatchTasksRequest { target: Some(Target::Filter(filter)), after_revision }).await
}

/// Follows one task to its end, over a stream of its own.
pub(super) async fn one(api: Api, task_id: String) -> Result<Seen, Status> {
    loop {
        let mut events = api.watch_task(WatchTaskRequest { task_id: task_id.clone(), after_revision: 0 }).await?;
        while let Some(chunk) = events.next().await {
            for event in chunk {
                if let Some(ended) = event?.task.filter(Seen::has_ended) {
                    return Ok(ended);
                }
            }
        }
        // The stream has reached its age.
    }
}
