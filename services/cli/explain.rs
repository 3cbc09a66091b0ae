//! `explain`: why a task waits, or what became of it, in sentences.

use std::time::SystemTime;

use clap::Args;

use super::{
    exit::Failure,
    list::age,
    output::Output,
    server::{Server, call},
    submit::require::written,
    tasks::{failure_line, found, last_failure_line, progress_line, state_name, time},
};
use crate::wire::proto::v1::{self, pending_reason::Reason};

#[derive(Debug, Args)]
#[command(after_help = "\
Of a task that waits it says everything that keeps it from a worker; of another one where
it runs, or how it ended and what can be done.

Examples:
  herdsman explain resize-17
  herdsman explain resize-17 --output json | jq .reasons")]
pub(super) struct Explain {
    #[command(flatten)]
    server: Server,
    /// Ids of the tasks
    #[arg(required = true, value_name = "TASK_ID")]
    task_ids: Vec<String>,
}

impl Explain {
    pub(super) async fn run(self, output: &Output) -> Result<(), Failure> {
        let mut client = self.server.tasks().await?;
        let mut all_found = true;
        for task_id in self.task_ids {
            let request = v1::ExplainTaskRequest { task_id: task_id.clone() };
            let Some(reply) = found(client.explain_task(call(request)).await)? else {
                all_found = false;
                continue;
            };
            all_found &= reply.task.is_some();
            if output.is_json() {
                output.json(&reply)?;
            } else {
                output.line(headline(&task_id, reply.task.as_ref()))?;
                sentences(&reply).into_iter().try_for_each(|sentence| output.line(format_args!("- {sentence}")))?;
            }
        }
        if all_found { Ok(()) } else { Err(Failure::Untrue) }
    }
}

/// What it is and where.
fn headline(task_id: &str, task: Option<&v1::Task>) -> String {
    let Some(task) = task else { return format!("Nobody can say how {task_id} is:") };
    let (state, on) = (state_name(task), &task.worker_id);
    let ago = age(task.end_time.as_ref());
    let during = if task.attempt == 0 {
        "before its first attempt".to_owned()
    } else {
        format!("in attempt {} on worker {on}", task.attempt)
    };
    match task.state() {
        v1::TaskState::Pending => format!("{task_id} is {state}, because:"),
        v1::TaskState::Assigned => format!("{task_id} is {state} to worker {on}, as attempt {}", task.attempt),
        v1::TaskState::Running => {
            let since = age(task.start_time.as_ref());
            format!("{task_id} is {state} on worker {on} for {since}, as attempt {}", task.attempt)
        }
        v1::TaskState::Cancelled if task.attempt == 0 => format!("{task_id} was {state} {ago} ago, {during}"),
        v1::TaskState::Cancelled => format!("{task_id} was {state} {ago} ago, after attempt {} on {on}", task.attempt),
        _ => format!("{task_id} has {state} {ago} ago, {during}"),
    }
}

/// What else there is to say.
fn sentences(reply: &v1::ExplainTaskResponse) -> Vec<String> {
    let task = reply.task.clone().unwrap_or_default();
    if !reply.reasons.is_empty() {
        return reply.reasons.iter().map(|reason| sentence(&task, reason)).collect();
    }
    let mut all = Vec::new();
    let failures = task.spec.as_ref().and_then(|spec| spec.retry.as_ref()).map(|retry| retry.max_attempts);
    match task.state() {
        v1::TaskState::Assigned | v1::TaskState::Running => {
            if reply.worker.as_ref().is_none_or(|worker| worker.state() == v1::WorkerState::Disconnected) {
                all.push(
                    "its worker has no link to the leader: unless it comes back soon, the task goes elsewhere".into(),
                );
            } else if task.state() == v1::TaskState::Assigned {
                all.push("its worker has not said yet that it began".into());
            }
            all.extend(
                Some(progress_line(&task)).filter(|line| !line.is_empty()).map(|line| format!("progress: {line}")),
            );
            all.extend(
                failures.map(|most| format!("{} failed before it, of {most} that may", count(task.retries, "attempt"))),
            );
        }
        v1::TaskState::Failed => {
            all.push(failure_line(&task));
            let spent = failures.filter(|most| task.retries + 1 >= *most);
            all.extend(spent.map(|most| format!("its {} are spent", count(most, "attempt"))));
            all.push(format!("to run it once more, as a new task: herdsman retry {}", task.task_id));
        }
        v1::TaskState::Cancelled => {
            all.push(format!("to run it once more, as a new task: herdsman retry {}", task.task_id));
        }
        v1::TaskState::Succeeded => all.push(format!("its result: herdsman get {}", task.task_id)),
        v1::TaskState::Pending | v1::TaskState::Unspecified => {}
    }
    all
}

