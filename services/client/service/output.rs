//! `ReadTaskOutput`: the bytes go from the worker that has them through this client service to the reader, and past the
//! leader, which only says where they are.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use futures::{StreamExt, stream::BoxStream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Response, Status, Streaming, metadata::MetadataMap, transport::Channel};
use tracing::Instrument;

use super::{Front, request, span, unfitting, watches::Count, watches::jittered};
use crate::{
    client::hub::Target,
    domain::{Answer, Call, ListQuery, Located, Task, TaskId, TaskState, WorkerQuery, WorkerState, WorkerView},
    runtime::{dial::dial, serve::MAX_LINK_MESSAGE_BYTES},
    wire::{
        self, CallError, InvalidField,
        proto::{
            internal::v1::{ReadOutputRequest, ReadOutputResponse, worker_service_client::WorkerServiceClient},
            v1::{ReadTaskOutputRequest, ReadTaskOutputResponse},
        },
    },
};

pub(super) type Output = BoxStream<'static, Result<ReadTaskOutputResponse, Status>>;

/// Most outputs that are read at once: each has a task, and a piece or two of 16 KiB on its way.
const MAX_READS: usize = 1_024;
/// Longest wait for the leader's word, as for any call.
const ASK_LIMIT: Duration = Duration::from_secs(30);
/// Longest wait for a worker's first word; one that hangs still accepts.
const OPEN_LIMIT: Duration = Duration::from_secs(5);
/// How long a reader may take nothing before it is sent away: it holds a place here and at the worker.
const STALL_LIMIT: Duration = Duration::from_mins(1);
/// Most workers that are asked for an attempt before the last one: who had it is not written down.
const MAX_ASKED: usize = 64;

/// The connections to workers, each as long as something is read over it.
#[derive(Debug)]
pub(in crate::client) struct Outputs {
    connections: Mutex<HashMap<String, Weak<Channel>>>,
    places: Arc<Semaphore>,
}

impl Default for Outputs {
    fn default() -> Self {
        Self { connections: Mutex::default(), places: Arc::new(Semaphore::new(MAX_READS)) }
    }
}

impl Outputs {
    /// None: it cannot be reached.
    async fn connect(&self, address: &str) -> Option<Arc<Channel>> {
        let known = || self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let open = known().get(address).and_then(Weak::upgrade);
        if open.is_some() {
            return open;
        }
        let channel = match dial(address).await {
            Ok(channel) => Arc::new(channel),
            Err(error) => {
                tracing::debug!(%error, "cannot reach a worker");
                return None;
            }
        };
        let mut known = known();
        known.retain(|_, channel| channel.strong_count() > 0);
        known.insert(address.to_owned(), Arc::downgrade(&channel));
        Some(channel)
    }
}

/// Opens the stream. Whatever is wrong comes out of it.
pub(super) fn open(
    front: &Arc<Front>,
    metadata: &MetadataMap,
    request: ReadTaskOutputRequest,
) -> Result<Response<Output>, Status> {
    let count = Count::new("ReadTaskOutput", front.metrics.clone());
    let opened = reading(front, request);
    match opened {
        Ok(reading) => {
            // One piece waits for the reader, one for room to wait in.
            let (send, receive) = mpsc::channel(1);
            tokio::spawn(reading.run(send, count).instrument(span("ReadTaskOutput", metadata)));
            Ok(Response::new(ReceiverStream::new(receive).boxed()))
        }
        Err(error) => {
            count.ended(error.code());
            Err(error.status(None))
        }
    }
}

fn reading(front: &Arc<Front>, request: ReadTaskOutputRequest) -> Result<Reading, CallError> {
    let ReadTaskOutputRequest { task_id, attempt, offset, tail_bytes, follow } = request;
    let task_id = request::task_id(&task_id)?;
    let negative = |_| InvalidField::new("attempt", format!("must not be negative, is {attempt}"));
    let attempt = u32::try_from(attempt).map_err(negative)?;
    if front.draining.is_cancelled() {
        return Err(CallError::Draining);
    }
    let place = front.outputs.places.clone().try_acquire_owned().map_err(|_| CallError::TooManyReads)?;
    Ok(Reading { front: front.clone(), task_id, attempt, offset, tail_bytes, follow, _place: place })
}

