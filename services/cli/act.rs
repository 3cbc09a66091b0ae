//! `cancel`, `retry` and `delete`: tasks by their ids, or all that match a filter.

use clap::Args;
use tonic::transport::Channel;

use super::{
    exit::{Failure, complain},
    filter::filter,
    output::Output,
    server::{Server, call},
    tasks::{found, state_name},
};
use crate::wire::proto::v1::{self, task_outcome::Outcome, task_service_client::TaskServiceClient};

/// Tasks of one call: its answer comes well within the time that a call may take.
const PAGE: i32 = 500;

filter!(CancelFilter, "HERDSMAN_CANCEL_");
filter!(RetryFilter, "HERDSMAN_RETRY_");
filter!(DeleteFilter, "HERDSMAN_DELETE_");

#[derive(Debug, Args)]
#[command(after_help = "\
A task that waits or runs ends as CANCELLED at once. One that has succeeded or failed is refused.

Examples:
  herdsman cancel 0190b1a2-7c3d-7e4f-8a5b-6c7d8e9f0a1b
  herdsman cancel --queue nightly --state pending")]
pub(super) struct Cancel {
    #[command(flatten)]
    server: Server,
    /// Ids of the tasks; none to cancel those that match
    #[arg(value_name = "TASK_ID")]
    task_ids: Vec<String>,
    #[command(flatten)]
    filter: CancelFilter,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The old task stays as it is. The new one has the same spec, and the old id with .r1 after it.
With a filter and no --state, the tasks that failed are retried.

Examples:
  herdsman retry resize-17
  herdsman retry resize-17 --new-id resize-17-again
  herdsman retry --kind resize --reason handler --ended-from 2h")]
pub(super) struct Retry {
    #[command(flatten)]
    server: Server,
    /// Ids of the tasks; none to retry those that match
    #[arg(value_name = "TASK_ID")]
    task_ids: Vec<String>,
    /// Id of the new task, for a retry of one
    #[arg(long, env = "HERDSMAN_RETRY_NEW_ID", value_name = "TASK_ID", hide_env_values = true)]
    new_id: Option<String>,
    #[command(flatten)]
    filter: RetryFilter,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Only a task that has ended can be deleted; its id is free again at once.

Examples:
  herdsman delete resize-17
  herdsman delete --state failed --ended-until 24h")]
pub(super) struct Delete {
    #[command(flatten)]
    server: Server,
    /// Ids of the tasks; none to delete those that match
    #[arg(value_name = "TASK_ID")]
    task_ids: Vec<String>,
    #[command(flatten)]
    filter: DeleteFilter,
}

impl Cancel {
    pub(super) async fn run(self, output: &Output) -> Result<(), Failure> {
        let verb = Verb::Cancel;
        verb.run(&self.server, self.task_ids, self.filter.into(), output).await
    }
}

impl Retry {
    pub(super) async fn run(self, output: &Output) -> Result<(), Failure> {
        if self.new_id.is_some() && self.task_ids.len() != 1 {
            return Err(Failure::unable("--new-id goes with the id of one task"));
        }
        let verb = Verb::Retry { new_id: self.new_id.unwrap_or_default() };
        verb.run(&self.server, self.task_ids, self.filter.into(), output).await
    }
}

impl Delete {
    pub(super) async fn run(self, output: &Output) -> Result<(), Failure> {
        let verb = Verb::Delete;
        verb.run(&self.server, self.task_ids, self.filter.into(), output).await
    }
}

enum Verb {
    Cancel,
    Retry { new_id: String },
    Delete,
}

impl Verb {
    async fn run(
        self,
        server: &Server,
        task_ids: Vec<String>,
        filter: v1::TaskFilter,
        output: &Output,
    ) -> Result<(), Failure> {
        let filtered = filter != v1::TaskFilter::default();
        if filtered != task_ids.is_empty() {
            return Err(Failure::unable("name tasks by their ids, or by a condition such as --state; not by both"));
        }
        let mut client = server.tasks().await?;
        let all_done = if filtered {
            self.all_that_match(&mut client, filter, output).await?
        } else {
            self.each(&mut client, task_ids, output).await?
        };
        if all_done { Ok(()) } else { Err(Failure::Untrue) }
    }

    /// Whether it came true for all of them.
    async fn each(
        &self,
        client: &mut TaskServiceClient<Channel>,
        task_ids: Vec<String>,
        output: &Output,
    ) -> Result<bool, Failure> {
        let mut all_done = true;
        for task_id in task_ids {
            match found(self.one(client, task_id).await)? {
                Some(task) => self.show(&task.unwrap_or_default(), output)?,
                None => all_done = false,
            }
        }
        Ok(all_done)
    }

    async fn one(
        &self,
        client: &mut TaskServiceClient<Channel>,
        task_id: String,
    ) -> Result<tonic::Response<Option<v1::Task>>, tonic::Status> {
        Ok(match self {
            Self::Cancel => client.cancel_task(call(v1::CancelTaskRequest { task_id })).await?.map(|reply| reply.task),
            Self::Retry { new_id } => {
                let request = v1::RetryTaskRequest { task_id, new_task_id: new_id.clone() };
                client.retry_task(call(request)).await?.map(|reply| reply.task)
            }
            Self::Delete => client.delete_task(call(v1::DeleteTaskRequest { task_id })).await?.map(|reply| reply.task),
        })
    }

    /// Whether it came true for all of them; page after page.
    async fn all_that_match(
        &self,
        client: &mut TaskServiceClient<Channel>,
        filter: v1::TaskFilter,
        output: &Output,
    ) -> Result<bool, Failure> {
        let (mut all_done, mut page_token) = (true, String::new());
        loop {
            let (outcomes, next) = self.page(client, filter.clone(), page_token).await?;
            for v1::TaskOutcome { task_id, outcome } in outcomes {
                match outcome {
                    Some(Outcome::Task(task)) => self.show(&task, output)?,
                    Some(Outcome::Error(error)) => {
                        all_done = false;
                        complain(format_args!("task {task_id}: {} ({})", error.message, error.reason));
                    }
                    None => all_done = false,
                }
            }
            if next.is_empty() {
                return Ok(all_done);
            }
            page_token = next;
        }
    }

    async fn page(
        &self,
        client: &mut TaskServiceClient<Channel>,
        filter: v1::TaskFilter,
        page_token: String,
    ) -> Result<(Vec<v1::TaskOutcome>, String), Failure> {
        let (filter, page_size) = (Some(filter), PAGE);
        Ok(match self {
            Self::Cancel => {
                let request = v1::CancelTasksRequest { filter, page_size, page_token };
                let reply = client.cancel_tasks(call(request)).await?.into_inner();
                (reply.outcomes, reply.next_page_token)
            }
            Self::Retry { .. } => {
                let request = v1::RetryTasksRequest { filter, page_size, page_token };
                let reply = client.retry_tasks(call(request)).await?.into_inner();
                (reply.outcomes, reply.next_page_token)
            }
            Self::Delete => {
                let request = v1::DeleteTasksRequest { filter, page_size, page_token };
                let reply = client.delete_tasks(call(request)).await?.into_inner();
                (reply.outcomes, reply.next_page_token)
            }
        })
    }

    fn show(&self, task: &v1::Task, output: &Output) -> Result<(), Failure> {
        if output.is_json() {
            return output.json(task);
        }
        match self {
            Self::Cancel => output.line(format_args!("{} {}", task.task_id, state_name(task))),
            Self::Retry { .. } => output.line(format_args!("{} retries {}", task.task_id, task.retry_of)),
            Self::Delete => output.line(format_args!("{} deleted", task.task_id)),
        }
    }
}
