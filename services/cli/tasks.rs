//! `get`; and how a task looks.

use std::time::{Duration, SystemTime};

use clap::Args;

use super::{
    exit::{Failure, complain},
    output::Output,
    server::{Server, call},
    submit::require::written,
};
use crate::{domain::Fraction, wire::proto::v1};

/// Longest part of a payload or a result that is shown for people, in characters; `--output json` has all of it.
const PREVIEW_CHARACTERS: usize = 200;

#[derive(Debug, Args)]
#[command(after_help = "Payloads and results are cut after 200 characters; --output json has all of them.")]
pub(super) struct Get {
    #[command(flatten)]
    server: Server,
    /// Ids of the tasks
    #[arg(required = true, value_name = "TASK_ID")]
    task_ids: Vec<String>,
}

impl Get {
    pub(super) async fn run(self, output: &Output) -> Result<(), Failure> {
        let mut client = self.server.tasks().await?;
        let mut all_found = true;
        for (at, task_id) in self.task_ids.into_iter().enumerate() {
            let Some(reply) = found(client.get_task(call(v1::GetTaskRequest { task_id })).await)? else {
                all_found = false;
                continue;
            };
            let task = reply.task.unwrap_or_default();
            if output.is_json() {
                output.json(&task)?;
            } else {
                if at > 0 {
                    output.line("")?;
                }
                output.fields(&details(&task))?;
            }
        }
        if all_found { Ok(()) } else { Err(Failure::Untrue) }
    }
}

/// A refusal for one task is told, and leaves the others their turn; nobody there ends it all.
pub(super) fn found<T>(answer: Result<tonic::Response<T>, tonic::Status>) -> Result<Option<T>, Failure> {
    match answer.map_err(Failure::from) {
        Ok(reply) => Ok(Some(reply.into_inner())),
        Err(Failure::Refused(error)) => {
            complain(error);
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

/// `SUCCEEDED`.
pub(super) fn state_name(task: &v1::Task) -> &'static str {
    task.state().as_str_name().trim_start_matches("TASK_STATE_")
}

/// Why it failed, on one line; empty if it did not.
pub(super) fn failure_line(task: &v1::Task) -> String {
    task.failure.as_ref().map(one_line).unwrap_or_default()
}

/// The same of the attempt before, if the task is to be tried again.
pub(super) fn last_failure_line(task: &v1::Task) -> String {
    task.last_failure.as_ref().map(one_line).unwrap_or_default()
}

fn one_line(failure: &v1::TaskFailure) -> String {
    let reason = failure.reason().as_str_name().trim_start_matches("FAILURE_REASON_");
    let status = failure.exit_status.map(|status| format!(" (exit status {status})")).unwrap_or_default();
    format!("{reason}{status}: {}", failure.message.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// How far it is, on one line; empty if its handler has not said.
pub(super) fn progress_line(task: &v1::Task) -> String {
    let Some(progress) = &task.progress else { return String::new() };
    let fraction = progress.fraction.and_then(Fraction::new).map(|fraction| fraction.to_string());
    let details: Vec<_> = progress.details.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let details = (!details.is_empty()).then(|| format!("({})", details.join(", ")));
    let message = (!progress.message.is_empty()).then(|| progress.message.clone());
    let parts: Vec<_> = [fraction, message, details].into_iter().flatten().collect();
    // A handler must not move the cursor of whoever looks.
    parts.join(" ").replace(char::is_control, "\u{fffd}")
}

/// Bytes for people: text if it is text, on one line, not all of it.
pub(super) fn preview(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            let text = text.trim_end();
            let shown: String = text.chars().take(PREVIEW_CHARACTERS).flat_map(char::escape_debug).collect();
            let is_cut = text.chars().nth(PREVIEW_CHARACTERS).is_some();
            let cut = if is_cut { format!("… ({} bytes in all)", bytes.len()) } else { String::new() };
            // escape_debug escapes quotes too, which are harmless here.
            format!("{}{cut}", shown.replace("\\\"", "\"").replace("\\'", "'"))
        }
        Err(_) => format!("({} bytes that are not text)", bytes.len()),
    }
}

pub(super) fn time(time: Option<&prost_types::Timestamp>) -> Option<SystemTime> {
    let time = time?;
    let since = Duration::new(u64::try_from(time.seconds).ok()?, u32::try_from(time.nanos).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(since)
}

fn details(task: &v1::Task) -> [(&'static str, String); 27] {
    let spec = task.spec.clone().unwrap_or_default();
    let labels: Vec<_> = {
        let mut labels: Vec<_> = spec.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        labels.sort();
        labels
    };
    let at = |moment| time(moment).map(|time| humantime::format_rfc3339_millis(time).to_string()).unwrap_or_default();
    let number = |value: i32| if value == 0 { String::new() } else { value.to_string() };
    [
        ("task", task.task_id.clone()),
        ("state", state_name(task).to_owned()),
        ("progress", progress_line(task)),
        ("failure", failure_line(task)),
        ("last failure", last_failure_line(task)),
        ("next attempt", at(task.next_attempt_time.as_ref())),
        ("result", preview(&task.result)),
        ("kind", spec.kind),
        ("queue", if spec.queue.is_empty() { "default".to_owned() } else { spec.queue }),
        ("priority", spec.priority.map(|priority| priority.to_string()).unwrap_or_default()),
        ("at most once", if spec.at_most_once { "yes".to_owned() } else { String::new() }),
        ("retry", spec.retry.as_ref().map(retry).unwrap_or_default()),
        ("timeouts", spec.timeouts.as_ref().map(timeouts).unwrap_or_default()),
        ("delay", spec.delay.as_ref().map(length).unwrap_or_default()),
        ("labels", labels.join(", ")),
        ("requires", written(&spec.selector)),
        ("payload", preview(&spec.payload)),
        ("attempt", number(task.attempt)),
        ("fence", if task.fence == 0 { String::new() } else { task.fence.to_string() }),
        ("worker", task.worker_id.clone()),
        ("retries", number(task.retries)),
        ("worker deaths", number(task.worker_deaths)),
        ("retry of", task.retry_of.clone()),
        ("created", at(task.create_time.as_ref())),
        ("started", at(task.start_time.as_ref())),
        ("ended", at(task.end_time.as_ref())),
        ("revision", task.revision.to_string()),
    ]
}

fn retry(retry: &v1::RetryPolicy) -> String {
    let waits = [("from", &retry.initial_backoff), ("to", &retry.max_backoff)];
    let waits = waits.into_iter().filter_map(|(which, wait)| Some(format!(", {which} {}", length(wait.as_ref()?))));
    let factor = retry.backoff_multiplier.map(|factor| format!(", times {factor}"));
    let statuses = retry.final_exit_statuses.as_ref().map(|list| format!(", final {:?}", list.statuses));
    format!("{} attempts", retry.max_attempts) + &waits.chain(factor).chain(statuses).collect::<String>()
}

fn timeouts(timeouts: &v1::Timeouts) -> String {
    let all = [
        ("schedule to start", &timeouts.schedule_to_start),
        ("start to close", &timeouts.start_to_close),
        ("schedule to close", &timeouts.schedule_to_close),
        ("heartbeat", &timeouts.heartbeat),
    ];
    let set = all.into_iter().filter_map(|(name, limit)| Some(format!("{name} {}", length(limit.as_ref()?))));
    set.collect::<Vec<_>>().join(", ")
}

fn length(duration: &prost_types::Duration) -> String {
    Duration::try_from(*duration).map(|length| humantime::format_duration(length).to_string()).unwrap_or_default()
}
