//! The gRPC edge of the link.

use std::pin::Pin;

use futures::{SinkExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, transport::Channel};

use super::{Dial, Incoming, LinkError, Outgoing};
use crate::{
    runtime::{
        bundled_links::{Bundling, MAX_BUNDLES, unbundled},
        dial::dial,
        serve::MAX_LINK_MESSAGE_BYTES,
    },
    wire::{
        self, LeaderToWorker, WorkerToLeader,
        proto::internal::v1::{LinkWorkerRequest, link_service_client::LinkServiceClient},
    },
};

/// Links by gRPC.
#[derive(Debug, Clone, Copy, Default)]
pub struct Grpc;

impl Dial for Grpc {
    fn dial(&self, address: &str) -> BoxFuture<'static, Result<(Outgoing, Incoming), LinkError>> {
        let address = address.to_owned();
        Box::pin(async move {
            let channel = dial(&address).await.map_err(|error| LinkError::Unreachable(error.to_string()))?;
            Ok(open(channel))
        })
    }
}

/// The call is made when the stream is first waited for; a hello may be given to the sink before.
fn open(channel: Channel) -> (Outgoing, Incoming) {
    let (send, receive) = mpsc::channel(MAX_BUNDLES);
    let outgoing = Bundling::new(send, |message: LinkWorkerRequest| message)
        .sink_map_err(|_| LinkError::Broken("the leader reads no more".into()))
        .with(|message: WorkerToLeader| std::future::ready(Ok::<_, LinkError>(Ok(message.into()))));
    let incoming = stream::once(async move {
        let mut client = LinkServiceClient::new(channel).max_decoding_message_size(MAX_LINK_MESSAGE_BYTES);
        let responses = client.link_worker(Request::new(ReceiverStream::new(receive))).await?;
        Ok::<_, Status>(responses.into_inner())
    })
    .try_flatten();
    let incoming = unbundled(incoming).map(|response| match response {
        Ok(response) => Ok::<LeaderToWorker, _>(response?),
        Err(status) => Err(link_error(&status)),
    });
    (Pin::from(Box::new(outgoing) as Box<_>), Pin::from(Box::new(incoming) as Box<_>))
}

fn link_error(status: &Status) -> LinkError {
    match wire::reason_of(status) {
        Some(reason) => LinkError::Refused { reason, message: status.message().to_owned() },
        None => LinkError::Broken(format!("{}: {}", status.code(), status.message())),
    }
}
