//! `WatchDrain`: a question to the leader that it answers when there is something new, and then the next one.

use std::sync::Arc;

use futures::{StreamExt, stream::BoxStream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tonic::{Code, Request, Response, Status};
use tracing::{Instrument, Span};

use super::{
    Context, Front, request, span, unfitting,
    watches::{Count, jittered},
};
use crate::{
    domain::{Answer, Call, DrainView, WorkerId},
    wire::{
        CallError, drain_to_proto,
        proto::v1::{WatchDrainRequest, WatchDrainResponse},
    },
};

/// Most streams that are open at once: each holds one of the 4,096 places of calls that wait for the leader, and there are
/// few people who drain workers.
const MAX_STREAMS: usize = 256;

pub(super) type Drains = BoxStream<'static, Result<WatchDrainResponse, Status>>;

/// Room for streams.
#[derive(Debug)]
pub(in crate::client) struct Places(Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_STREAMS)))
    }
}

/// Opens the stream.
pub(super) async fn open(front: &Arc<Front>, request: Request<WatchDrainRequest>) -> Result<Response<Drains>, Status> {
    let (count, span) = (Count::new("WatchDrain", front.metrics.clone()), span("WatchDrain", request.metadata()));
    let opened = async {
        let worker = request::worker(&request.get_ref().worker_id)?;
        let place = front.drains.0.clone().try_acquire_owned().map_err(|_| CallError::Busy("drains"))?;
        let expires = Instant::now() + jittered(front.max_watch_age);
        let mut following = Following { front: front.clone(), worker, known: None, expires, _place: place };
        let first = following.next().await?;
        Ok((first, following))
    };
    match opened.instrument(span.clone()).await {
        Ok((first, following)) => {
            let outgoing = Outgoing { first, following, count, span };
            Ok(Response::new(futures::stream::unfold(Some(outgoing), Outgoing::next).boxed()))
        }
        Err(error) => {
            let error: CallError = error;
            count.ended(error.code());
            Err(error.status(None))
        }
    }
}

struct Following {
    front: Arc<Front>,
    worker: WorkerId,
    /// What was told last.
    known: Option<DrainView>,
    expires: Instant,
    _place: OwnedSemaphorePermit,
}

impl Following {
    /// The next that is new. None: there is nothing more to come, or the stream has lived for long enough.
    async fn next(&mut self) -> Result<Option<DrainView>, CallError> {
        if self.known.as_ref().is_some_and(DrainView::is_over) {
            return Ok(None);
        }
        let front = self.front.clone();
        loop {
            let known_busy = self.known.as_ref().map(|known| known.worker.busy_slots);
            let call = Call::AwaitDrain { worker_id: self.worker.clone(), known_busy };
            let answer = tokio::select! {
                answer = front.ask(call, Context { deadline: self.expires }) => answer,
                () = front.draining.cancelled() => Err(CallError::Draining),
            };
            match answer {
                Ok(Answer::Drain(view)) => {
                    // It is answered after a while in any case.
                    if view.is_over() || known_busy != Some(view.worker.busy_slots) {
                        self.known = Some(*view);
                        return Ok(self.known.clone());
                    }
                }
                Ok(_) => return Err(unfitting()),
                Err(CallError::DeadlineExceeded) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

struct Outgoing {
    /// The first, which is known before the stream is.
    first: Option<DrainView>,
    following: Following,
    count: Count,
    span: Span,
}

impl Outgoing {
    async fn next(outgoing: Option<Self>) -> Option<(Result<WatchDrainResponse, Status>, Option<Self>)> {
        let mut outgoing = outgoing?;
        let next = match outgoing.first.take() {
            Some(first) => Ok(Some(first)),
            None => outgoing.following.next().instrument(outgoing.span.clone()).await,
        };
        match next {
            Ok(Some(view)) => Some((Ok(drain_to_proto(&view)), Some(outgoing))),
            Ok(None) => {
                outgoing.count.ended(Code::Ok);
                None
            }
            Err(error) => {
                outgoing.count.ended(error.code());
                Some((Err(error.status(None)), None))
            }
        }
    }
}
