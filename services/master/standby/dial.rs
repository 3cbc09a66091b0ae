//! The gRPC edge of a standby's link.

use std::pin::Pin;

use async_trait::async_trait;
use futures::{Sink, SinkExt, StreamExt, TryStreamExt, stream, stream::BoxStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::PollSender;
use tonic::Status;

use super::End;
use crate::{
    runtime::{bundled_links::unbundled, dial::dial},
    wire::{
        InvalidField, LeaderToStandby, StandbyToLeader,
        proto::internal::v1::{LinkStandbyRequest, link_service_client::LinkServiceClient},
        reason_of,
    },
};

/// Heartbeats that may wait for a connection that does not take them.
const MAX_MESSAGES: usize = 4;

/// A message; or how the link ended, where the stream says so.
pub type Heard = Result<LeaderToStandby, End>;
/// Where messages to the leader go in.
pub type Outgoing = Pin<Box<dyn Sink<StandbyToLeader, Error = End> + Send>>;
/// Where messages of the leader come out.
pub type Incoming = BoxStream<'static, Heard>;

/// Opens links to leaders.
#[async_trait]
pub trait Dial: Send + Sync + 'static {
    /// Opens one to the leader at `address` (host:port). None: nobody answers there. What the leader thinks of it comes
    /// through the stream.
    async fn dial(&self, address: &str) -> Option<(Outgoing, Incoming)>;
}

/// Links by gRPC.
pub struct Grpc;

#[async_trait]
impl Dial for Grpc {
    async fn dial(&self, address: &str) -> Option<(Outgoing, Incoming)> {
        let channel = dial(address).await.ok()?;
        let (to, from) = mpsc::channel::<LinkStandbyRequest>(MAX_MESSAGES);
        let outgoing = PollSender::new(to)
            .sink_map_err(|_| End::Broken)
            .with(|message: StandbyToLeader| std::future::ready(Ok::<_, End>(message.into())));
        // The leader answers only when it has heard the hello, so the call is part of the stream.
        let responses = stream::once(async move {
            let responses = LinkServiceClient::new(channel).link_standby(ReceiverStream::new(from)).await?;
            Ok::<_, Status>(responses.into_inner())
        });
        Some((Box::pin(outgoing), unbundled(responses.try_flatten()).map(heard).boxed()))
    }
}

/// A leader that gives a reason for the end of a link, or talks nonsense, is alive.
pub(super) fn heard(message: Result<Result<LeaderToStandby, InvalidField>, Status>) -> Heard {
    match message {
        Ok(message) => message.map_err(|_| End::Other),
        Err(status) if reason_of(&status).is_some() => Err(End::Other),
        Err(_) => Err(End::Broken),
    }
}