struct Reading {
    front: Arc<Front>,
    task_id: TaskId,
    /// 0: the current or last one.
    attempt: u32,
    offset: u64,
    tail_bytes: u64,
    follow: bool,
    _place: OwnedSemaphorePermit,
}

type Pieces = mpsc::Sender<Result<ReadTaskOutputResponse, Status>>;

/// What came of asking a worker.
enum Found {
    Read,
    /// It has nothing of this attempt.
    Nothing,
}

impl Reading {
    async fn run(mut self, pieces: Pieces, count: Count) {
        let draining = self.front.draining.clone();
        let expires = Instant::now() + jittered(self.front.max_watch_age);
        let read = tokio::select! {
            read = self.read(&pieces) => read,
            () = sleep_until(expires) => Ok(()),
            () = draining.cancelled() => Err(CallError::Draining),
            () = pieces.closed() => return,
        };
        count.ended(read.as_ref().map_or_else(CallError::code, |()| Code::Ok));
        if let Err(error) = read {
            // Who does not take it in time has gone.
            let _ = pieces.send_timeout(Err(error.status(Some(&self.task_id))), STALL_LIMIT).await;
        }
    }

    async fn read(&mut self, pieces: &Pieces) -> Result<(), CallError> {
        loop {
            let Located { task, worker } = self.locate().await?;
            let runs_or_ran = match self.attempt {
                // Who follows what waits for its next attempt wants to see that one.
                0 if self.follow && task.state == TaskState::Pending => None,
                0 => Some(task.attempt).filter(|&attempt| attempt > 0),
                attempt => Some(attempt).filter(|&attempt| attempt <= task.attempt),
            };
            if let Some(attempt) = runs_or_ran {
                let found = if attempt == task.attempt {
                    self.read_at(worker.as_ref(), attempt, task.fence.0, pieces).await?
                } else {
                    self.read_anywhere(attempt, pieces).await?
                };
                match found {
                    Found::Read => return Ok(()),
                    // It may not have arrived there, or be over in a moment.
                    Found::Nothing if self.follow && attempt == task.attempt && task.state.is_active() => {}
                    Found::Nothing => return Err(nothing_kept(&task, attempt, worker.is_some())),
                }
            } else if task.state.is_terminal() || !self.follow {
                return Err(not_begun(&task));
            }
            self.changed(&task).await?;
        }
    }

    async fn locate(&self) -> Result<Located, CallError> {
        let call = Call::Locate { task_id: self.task_id.clone() };
        match self.front.link.ask(call, Instant::now() + ASK_LIMIT).await? {
            Answer::Located(located) => Ok(*located),
            Answer::Refused(refusal) => Err(refusal.into()),
            _ => Err(unfitting()),
        }
    }

    /// Waits until the task is another than this one, or a while.
    async fn changed(&self, task: &Task) -> Result<(), CallError> {
        let target = Target::Ids([self.task_id.clone()].into());
        let mut watch = self.front.hub.watch(target, task.revision, self.front.max_watch_age).await?;
        watch.next().await.transpose().map(drop).map_err(|ended| ended.error)
    }

