//! Watch streams on their way out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream::BoxStream};
use tonic::{Code, Response, Status, metadata::MetadataMap};
use tracing::{Instrument, Span};

use super::{Front, span};
use crate::{
    client::{
        hub::{Target, Update, Watch},
        metrics::Metrics,
    },
    domain::Revision,
    wire::InvalidField,
};

pub(super) type Updates<R> = BoxStream<'static, Result<R, Status>>;

/// Opens a stream of the hub's updates, each as `response` makes it.
pub(super) async fn open<R: Send + 'static>(
    front: &Arc<Front>,
    rpc: &'static str,
    metadata: &MetadataMap,
    target: Result<Target, InvalidField>,
    after: Revision,
    response: fn(Update) -> R,
) -> Result<Response<Updates<R>>, Status> {
    let start = Instant::now();
    let span = span(rpc, metadata);
    let opened = async {
        let target = target?;
        front.hub.watch(target, after, jittered(front.max_watch_age)).await
    };
    match opened.instrument(span.clone()).await {
        Ok(watch) => {
            let count = Count { rpc, start, code: Code::Cancelled, metrics: front.metrics.clone() };
            let outgoing = Outgoing { watch: Some(watch), response, count, span };
            Ok(Response::new(futures::stream::unfold(outgoing, Outgoing::next).boxed()))
        }
        Err(error) => {
            front.metrics.ended(rpc, error.code(), start.elapsed());
            Err(error.status(None))
        }
    }
}

struct Outgoing<R> {
    /// None: it has ended.
    watch: Option<Watch>,
    response: fn(Update) -> R,
    count: Count,
    span: Span,
}

impl<R> Outgoing<R> {
    async fn next(mut self) -> Option<(Result<R, Status>, Self)> {
        let span = self.span.clone();
        match self.watch.as_mut()?.next().instrument(span).await {
            Some(Ok(update)) => {
                self.count.metrics.skipped(update.skipped);
                let response = (self.response)(update);
                Some((Ok(response), self))
            }
            Some(Err(ended)) => {
                self.watch = None;
                self.count.code = ended.error.code();
                Some((Err(ended.error.status(ended.task_id.as_ref())), self))
            }
            None => {
                self.count.code = Code::Ok;
                None
            }
        }
    }
}

/// Counts a stream when it has ended; one that its client dropped is CANCELLED.
pub(super) struct Count {
    rpc: &'static str,
    start: Instant,
    code: Code,
    metrics: Metrics,
}

impl Count {
    /// A stream that begins.
    pub(super) fn new(rpc: &'static str, metrics: Metrics) -> Self {
        Self { rpc, start: Instant::now(), code: Code::Cancelled, metrics }
    }

    pub(super) fn ended(mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.metrics.ended(self.rpc, self.code, self.start.elapsed());
    }
}

/// Nine to eleven tenths.
pub(super) fn jittered(age: Duration) -> Duration {
    age * 9 / 10 + age * fastrand::u32(0..=200) / 1_000
}
