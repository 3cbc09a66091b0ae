//! `watch`: follows tasks to their end.

use std::collections::BTreeSet;

use clap::Args;

use super::{
    exit::{Failure, complain, note},
    follow::{MAX_IDS, follow, has_ended},
    output::Output,
    server::Server,
    tasks::{failure_line, preview, state_name},
};
use crate::wire::proto::v1;

#[derive(Debug, Args)]
#[command(after_help = "\
Goes on by itself when the client service restarts or the leader changes; gives up when no
client service answers for 30 s.
Ending it (Ctrl-C) does not cancel the task.

One task: its states go to stderr, its result, byte for byte, to stdout. Several: one line a
task to stdout.
Exit status 0: all have succeeded. 1: one failed or was cancelled, or is unknown.

Examples:
  herdsman watch photo-17 > result.bin
  herdsman watch --output json a b c | jq -r '.taskId + \" \" + .state'")]
pub(super) struct Watch {
    #[command(flatten)]
    server: Server,
    /// Ids of the tasks, at most 1,000
    #[arg(required = true, value_name = "TASK_ID", num_args = 1..=MAX_IDS)]
    task_ids: Vec<String>,
}

impl Watch {
    pub(super) async fn run(self, output: &Output) -> Result<(), Failure> {
        let client = self.server.tasks().await?;
        let ids: Vec<String> = self.task_ids.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        let mut all_succeeded = true;
        follow(client, &ids, |task| {
            all_succeeded &= !has_ended(&task) || task.state() == v1::TaskState::Succeeded;
            if ids.len() == 1 { show(output, &task) } else { show_line(output, &task) }
        })
        .await?;
        if all_succeeded { Ok(()) } else { Err(Failure::Untrue) }
    }
}

/// One event of the only task: states to stderr, the result to stdout.
pub(super) fn show(output: &Output, task: &v1::Task) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(task);
    }
    match task.state() {
        v1::TaskState::Succeeded => {
            tell_state(task);
            output.result(&task.result)
        }
        v1::TaskState::Failed | v1::TaskState::Cancelled => {
            complain(ending(task));
            Ok(())
        }
        _ => {
            tell_state(task);
            Ok(())
        }
    }
}

/// One event of one task among others: a line when it has ended.
pub(super) fn show_line(output: &Output, task: &v1::Task) -> Result<(), Failure> {
    if output.is_json() {
        output.json(task)
    } else if has_ended(task) {
        let what = if task.result.is_empty() { failure_line(task) } else { preview(&task.result) };
        output.line(format!("{} {} {what}", task.task_id, state_name(task)).trim_end())
    } else {
        Ok(())
    }
}

/// How a task ended that did not succeed.
pub(super) fn ending(task: &v1::Task) -> String {
    let failure = failure_line(task);
    let colon = if failure.is_empty() { "" } else { ": " };
    format!("task {} {}{colon}{failure}", task.task_id, state_name(task))
}

fn tell_state(task: &v1::Task) {
    let worker = if task.worker_id.is_empty() {
        String::new()
    } else {
        format!(" on {} (attempt {})", task.worker_id, task.attempt)
    };
    note(format_args!("{} {}{worker}", task.task_id, state_name(task)));
}
