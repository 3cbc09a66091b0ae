//! The edge of the link: to gRPC, or to the master of this process.

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
        near_links::Door,
        serve::MAX_LINK_MESSAGE_BYTES,
    },
    wire::{
        self, LeaderToWorker, WorkerToLeader,
        proto::internal::v1::{LinkWorkerRequest, link_service_client::LinkServiceClient},
    },
};

/// Links by gRPC, but for the one to the master of this process.
#[derive(Debug, Clone)]
pub struct Dialler {
    pub beside: Option<Door>,
}

impl Dial for Dialler {
    fn dial(&self, address: &str) -> BoxFuture<'static, Result<(Outgoing, Incoming), LinkError>> {
        let address = address.to_owned();
        let door = self.beside.clone().filter(|door| door.is_of(&address));
        Box::pin(async move {
            if let Some(door) = door {
                return open_near(&door).await;
            }
            let channel = dial(&address).await.map_err(|error| LinkError::Unreachable(error.to_string()))?;
            Ok(open(channel))
        })
    }
}

/// The call is made when the stream is first waited for; a hello may be given to the sink before.
fn open(channel: Channel) -> (Outgoing, Incoming) {
    let (send, receive) = mpsc::channel(MAX_BUNDLES);
    let outgoing = Bundling::new(send, |message: LinkWorkerRequest| message)
        .sink_map_err(|_| reads_no_more())
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

async fn open_near(door: &Door) -> Result<(Outgoing, Incoming), LinkError> {
    let end = door.worker().await.map_err(|gone| LinkError::Unreachable(gone.to_string()))?;
    let (outgoing, incoming) = end.split();
    let outgoing = outgoing.sink_map_err(|_| reads_no_more());
    let incoming = incoming.map_err(|refusal| link_error(&refusal.into()));
    Ok((Box::pin(outgoing), Box::pin(incoming)))
}

fn reads_no_more() -> LinkError {
    LinkError::Broken("the leader reads no more".into())
}

fn link_error(status: &Status) -> LinkError {
    match wire::reason_of(status) {
        Some(reason) => LinkError::Refused { reason, message: status.message().to_owned() },
        None => LinkError::Broken(format!("{}: {}", status.code(), status.message())),
    }
}
