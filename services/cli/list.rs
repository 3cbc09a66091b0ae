//! `list`: tasks by filter, page after page.

use std::time::{Duration, SystemTime};

use clap::Args;

use super::{
    exit::{Failure, complain},
    filter::filter,
    output::Output,
    server::{Server, call},
    tasks::{failure_line, last_failure_line, state_name, time},
};
use crate::wire::proto::v1;

/// Most tasks of one page, as the server allows.
const PAGE: usize = 1_000;

filter!(ListFilter, "HERDSMAN_LIST_");

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  herdsman list --state failed --ended-from 24h
  herdsman list --queue nightly --label owner=ada
  herdsman list --output json --limit 100000 | jq -r .taskId")]
pub(super) struct List {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    filter: ListFilter,
    /// Most tasks to list
    #[arg(long, env = "HERDSMAN_LIST_LIMIT", default_value_t = 100, value_name = "N", hide_env_values = true)]
    limit: usize,
}

impl List {
    pub(super) async fn run(self, output: &Output) -> Result<(), Failure> {
        let filter = v1::TaskFilter::from(self.filter);
        let mut client = self.server.tasks().await?;
        let mut rows = Vec::new();
        let (mut left, mut page_token) = (self.limit, String::new());
        while left > 0 {
            let page_size = i32::try_from(left.min(PAGE)).unwrap_or(i32::MAX);
            let request = v1::ListTasksRequest { filter: Some(filter.clone()), page_size, page_token };
            let reply = client.list_tasks(call(request)).await?.into_inner();
            left = left.saturating_sub(reply.tasks.len());
            for task in &reply.tasks {
                if output.is_json() {
                    output.json(task)?;
                } else {
                    rows.push(row(task));
                }
            }
            page_token = reply.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        if !output.is_json() {
            output.table(&["TASK", "KIND", "QUEUE", "STATE", "ATTEMPT", "WORKER", "AGE", "FAILURE"], rows)?;
        }
        if left == 0 && !page_token.is_empty() {
            complain(format!("there are more than {}: see --limit", self.limit));
        }
        Ok(())
    }
}

fn row(task: &v1::Task) -> Vec<String> {
    let spec = task.spec.clone().unwrap_or_default();
    vec![
        task.task_id.clone(),
        spec.kind,
        if spec.queue.is_empty() { "default".to_owned() } else { spec.queue },
        state_name(task).to_owned(),
        task.attempt.to_string(),
        task.worker_id.clone(),
        age(task.create_time.as_ref()),
        if task.failure.is_some() { failure_line(task) } else { last_failure_line(task) },
    ]
}

/// Since then, in its largest unit.
pub(super) fn age(then: Option<&prost_types::Timestamp>) -> String {
    let Some(then) = time(then) else { return String::new() };
    // A clock that is a little behind the leader's shows 0s.
    let age = SystemTime::now().duration_since(then).unwrap_or(Duration::ZERO).as_secs();
    match age {
        0..120 => format!("{age}s"),
        120..7_200 => format!("{}m", age / 60),
        7_200..172_800 => format!("{}h", age / 3_600),
        _ => format!("{}d", age / 86_400),
    }
}