    /// The workers that there are, one after the other: who had an attempt before the last one is not written down.
    async fn read_anywhere(&mut self, attempt: u32, pieces: &Pieces) -> Result<Found, CallError> {
        let call = Call::Workers(WorkerQuery { page_size: ListQuery::MAX_PAGE, after: None });
        let workers = match self.front.link.ask(call, Instant::now() + ASK_LIMIT).await? {
            Answer::Workers(page) => page.workers,
            Answer::Refused(refusal) => return Err(refusal.into()),
            _ => return Err(unfitting()),
        };
        let linked = workers.iter().filter(|worker| worker.state != WorkerState::Disconnected);
        let mut unreachable = None;
        for worker in linked.take(MAX_ASKED) {
            match self.read_at(Some(worker), attempt, 0, pieces).await {
                Ok(Found::Read) => return Ok(Found::Read),
                Ok(Found::Nothing) => {}
                Err(error) => unreachable = Some(error),
            }
        }
        unreachable.map_or(Ok(Found::Nothing), Err)
    }

    async fn read_at(
        &mut self,
        worker: Option<&WorkerView>,
        attempt: u32,
        fence: u64,
        pieces: &Pieces,
    ) -> Result<Found, CallError> {
        let Some((id, offer)) = worker.and_then(|worker| Some((&worker.worker_id, worker.offer.as_ref()?))) else {
            return Ok(Found::Nothing);
        };
        let unreachable = || CallError::WorkerUnreachable(id.clone());
        let channel = self.front.outputs.connect(&offer.address).await.ok_or_else(unreachable)?;
        let mut client =
            WorkerServiceClient::new(Channel::clone(&channel)).max_decoding_message_size(MAX_LINK_MESSAGE_BYTES);
        let request = ReadOutputRequest {
            task_id: self.task_id.to_string(),
            attempt,
            fence,
            offset: self.offset,
            tail_bytes: self.tail_bytes,
            follow: self.follow,
        };
        let opened = timeout(OPEN_LIMIT, client.read_output(request)).await.map_err(|_| unreachable())?;
        match opened {
            Ok(response) => {
                self.relay(response.into_inner(), attempt, pieces).await.map_err(|status| {
                    tracing::debug!(%status, worker = %id, "reading an output broke off");
                    unreachable()
                })?;
                Ok(Found::Read)
            }
            Err(status) => match wire::reason_of(&status).as_deref() {
                Some("OUTPUT_NOT_FOUND") => Ok(Found::Nothing),
                Some("TOO_MANY_READS") => Err(CallError::TooManyReads),
                _ => Err(unreachable()),
            },
        }
    }

    /// As fast as the reader takes it, to the end or until the reader has taken nothing for too long.
    async fn relay(
        &mut self,
        mut output: Streaming<ReadOutputResponse>,
        attempt: u32,
        pieces: &Pieces,
    ) -> Result<(), Status> {
        while let Some(ReadOutputResponse { offset, data, skipped, last }) = output.message().await? {
            let attempt = i32::try_from(attempt).unwrap_or(i32::MAX);
            let piece = ReadTaskOutputResponse { attempt, offset, data, skipped, last };
            if pieces.send_timeout(Ok(piece), STALL_LIMIT).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

fn not_begun(task: &Task) -> CallError {
    let problem = match (task.state.is_terminal(), task.attempt) {
        (false, _) => "this attempt has not begun".into(),
        (true, 0) => "the task ended before its first attempt".into(),
        (true, last) => format!("the task has ended, attempt {last} was its last").into(),
    };
    CallError::OutputNotFound(problem)
}

fn nothing_kept(task: &Task, attempt: u32, worker_is_known: bool) -> CallError {
    let last = attempt == task.attempt;
    let worker = task.worker.as_ref().filter(|_| last).map(ToString::to_string).unwrap_or_default();
    CallError::OutputNotFound(if last && !worker_is_known {
        format!("worker {worker}, which ran attempt {attempt}, is gone, and with it what the attempt wrote").into()
    } else if last && task.state == TaskState::Assigned {
        "this attempt has not begun".into()
    } else if last && task.state == TaskState::Running {
        format!("worker {worker} does not run attempt {attempt} any more, or was started again since").into()
    } else {
        format!(
            "nothing is kept of attempt {attempt}: it wrote nothing, or its worker was started again or has run very many \
             others since"
        )
        .into()
    })
}
