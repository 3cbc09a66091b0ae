//! Following tasks to their end, across broken streams and restarts of the client service.

use std::{
    collections::HashMap,
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
    mut client: Tasks,
    ids: &[String],
    mut see: impl FnMut(v1::Task) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut seen = Seen { revisions: HashMap::new(), open: ids.len() };
    let (mut after_revision, mut last_answer) = (0, Instant::now());
    while seen.open > 0 {
        let broken = match open(&mut client, ids, after_revision).await {
            Ok(mut events) => loop {
                match events.next().await {
                    Some(Ok((task, resume))) => {
                        last_answer = Instant::now();
                        after_revision = after_revision.max(resume);
                        if seen.is_new(&task) {
                            see(task)?;
                        }
                    }
                    Some(Err(status)) => break Some(status),
                    // The stream reached its maximum age.
                    None => break None,
                }
            },
            Err(status) => Some(status),
        };
        if seen.open == 0 {
            break;
        }
        match broken {
            Some(status) if !in_doubt(&status) || last_answer.elapsed() > SILENCE_LIMIT => return Err(status.into()),
            Some(status) => tracing::debug!(%status, "watching again"),
            None => last_answer = Instant::now(),
        }
        sleep(RETRY_PAUSE).await;
    }
    Ok(())
}

/// What has been shown already: a watch that goes on may repeat it.
struct Seen {
    revisions: HashMap<String, u64>,
    open: usize,
}

impl Seen {
    fn is_new(&mut self, task: &v1::Task) -> bool {
        let revision = self.revisions.entry(task.task_id.clone()).or_default();
        if task.revision <= *revision {
            return false;
        }
        *revision = task.revision;
        if has_ended(task) {
            self.open = self.open.saturating_sub(1);
        }
        true
    }
}

pub(super) fn has_ended(task: &v1::Task) -> bool {
    matches!(task.state(), v1::TaskState::Succeeded | v1::TaskState::Failed | v1::TaskState::Cancelled)
}

async fn open(client: &mut Tasks, ids: &[String], after_revision: u64) -> Result<Events, Status> {
    let opening = async {
        if let [task_id] = ids {
            let request = v1::WatchTaskRequest { task_id: task_id.clone(), after_revision };
            let events = client.watch_task(request).await?.into_inner();
            return Ok(events.map(|event| event.map(|event| from_then_on(event.task))).boxed());
        }
        let target = Some(WatchTarget::Ids(v1::TaskIds { task_ids: ids.to_vec() }));
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