fn sentence(task: &v1::Task, reason: &v1::PendingReason) -> String {
    match &reason.reason {
        Some(Reason::NoLeader(_)) => "there is no leader: until a master leads nothing starts".to_owned(),
        Some(Reason::NotBefore(it)) => format!("it is not to begin before {}", moment(it.start_time.as_ref())),
        Some(Reason::BackingOff(it)) => format!(
            "{} failed, the last with {}; the next one begins at {}",
            count(it.failed_attempt_count, "attempt"),
            last_failure_line(task),
            moment(it.retry_time.as_ref())
        ),
        Some(Reason::QueuePaused(v1::QueuePaused { queue })) => {
            format!("its queue {queue} is paused: herdsman queue resume {queue}")
        }
        Some(Reason::QueueAtMaxRunning(it)) => {
            let (queue, running, most) = (&it.queue, it.running_count, it.max_running);
            format!("its queue {queue} runs as many tasks as it may: {running} of {most}")
        }
        Some(Reason::QueueAtMaxStarts(it)) => format!(
            "its queue {} has started as many tasks as it may, {} a second; the next one may start at {}",
            it.queue,
            it.max_starts_per_second,
            moment(it.next_start_time.as_ref())
        ),
        Some(Reason::KindNotServed(v1::KindNotServed { worker_count: 0, .. })) => "no worker is there".to_owned(),
        Some(Reason::KindNotServed(it)) => {
            let kind = &it.kind;
            match it.worker_count {
                1 => format!("the only worker does not serve its kind {kind}"),
                many => format!("none of the {many} workers serves its kind {kind}"),
            }
        }
        Some(Reason::QueueNotServed(it)) => {
            let queue = &it.queue;
            match it.worker_count {
                1 => format!("the only worker that serves its kind takes nothing from its queue {queue}"),
                many => format!("none of the {many} workers that serve its kind takes from its queue {queue}"),
            }
        }
        Some(Reason::SelectorNotMatched(it)) => {
            let required = written(task.spec.as_ref().map(|spec| spec.selector.as_slice()).unwrap_or_default());
            match it.worker_count {
                1 => format!("the only worker that serves it has not the labels that it requires: {required}"),
                many => format!(
                    "none of the {many} workers that serve it has the labels that it requires: {}",
                    it.requirements.iter().map(matched).collect::<Vec<_>>().join(", ")
                ),
            }
        }
        Some(Reason::WorkersUnavailable(it)) => {
            let counts = [
                (it.drained_count, "drained"),
                (it.stopping_count, "stopping"),
                (it.unregistered_count, "not registered"),
                (it.resting_count, "resting for a second"),
                (it.disconnected_count, "without a link"),
            ];
            let told =
                counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
            format!("workers that get nothing new for now: {}", told.collect::<Vec<_>>().join(", "))
        }
        Some(Reason::SlotsBusy(it)) => format!(
            "no slot is free: {} of {} that could take it; {} in its queue",
            count(it.slot_count, "slot"),
            count(it.worker_count, "worker"),
            count(i32::try_from(it.queue_pending_count).unwrap_or(i32::MAX), "pending task")
        ),
        Some(Reason::KeptApart(it)) => format!(
            "{} of it, so it runs beside no other such task, and each worker with a free slot ({}) runs one",
            if it.worker_deaths == 1 {
                "a worker died".to_owned()
            } else {
                format!("{} workers died", it.worker_deaths)
            },
            it.worker_count
        ),
        Some(Reason::AboutToStart(_)) => "nothing keeps it any more: it is about to start".to_owned(),
        None => "of something that only a newer herdsman knows".to_owned(),
    }
}

