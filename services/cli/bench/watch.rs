//! The ends of a measurement's tasks: over one stream, by the label that only they have, or each over its own.

use std::collections::BTreeMap;

use futures::{StreamExt, stream::ReadyChunks};
use tonic::{Status, Streaming, transport::Channel};

use crate::{
    cli::follow::has_ended,
    wire::proto::v1::{
        Task, TaskFilter, TaskState, WatchTaskRequest, WatchTasksRequest, WatchTasksResponse,
        task_service_client::TaskServiceClient, watch_tasks_request::Target,
    },
};

/// The label of every task of a bench.
pub(super) const LABEL: &str = "bench";
/// Most events that are taken at once, when so many have come.
const CHUNK: usize = 1_024;

pub(super) struct Watch {
    client: TaskServiceClient<Channel>,
    measurement: String,
    events: ReadyChunks<Streaming<WatchTasksResponse>>,
    resume: u64,
}

impl Watch {
    /// Of what happens after this revision.
    pub(super) async fn open(
        client: TaskServiceClient<Channel>,
        measurement: &str,
        after: u64,
    ) -> Result<Self, Status> {
        let events = open(client.clone(), measurement, after).await?;
        Ok(Self { client, measurement: measurement.to_owned(), events, resume: after })
    }

    /// Tasks that have ended, at least one; some may come twice.
    pub(super) async fn next(&mut self) -> Result<Vec<Task>, Status> {
        loop {
            let Some(chunk) = self.events.next().await else {
                // The stream has reached its age, or this reader was behind.
                self.events = open(self.client.clone(), &self.measurement, self.resume).await?;
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

async fn open(
    mut client: TaskServiceClient<Channel>,
    measurement: &str,
    after_revision: u64,
) -> Result<ReadyChunks<Streaming<WatchTasksResponse>>, Status> {
    let terminal = [TaskState::Succeeded, TaskState::Failed, TaskState::Cancelled];
    let filter = TaskFilter {
        states: terminal.map(Into::into).to_vec(),
        labels: BTreeMap::from([(LABEL.to_owned(), measurement.to_owned())]),
        ..TaskFilter::default()
    };
    let request = WatchTasksRequest { target: Some(Target::Filter(filter)), after_revision };
    Ok(client.watch_tasks(request).await?.into_inner().ready_chunks(CHUNK))
}

/// Follows one task to its end, over a stream of its own.
pub(super) async fn one(mut client: TaskServiceClient<Channel>, task_id: String) -> Result<Task, Status> {
    loop {
        let request = WatchTaskRequest { task_id: task_id.clone(), after_revision: 0 };
        let mut events = client.watch_task(request).await?.into_inner();
        while let Some(event) = events.message().await? {
            if let Some(ended) = event.task.filter(has_ended) {
                return Ok(ended);
            }
        }
        // The stream has reached its age.
    }
}
