//! One measurement of a cluster: submits as planned, and watches every task to its end.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use indicatif::ProgressBar;
use prost::Message;
use tokio::{
    sync::Semaphore,
    time::{interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic::{Code, Request, Status};

use super::{
    api::{Api, Seen, Submit},
    options::{Mode, NextAfter, Pace, Plan, WatchBy},
    pace::{self, Due},
    record::{Found, Record},
    watch::{self, LABEL, Watch},
};
use crate::{
    cli::{exit::Failure, server::CALL_TIMEOUT, submit::send, watch::ending},
    wire::proto::v1::{SubmitTaskRequest, TaskSpec, TaskState},
};

/// Longest wait for the first task, which shows that somebody serves the kind.
const FIRST_LIMIT: Duration = Duration::from_secs(10);
/// Longest wait for an answer, as the server has it.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// When nothing more is heard for so long, something is broken.
const SILENCE_LIMIT: Duration = Duration::from_mins(1);
/// How often the bar moves.
const TICK: Duration = Duration::from_millis(100);

/// What submits are made of.
pub(super) struct Submitter {
    pub(super) clients: Vec<Api>,
    pub(super) spec: TaskSpec,
}

/// What calls and the watch have in common.
struct Shared {
    record: Record,
    /// The first thing that ended the measurement before its time.
    failure: OnceLock<Status>,
    failed: CancellationToken,
}

impl Shared {
    fn fail(&self, status: Status) {
        // Only the first says what happened.
        let _ = self.failure.set(status);
        self.failed.cancel();
    }
}

impl Submitter {
    /// Measures once. `measurement` is the value of the label of its tasks, and begins their ids.
    pub(super) async fn measure(&self, plan: Plan, measurement: &str, bar: &ProgressBar) -> Result<Found, Failure> {
        let mut spec = self.spec.clone();
        spec.labels.insert(LABEL.to_owned(), measurement.to_owned());
        let watch = match plan.watch {
            WatchBy::One => Some(begin(self.clients[0].clone(), &spec, measurement).await?),
            WatchBy::Each | WatchBy::None => None,
        };

        let spec = Bytes::from(spec.encode_to_vec());
        let next_after = match plan.pace {
            Pace::Closed { next_after, .. } => next_after,
            Pace::Open { .. } => NextAfter::Ack,
        };
        let start = Instant::now();
        let shared = Arc::new(Shared {
            record: Record::new(start, next_after, plan.watch),
            failure: OnceLock::new(),
            failed: CancellationToken::new(),
        });
        let _watching = watch.map(|watch| AbortOnDropHandle::new(tokio::spawn(follow(watch, shared.clone()))));
        let measured = async {
            self.submit(plan, start, &spec, measurement, &shared).await;
            shared.record.over().await;
        };
        tokio::select! {
            () = measured => Ok(shared.record.found()),
            () = shared.failed.cancelled() => {
                Err(shared.failure.get().cloned().unwrap_or_else(|| Status::unknown("it ended")).into())
            }
            silent = show(&shared.record, bar) => Err(silent),
        }
    }

    /// Sends every call of the plan.
    async fn submit(&self, plan: Plan, start: Instant, spec: &Bytes, measurement: &str, shared: &Arc<Shared>) {
        let room = Arc::new(Semaphore::new(pace::room(plan.pace)));
        let mut by_the_clock = match plan.pace {
            Pace::Open { rate } => Some(pace::by_the_clock(plan, rate, start)),
            Pace::Closed { .. } => None,
        };
        let mut clients = self.clients.iter().cycle();
        let mut sent = 0;
        loop {
            // Due before there is room, if it is by the clock; as soon as there is room, if not.
            let due: Option<Due> = match &mut by_the_clock {
                Some(due) => Some(due.recv().await.unwrap_or_default()),
                None => None,
            };
            let Ok(permit) = room.clone().acquire_owned().await else { break };
            let due = due.unwrap_or_else(|| vec![Instant::now(); pace::next_batch(&plan, start, sent)]);
            if due.is_empty() {
                break;
            }
            sent += due.len() as u64;
            let numbers = shared.record.sending(due.into_iter(), Some(permit));
            let request = |number| Submit { task_id: format!("{measurement}-{number}"), spec: spec.clone() };
            let requests: Vec<_> = numbers.clone().map(request).collect();
            let watched: Vec<_> = match plan.watch {
                WatchBy::Each => numbers.clone().zip(requests.iter().map(|request| request.task_id.clone())).collect(),
                WatchBy::One | WatchBy::None => Vec::new(),
            };
            let (client, shared) = (clients.next().expect("a cycle of at least one").clone(), shared.clone());
            tokio::spawn(async move {
                match send(client.clone(), plan.mode, requests).await {
                    Ok(outcomes) => {
                        let accepted = watched.into_iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
                        for ((number, task_id), _) in accepted {
                            tokio::spawn(follow_one(client.clone(), number, task_id, shared.clone()));
                        }
                        shared.record.answered(numbers, outcomes.into_iter());
                    }
                    Err(status) => shared.fail(status),
                }
            });
        }
        shared.record.all_sent();
    }
}

/// Submits one task, opens the watch of all tasks of the measurement, from this one on, and waits for its end: somebody serves
/// the kind, and what is pushed arrives.
async fn begin(client: Api, spec: &TaskSpec, measurement: &str) -> Result<Watch, Failure> {
    let task_id = format!("{measurement}-first");
    let first = SubmitTaskRequest { task_id: task_id.clone(), spec: Some(spec.clone()) };
    let submitted = send::one(client.tasks(), first).await?;
    let before = submitted.revision.saturating_sub(1);
    let opening = timeout(CALL_TIMEOUT, Watch::open(client, measurement, before)).await;
    let mut watch = opening.map_err(|_| Failure::unable("no answer in time"))??;
    let ended = async {
        loop {
            if let Some(first) =
                watch.next().await?.into_iter().find(|task| task.task_id == task_id && task.has_ended())
            {
                return Ok::<_, Status>(first);
            }
        }
    };
    match timeout(FIRST_LIMIT, ended).await {
        Ok(first) => {
            let first = first?;
            let succeeded = first.state() == TaskState::Succeeded;
            if succeeded { Ok(watch) } else { Err(Failure::Refused(anyhow::anyhow!(ending(&first.into())))) }
        }
        Err(_) => Err(Failure::unable(format!(
            "task {task_id} has not ended within {FIRST_LIMIT:?}: does a worker serve kind {}, and has it a slot free?",
            spec.kind
        ))),
    }
}

/// One call, and what became of each of its tasks.
///
/// # Errors
/// Nobody answered: whatever is measured, it is not what was asked for.
async fn send(client: Api, mode: Mode, mut requests: Vec<Submit>) -> Result<Vec<Result<(), Code>>, Status> {
    let count = requests.len();
    let answer = match mode {
        Mode::Unary => client.submit_task(bounded(requests.pop().unwrap_or_default())).await.map(|()| vec![Ok(())]),
        Mode::Batch => client.submit_tasks(bounded(requests)).await,
    };
    match answer {
        Err(status) if status.code() != Code::Unavailable && std::error::Error::source(&status).is_none() => {
            Ok(vec![Err(status.code()); count])
        }
        answer => answer,
    }
}

fn bounded<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ANSWER_LIMIT);
    request
}

