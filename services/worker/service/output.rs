//! `herdsman.internal.v1.WorkerService`: the logs of this worker's attempts, for client services to read.

use std::sync::Arc;

use futures::{StreamExt, stream, stream::BoxStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, async_trait};

use crate::{
    domain::{Fence, TaskId},
    wire::{
        self, CallError,
        proto::internal::v1::{ReadOutputRequest, ReadOutputResponse, worker_service_server::WorkerService},
    },
    worker::{
        desk::{Desk, Question},
        logs::{Log, Piece},
    },
};

/// Most streams at once: each may hold some pieces of 16 KiB on their way, and wakes at every write.
const MAX_READERS: usize = 256;

#[derive(Debug)]
pub(super) struct Outputs {
    desk: Arc<Desk>,
    places: Arc<Semaphore>,
    stopped: CancellationToken,
}

impl Outputs {
    pub(super) fn new(desk: Arc<Desk>, stopped: CancellationToken) -> Self {
        Self { desk, places: Arc::new(Semaphore::new(MAX_READERS)), stopped }
    }

    /// None: nothing is kept of such an attempt, and none runs.
    async fn log(&self, task_id: TaskId, attempt: u32, fence: Option<Fence>) -> Option<Arc<Log>> {
        if let Some(log) = self.desk.logs.find(&task_id, attempt, fence) {
            return Some(log);
        }
        let (answer, answered) = oneshot::channel();
        self.desk.ask(Question { task_id: task_id.clone(), attempt, fence, answer });
        let running = self.stopped.run_until_cancelled(answered).await?.ok()?;
        // It may have written its first line, and ended, between the two looks.
        running.or_else(|| self.desk.logs.find(&task_id, attempt, fence))
    }
}

#[async_trait]
impl WorkerService for Outputs {
    type ReadOutputStream = BoxStream<'static, Result<ReadOutputResponse, Status>>;

    async fn read_output(
        &self,
        request: Request<ReadOutputRequest>,
    ) -> Result<Response<Self::ReadOutputStream>, Status> {
        let ReadOutputRequest { task_id, attempt, fence, offset, tail_bytes, follow } = request.into_inner();
        let task_id: TaskId = wire::name("task_id", &task_id).map_err(|error| CallError::from(error).status(None))?;
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| CallError::TooManyReads.status(Some(&task_id)))?;
        let fence = (fence > 0).then_some(Fence(fence));
        let Some(log) = self.log(task_id.clone(), attempt, fence).await else {
            let problem = "this worker runs no such attempt, and keeps nothing of one";
            return Err(CallError::OutputNotFound(problem.into()).status(Some(&task_id)));
        };
        let at = if tail_bytes == 0 { offset } else { offset.max(log.before_end(tail_bytes)) };
        let reading = Reading { log, at, follow, ended: false, stopped: self.stopped.clone(), _place: place };
        Ok(Response::new(stream::unfold(reading, Reading::next).boxed()))
    }
}

struct Reading {
    log: Arc<Log>,
    at: u64,
    follow: bool,
    ended: bool,
    stopped: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Reading {
    async fn next(mut self) -> Option<(Result<ReadOutputResponse, Status>, Self)> {
        if self.ended {
            return None;
        }
        let piece = if self.follow {
            let Some(piece) = self.stopped.run_until_cancelled(self.log.next(self.at)).await else {
                self.ended = true;
                return Some((Err(Status::unavailable("this worker is stopping")), self));
            };
            piece
        } else {
            self.log.piece(self.at)?
        };
        let Piece { offset, data, skipped, last } = piece;
        self.at = offset + data.len() as u64;
        self.ended = last;
        Some((Ok(ReadOutputResponse { offset, data, skipped, last }), self))
    }
}
