//! The edge to gRPC: the internal `LinkService`, one call for each kind of link; and to the roles of this process, which need
//! none.

use std::{convert::Infallible, pin::Pin, time::Duration};

use futures::{Sink, SinkExt, Stream, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::PollSendError, task::TaskTracker};
use tonic::{Request, Response, Status, Streaming};

use super::{
    client_links,
    reign::{Leading, Standing},
    standby_links, worker_links,
};
use crate::{
    runtime::{
        bundled_links::{Bundling, MAX_BUNDLES, unbundled},
        near_links::{Arrival, Arrivals, End},
        serve::{HealthReporter, MAX_LINK_MESSAGE_BYTES},
    },
    wire::{
        Bundled, InvalidField, LinkRefusal,
        proto::internal::v1::{
            LinkClientRequest, LinkClientResponse, LinkStandbyRequest, LinkStandbyResponse, LinkWorkerRequest,
            LinkWorkerResponse,
            link_service_server::{self, LinkService, LinkServiceServer},
        },
    },
};

/// As reflection and health name it.
pub(super) const NAME: &str = link_service_server::SERVICE_NAME;

/// How long a link waits for a leader that is loading: less than the dialler waits for its welcome.
const LOAD_PATIENCE: Duration = Duration::from_secs(2);
/// Most links at the same time: some thousand workers and some client services. Each has a connection of its own, of
/// which the port takes 4,096.
const MAX_LINKS: usize = 4_000;

/// Says in the health service whether this process leads.
pub(super) async fn set_leading(health: &HealthReporter, leading: bool) {
    if leading {
        health.set_serving::<LinkServiceServer<Links>>().await;
    } else {
        health.set_not_serving::<LinkServiceServer<Links>>().await;
    }
}

#[derive(Clone)]
pub(super) struct Links {
    standing: watch::Receiver<Standing>,
    tasks: TaskTracker,
}

type Responses<T> = ReceiverStream<Result<T, Status>>;
type Incoming<In> = Pin<Box<dyn Stream<Item = Result<In, LinkRefusal>> + Send>>;
type Outgoing<Out> = Pin<Box<dyn Sink<Result<Out, LinkRefusal>, Error = Gone> + Send>>;

/// Nobody reads the responses any more.
#[derive(Debug, Clone, Copy)]
struct Gone;

impl Links {
    pub fn new(standing: watch::Receiver<Standing>, tasks: TaskTracker) -> Self {
        Self { standing, tasks }
    }

    pub fn into_server(self) -> LinkServiceServer<Self> {
        LinkServiceServer::new(self)
            .max_decoding_message_size(MAX_LINK_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_LINK_MESSAGE_BYTES)
    }

    /// Takes in the links of this process, if there is anybody; they are too few to be refused for their number.
    pub async fn receive(self, arrivals: Option<Arrivals>) -> Infallible {
        if let Some(mut arrivals) = arrivals {
            while let Some(arrival) = arrivals.recv().await {
                match arrival {
                    Arrival::Worker(end) => self.open_near(end, worker_links::run),
                    Arrival::Client(end) => self.open_near(end, client_links::run),
                }
            }
        }
        std::future::pending().await
    }

    fn open_near<In, Out, Running>(
        &self,
        end: End<Result<Out, LinkRefusal>, In>,
        run: impl FnOnce(Incoming<In>, Outgoing<Out>, Leading) -> Running + Send + 'static,
    ) where
        In: Send + 'static,
        Out: Send + Unpin + 'static,
        Running: Future<Output = Result<(), LinkRefusal>> + Send,
    {
        let standing = self.standing.clone();
        self.tasks.spawn(async move {
            let to = end.last_word();
            let refuse = async |refusal: LinkRefusal| {
                tracing::info!(%refusal, "refusing a link");
                let _ = to.send(vec![Err(refusal)]).await;
            };
            let leading = match leading(&standing).await {
                Ok(leading) => leading,
                // Who is not heard out is told all the same: its end is not closed yet.
                Err(refusal) => return refuse(refusal).await,
            };
            let (outgoing, incoming) = end.split();
            let running = run(Box::pin(incoming.map(Ok)), Box::pin(outgoing.sink_map_err(|_| Gone)), leading);
            if let Err(refusal) = running.await {
                refuse(refusal).await;
            }
        });
    }

