//! Where the leader link meets tonic, or the master of its own process, and the only place where it does.

use std::pin::Pin;

use async_trait::async_trait;
use futures::{Sink, SinkExt, StreamExt, TryStreamExt, stream::BoxStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::{
    runtime::{
        bundled_links::{Bundling, MAX_BUNDLES, unbundled},
        dial::dial,
        near_links::Door,
        serve::MAX_LINK_MESSAGE_BYTES,
    },
    wire::{
        ClientToLeader, InvalidField, LeaderToClient,
        proto::internal::v1::{LinkClientRequest, link_service_client::LinkServiceClient},
    },
};

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

/// Links by gRPC, but for the one to the master of this process.
pub struct Dialler {
    pub beside: Option<Door>,
}

#[async_trait]
impl Dial for Dialler {
    async fn dial(&self, address: &str) -> Result<(Outgoing, Incoming), LinkError> {
        if let Some(door) = self.beside.as_ref().filter(|door| door.is_of(address)) {
            let (outgoing, incoming) = door.client().await.map_err(|gone| LinkError(gone.to_string()))?.split();
            let incoming = incoming
                .map(|message| message.map(LeaderToClient::as_read).map_err(|refusal| link_error(&refusal.into())));
            return Ok((Box::pin(outgoing.sink_map_err(|_| gone())), incoming.boxed()));
        }
        let channel = dial(address).await.map_err(|error| LinkError(error.to_string()))?;
        let mut leader = LinkServiceClient::new(channel).max_decoding_message_size(MAX_LINK_MESSAGE_BYTES);
        let (sender, receiver) = mpsc::channel(MAX_BUNDLES);
        let outgoing = Bundling::new(sender, |message: LinkClientRequest| message)
            .sink_map_err(|_| gone())
            .with(async |message: ClientToLeader| Ok::<_, LinkError>(Ok(message.into())));
        // The leader answers only when it has heard the hello, so the call is part of the stream.
        let incoming = futures::stream::once(async move { leader.link_client(ReceiverStream::new(receiver)).await })
            .map_ok(tonic::Response::into_inner)
            .try_flatten();
        let incoming = unbundled(incoming).map(|message| match message {
            Ok(message) => message.map_err(|error: InvalidField| LinkError(error.to_string())),
            Err(status) => Err(link_error(&status)),
        });
        Ok((Box::pin(outgoing), incoming.boxed()))
    }
}

fn gone() -> LinkError {
    LinkError("the connection is gone".into())
}

fn link_error(status: &Status) -> LinkError {
    LinkError(format!("{:?}: {}", status.code(), status.message()))
}
