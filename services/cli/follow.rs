//! Following tasks to their end, across broken streams and restarts of the client service.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream::BoxStream};
use tokio::time::{sleep, timeout};
use tonic::{Status, transport::Channel};

use super::{
    exit::{Failure, in_doubt},
    server::CALL_TIMEOUT,
};
use crate::wire::proto::v1::{
    self, task_service_client::TaskServiceClient, watch_tasks_request::Target as WatchTarget,
};

/// Most ids of one WatchTasks call, as the server allows.
pub(super) const MAX_IDS: usize = 1_000;
/// How long nobody may answer before the watch gives up: a client service restarts, and a leader is replaced, in less.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// Pause before a watch is opened again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

type Tasks = TaskServiceClient<Channel>;
/// A task, and the revision from which a later watch goes on.
type Events = BoxStream<'static, Result<(v1::Task, u64), Status>>;

/// Follows tasks, at most [`MAX_IDS`], until all have ended. `see` gets every state once, in order per task.
pub(super) async fn follow(
    client: Tasks,
    ids: &[String],
    see: impl FnMut(v1::Task) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let only_one = ids.len() == 1;
    follow_through(ids, SILENCE_LIMIT, see, |ids, after| open(client.clone(), only_one, ids, after)).await
}

/// The same, by streams that `open` opens: for these tasks, from the revision on.
async fn follow_through<F: Future<Output = Result<Events, Status>>>(
    ids: &[String],
    silence_limit: Duration,
    mut see: impl FnMut(v1::Task) -> Result<(), Failure>,
    open: impl Fn(Vec<String>, u64) -> F,
) -> Result<(), Failure> {
    let mut seen = Seen { revisions: HashMap::new(), open: ids.iter().cloned().collect() };
    let (mut after_revision, mut last_answer) = (0, Instant::now());
    loop {
        // Those that have ended are left out: they may have left the cluster since.
        let broken = match open(seen.open.iter().cloned().collect(), after_revision).await {
            Ok(mut events) => {
                let broken = loop {
                    match events.next().await {
                        Some(Ok((task, resume))) => {
                            after_revision = after_revision.max(resume);
                            if seen.is_new(&task) {
                                see(task)?;
                            }
                        }
                        Some(Err(status)) => break Some(status),
                        // The stream reached its maximum age, or all have ended.
                        None => break None,
                    }
                };
                // However quiet, it was open until now.
                last_answer = Instant::now();
                broken
            }
            Err(status) => Some(status),
        };
        if seen.open.is_empty() {
            return Ok(());
        }
        if let Some(status) = broken {
            if !in_doubt(&status) || last_answer.elapsed() > silence_limit {
                return Err(status.into());
            }
            tracing::debug!(%status, "watching again");
        }
        sleep(RETRY_PAUSE).await;
    }
}

/// What has been shown already: a watch that goes on may repeat it.
struct Seen {
    revisions: HashMap<String, u64>,
    /// Those whose end is still to come.
    open: BTreeSet<String>,
}

impl Seen {
    fn is_new(&mut self, task: &v1::Task) -> bool {
        let revision = self.revisions.entry(task.task_id.clone()).or_default();
        if task.revision <= *revision {
            return false;
        }
        *revision = task.revision;
        if has_ended(task) {
            self.open.remove(&task.task_id);
        }
        true
    }
}

pub(super) fn has_ended(task: &v1::Task) -> bool {
    is_terminal(task.state())
}

pub(super) fn is_terminal(state: v1::TaskState) -> bool {
    matches!(state, v1::TaskState::Succeeded | v1::TaskState::Failed | v1::TaskState::Cancelled)
}

async fn open(mut client: Tasks, only_one: bool, ids: Vec<String>, after_revision: u64) -> Result<Events, Status> {
    let opening = async {
        if only_one {
            let request = v1::WatchTaskRequest { task_id: ids.into_iter().collect(), after_revision };
            let events = client.watch_task(request).await?.into_inner();
            return Ok(events.map(|event| event.map(|event| from_then_on(event.task))).boxed());
        }
        let target = Some(WatchTarget::Ids(v1::TaskIds { task_ids: ids }));
        let events = client.watch_tasks(v1::WatchTasksRequest { target, after_revision }).await?.into_inner();
        Ok(events.map(|event| event.map(|event| (event.task.unwrap_or_default(), event.resume_revision))).boxed())
    };
    timeout(CALL_TIMEOUT, opening).await.unwrap_or_else(|_| Err(Status::unavailable("no answer in time")))
}

fn from_then_on(task: Option<v1::Task>) -> (v1::Task, u64) {
    let task = task.unwrap_or_default();
    let revision = task.revision;
    (task, revision)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use futures::stream;

    use super::*;

    /// Much longer than a test needs from one line to the next.
    const LIMIT: Duration = Duration::from_millis(500);

    fn event(task_id: &str, state: v1::TaskState, revision: u64) -> (v1::Task, u64) {
        (v1::Task { task_id: task_id.into(), state: state.into(), revision, ..v1::Task::default() }, revision)
    }

    fn lost() -> Result<(v1::Task, u64), Status> {
        Err(Status::unavailable("the connection is gone"))
    }

    #[tokio::test]
    async fn a_stream_that_was_quiet_for_long_is_opened_again_when_it_breaks() {
        let opened = Cell::new(0);
        let quiet = || async {
            sleep(LIMIT * 2).await;
            lost()
        };
        let open = |_, _| {
            opened.set(opened.get() + 1);
            let first = opened.get() == 1;
            async move {
                let ended = || async { Ok(event("a", v1::TaskState::Succeeded, 1)) };
                Ok(if first { stream::once(quiet()).boxed() } else { stream::once(ended()).boxed() })
            }
        };
        follow_through(&["a".into()], LIMIT, |_| Ok(()), open).await.unwrap();
        assert_eq!(opened.get(), 2);
    }

    #[tokio::test]
    async fn nobody_there_for_long_is_given_up() {
        let open = |_, _| async { Err(Status::unavailable("nobody there")) };
        let failure = follow_through(&["a".into()], LIMIT, |_| Ok(()), open).await.unwrap_err();
        assert!(matches!(failure, Failure::Unable(_)), "{failure:?}");
    }

    #[tokio::test]
    async fn what_has_ended_is_not_asked_for_again() {
        let asked = RefCell::new(Vec::new());
        let open = |ids: Vec<String>, after| {
            asked.borrow_mut().push((ids, after));
            let events = match asked.borrow().len() {
                1 => {
                    vec![Ok(event("a", v1::TaskState::Succeeded, 7)), Ok(event("b", v1::TaskState::Running, 8)), lost()]
                }
                _ => vec![Ok(event("b", v1::TaskState::Succeeded, 9))],
            };
            async { Ok(stream::iter(events).boxed()) }
        };
        let mut shown = Vec::new();
        let see = |task: v1::Task| {
            shown.push(task.revision);
            Ok(())
        };
        follow_through(&["a".into(), "b".into()], LIMIT, see, open).await.unwrap();
        assert_eq!(shown, [7, 8, 9]);
        assert_eq!(asked.into_inner(), [(vec!["a".into(), "b".into()], 0), (vec!["b".into()], 8)]);
    }
}