    /// Starts a link on a task of its own.
    async fn open<Up, Down, In, Out, Running>(
        &self,
        request: Request<Streaming<Up>>,
        run: impl FnOnce(Incoming<In>, Outgoing<Out>, Leading) -> Running,
    ) -> Result<Response<Responses<Down>>, Status>
    where
        Up: Bundled + Send + 'static,
        Down: Bundled + From<Out> + Unpin + Send + 'static,
        In: TryFrom<Up, Error = InvalidField> + Send + 'static,
        Out: Send + 'static,
        Running: Future<Output = Result<(), LinkRefusal>> + Send + 'static,
    {
        if self.tasks.len() >= MAX_LINKS {
            return Err(LinkRefusal::TooManyLinks.into());
        }
        let leading = leading(&self.standing).await?;
        let (to, responses) = mpsc::channel(MAX_BUNDLES);
        let running = run(incoming(request.into_inner()), outgoing(to.clone()), leading);
        self.tasks.spawn(async move {
            if let Err(refusal) = running.await {
                tracing::info!(%refusal, "refusing a link");
                // If it cannot be told, it will see the end.
                let _ = to.send(Err(refusal.into())).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(responses)))
    }
}

/// The leader of this process; waits for one that is still loading.
pub(super) async fn leading(standing: &watch::Receiver<Standing>) -> Result<Leading, LinkRefusal> {
    let mut standing = standing.clone();
    let loaded = standing.wait_for(|standing| !matches!(standing, Standing::Loading));
    match tokio::time::timeout(LOAD_PATIENCE, loaded).await {
        Ok(Ok(standing)) => match &*standing {
            Standing::Leading(leading) => Ok(leading.clone()),
            Standing::Standby | Standing::Loading => Err(LinkRefusal::NotLeader),
        },
        Ok(Err(_)) | Err(_) => Err(LinkRefusal::NotLeader),
    }
}

/// The generated messages of a link, as values.
fn incoming<Proto, In>(stream: Streaming<Proto>) -> Incoming<In>
where
    Proto: Bundled + Send + 'static,
    In: TryFrom<Proto, Error = InvalidField> + Send + 'static,
{
    // A broken connection is the end of the stream: what it broke of is not the link's concern.
    let messages = tokio_stream::StreamExt::map_while(unbundled(stream), Result::ok);
    Box::pin(messages.map(|message| Ok(message?)))
}

/// Values as the generated messages of a link.
fn outgoing<Proto, Out>(to: mpsc::Sender<Result<Proto, Status>>) -> Outgoing<Out>
where
    Proto: Bundled + From<Out> + Unpin + Send + 'static,
    Out: Send + 'static,
{
    Box::pin(
        Bundling::new(to, Ok)
            .with(|item: Result<Out, LinkRefusal>| {
                std::future::ready(Ok::<_, PollSendError<_>>(
                    item.map(Proto::from).map_err(|refusal| Err(refusal.into())),
                ))
            })
            .sink_map_err(|_| Gone),
    )
}

#[tonic::async_trait]
impl LinkService for Links {
    type LinkWorkerStream = Responses<LinkWorkerResponse>;
    type LinkClientStream = Responses<LinkClientResponse>;
    type LinkStandbyStream = Responses<LinkStandbyResponse>;

    async fn link_worker(
        &self,
        request: Request<Streaming<LinkWorkerRequest>>,
    ) -> Result<Response<Self::LinkWorkerStream>, Status> {
        self.open(request, worker_links::run).await
    }

    async fn link_client(
        &self,
        request: Request<Streaming<LinkClientRequest>>,
    ) -> Result<Response<Self::LinkClientStream>, Status> {
        self.open(request, client_links::run).await
    }

    async fn link_standby(
        &self,
        request: Request<Streaming<LinkStandbyRequest>>,
    ) -> Result<Response<Self::LinkStandbyStream>, Status> {
        self.open(request, standby_links::run).await
    }
}
