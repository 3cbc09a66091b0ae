//! `watch`: follows tasks to their end.

use std::{collections::BTreeSet, io::IsTerminal, time::SystemTime};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    exit::{Failure, complain, note},
    follow::{MAX_IDS, follow, has_ended},
    output::Output,
    server::Server,
    tasks::{failure_line, last_failure_line, preview, progress_line, state_name, time},
};
use crate::wire::proto::v1;

#[derive(Debug, Args)]
#[command(after_help = "\
Goes on by itself when the client service restarts or the leader changes; gives up when no
client service answers for 30 s.
Ending it (Ctrl-C) does not cancel the task.

One task: its states and its progress go to stderr, its result, byte for byte, to stdout.
Several: one line a task to stdout.
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
        let mut sight = Sight::new(output);
        follow(client, &ids, |task| {
            all_succeeded &= !has_ended(&task) || task.state() == v1::TaskState::Succeeded;
            if ids.len() == 1 { sight.show(&task) } else { show_line(output, &task) }
        })
        .await?;
        if all_succeeded { Ok(()) } else { Err(Failure::Untrue) }
    }
}

/// Shows the only task that is followed: states and progress to stderr, the result to stdout.
pub(super) struct Sight<'a> {
    output: &'a Output,
    /// On a terminal the progress is a bar.
    bar: Option<ProgressBar>,
    /// The last of each that was told.
    state: Option<(v1::TaskState, i32)>,
    progress: String,
}

/// What a bar has from its beginning to its end.
const BAR_STEPS: u32 = 1_000;

impl<'a> Sight<'a> {
    pub(super) fn new(output: &'a Output) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| ProgressBar::new(BAR_STEPS.into()));
        Self { output, bar, state: None, progress: String::new() }
    }

    /// One event.
    pub(super) fn show(&mut self, task: &v1::Task) -> Result<(), Failure> {
        if self.output.is_json() {
            return self.output.json(task);
        }
        let state = (task.state(), task.attempt);
        if self.state.replace(state) != Some(state) {
            self.clear();
            if matches!(state.0, v1::TaskState::Failed | v1::TaskState::Cancelled) {
                complain(ending(task));
            } else {
                tell_state(task);
            }
        }
        if state.0 == v1::TaskState::Succeeded {
            return self.output.result(&task.result);
        }
        let progress = progress_line(task);
        if !progress.is_empty() && progress != self.progress {
            self.tell_progress(task, &progress);
            self.progress = progress;
        }
        Ok(())
    }

    fn tell_progress(&self, task: &v1::Task, line: &str) {
        let Some(bar) = &self.bar else { return note(format_args!("{} {line}", task.task_id)) };
        let fraction = task.progress.as_ref().and_then(|progress| progress.fraction);
        let template = if fraction.is_some() { "{bar:32} {msg}" } else { "{spinner} {msg}" };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is valid"));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within 0 and the steps")]
        bar.set_position((fraction.unwrap_or_default().clamp(0.0, 1.0) * f64::from(BAR_STEPS)) as u64);
        bar.set_message(line.to_owned());
    }

    /// What is written next begins at the left.
    fn clear(&mut self) {
        self.progress.clear();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            bar.reset();
        }
    }
}

impl Drop for Sight<'_> {
    fn drop(&mut self) {
        self.clear();
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
    note(format_args!("{} {}{worker}{}", task.task_id, state_name(task), waits(task)));
}

/// Until when a task waits, and why.
fn waits(task: &v1::Task) -> String {
    let due = time(task.next_attempt_time.as_ref()).filter(|_| task.state() == v1::TaskState::Pending);
    // A clock that is a little off says nothing of a wait that is over.
    let Some(wait) = due.and_then(|due| due.duration_since(SystemTime::now()).ok()) else { return String::new() };
    let failure = last_failure_line(task);
    let after = if failure.is_empty() { String::new() } else { format!(" after {failure}") };
    format!(" (attempt {} in {}s{after})", task.attempt + 1, wait.as_secs() + 1)
}