/// A requirement, and how many have it.
fn matched(it: &v1::RequirementMatch) -> String {
    let requirement = written(it.requirement.as_slice());
    match it.worker_count {
        0 => format!("{requirement} (nobody)"),
        some => format!("{requirement} (only {some})"),
    }
}

fn count(count: i32, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// A time of day, and how long it is until then.
fn moment(at: Option<&prost_types::Timestamp>) -> String {
    let Some(at) = time(at) else { return "an unknown time".to_owned() };
    let left = at.duration_since(SystemTime::now()).unwrap_or_default();
    let left = std::time::Duration::from_secs(left.as_secs());
    format!("{} (in {})", humantime::format_rfc3339_seconds(at), humantime::format_duration(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(state: v1::TaskState) -> v1::Task {
        let retry = v1::RetryPolicy { max_attempts: 3, ..v1::RetryPolicy::default() };
        let spec = v1::TaskSpec { retry: Some(retry), ..v1::TaskSpec::default() };
        v1::Task {
            task_id: "t".into(),
            spec: Some(spec),
            state: state.into(),
            attempt: 3,
            retries: 2,
            ..v1::Task::default()
        }
    }

    #[test]
    fn a_reason_of_a_newer_server_is_told_as_one() {
        let reply = v1::ExplainTaskResponse {
            task: Some(task(v1::TaskState::Pending)),
            reasons: vec![v1::PendingReason { reason: None }],
            worker: None,
        };
        assert_eq!(sentences(&reply), ["of something that only a newer herdsman knows"]);
    }

    #[test]
    fn a_task_whose_attempts_are_spent_says_so_and_what_can_be_done() {
        let failure = v1::TaskFailure { message: "no disk".into(), exit_status: Some(7), ..v1::TaskFailure::default() };
        let mut failed = task(v1::TaskState::Failed);
        failed.failure = Some(failure);
        let reply = v1::ExplainTaskResponse { task: Some(failed), ..v1::ExplainTaskResponse::default() };
        let said = sentences(&reply);
        assert!(said[0].contains("(exit status 7): no disk") && said[1] == "its 3 attempts are spent", "{said:?}");
        assert_eq!(said[2], "to run it once more, as a new task: herdsman retry t");
    }

    #[test]
    fn of_several_workers_each_requirement_says_how_many_have_it() {
        let exists = |key: &str, worker_count| {
            let operator = v1::LabelOperator::Exists.into();
            let requirement = v1::LabelRequirement { key: key.into(), operator, values: Vec::new() };
            v1::RequirementMatch { requirement: Some(requirement), worker_count }
        };
        let requirements = vec![exists("gpu", 0), exists("ssd", 2)];
        let reason = Reason::SelectorNotMatched(v1::SelectorNotMatched { worker_count: 3, requirements });
        let said = sentence(&task(v1::TaskState::Pending), &v1::PendingReason { reason: Some(reason) });
        let expected =
            "none of the 3 workers that serve it has the labels that it requires: gpu (nobody), ssd (only 2)";
        assert_eq!(said, expected);
    }

    #[test]
    fn one_whose_worker_is_away_says_so() {
        let away = v1::Worker { state: v1::WorkerState::Disconnected.into(), ..v1::Worker::default() };
        let running = Some(task(v1::TaskState::Running));
        let reply = v1::ExplainTaskResponse { task: running, worker: Some(away), reasons: Vec::new() };
        let said = sentences(&reply);
        assert!(said[0].contains("no link to the leader"), "{said:?}");
        assert_eq!(said[1], "2 attempts failed before it, of 3 that may");
    }
}
