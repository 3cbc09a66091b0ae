//! Where the leader link meets tonic, and the only place where it does.

use std::pin::Pin;

use async_trait::async_trait;
use futures::{Sink, SinkExt, StreamExt, TryStreamExt, stream::BoxStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::PollSender;

use crate::{
    runtime::{dial::dial, serve::MAX_LINK_MESSAGE_BYTES},
    wire::{
        ClientToLeader, LeaderToClient,
        proto::internal::v1::{LinkClientRequest, link_service_client::LinkServiceClient},
    },
};

/// Messages between the link's code and the HTTP/2 stream: enough to fill a few frames, few enough that a link that
/// does not move is felt at once.
const OUTGOING_MESSAGES: usize = 128;

/// Why a link cannot be had, or ended; for the log.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct LinkError(pub String);

pub type Outgoing = Pin<Box<dyn Sink<ClientToLeader, Error = LinkError> + Send>>;
pub type Incoming = BoxStream<'static, Result<LeaderToClient, LinkError>>;

/// Opens the two directions of a link. Nothing has been said on it yet.
#[async_trait]
pub trait Dial: Send + Sync + 'static {
    /// # Errors
    /// Nobody answers at this address (host:port).
    async fn dial(&self, address: &str) -> Result<(Outgoing, Incoming), LinkError>;
}

/// Links by gRPC.
pub struct GrpcDial;

#[async_trait]
impl Dial for GrpcDial {
    async fn dial(&self, address: &str) -> Result<(Outgoing, Incoming), LinkError> {
        let channel = dial(address).await.map_err(|error| LinkError(error.to_string()))?;
        let mut leader = LinkServiceClient::new(channel).max_decoding_message_size(MAX_LINK_MESSAGE_BYTES);
        let (sender, receiver) = mpsc::channel::<LinkClientRequest>(OUTGOING_MESSAGES);
        let outgoing = PollSender::new(sender)
            .sink_map_err(|_| LinkError("the connection is gone".into()))
            .with(async |message: ClientToLeader| Ok::<_, LinkError>(LinkClientRequest::from(message)));
        // The leader answers only when it has heard the hello, so the call is part of the stream.
        let incoming = futures::stream::once(async move { leader.link_client(ReceiverStream::new(receiver)).await })
            .map_ok(tonic::Response::into_inner)
            .try_flatten()
            .map(|message| match message {
                Ok(message) => LeaderToClient::try_from(message).map_err(|error| LinkError(error.to_string())),
                Err(status) => Err(LinkError(format!("{:?}: {}", status.code(), status.message()))),
            });
        Ok((Box::pin(outgoing), incoming.boxed()))
    }
}