/// Takes in every end.
async fn follow(mut watch: Watch, shared: Arc<Shared>) {
    loop {
        match watch.next().await {
            Ok(tasks) => shared.record.ended(tasks.iter().filter_map(numbered)),
            Err(status) => return shared.fail(status),
        }
    }
}

/// Takes in the end of one task.
async fn follow_one(client: Api, number: usize, task_id: String, shared: Arc<Shared>) {
    match watch::one(client, task_id).await {
        Ok(task) => shared.record.ended([(number, &task)].into_iter()),
        Err(status) => shared.fail(status),
    }
}

/// The number of a task of a measurement; none for its first.
fn numbered(task: &Seen) -> Option<(usize, &Seen)> {
    let (_, number) = task.task_id.rsplit_once('-')?;
    Some((number.parse().ok()?, task))
}

/// Moves the bar, until nothing more is heard.
async fn show(record: &Record, bar: &ProgressBar) -> Failure {
    let mut ticks = interval(TICK);
    loop {
        ticks.tick().await;
        let (ended, open) = record.progress();
        bar.set_position(ended);
        if open > 0 {
            bar.set_message(format!("{open} accepted and not ended"));
        }
        if record.silence().is_some_and(|silence| silence > SILENCE_LIMIT) {
            return Failure::unable(format!("{open} tasks are waited for, and none has ended for {SILENCE_LIMIT:?}"));
        }
    }
}
