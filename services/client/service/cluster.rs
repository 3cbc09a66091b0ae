//! `herdsman.v1.ClusterService`.

use std::sync::Arc;

use tonic::{Request, Response, Status, async_trait};

use super::{
    Context, Front, drains,
    page_token::{self, Listing},
    request, unfitting,
};
use crate::{
    domain::{Answer, Call, QueueUpdate},
    wire::{
        CallError, InvalidField, cluster_to_proto,
        proto::v1::{
            DrainWorkerRequest, DrainWorkerResponse, GetClusterRequest, GetClusterResponse, GetQueueRequest,
            GetQueueResponse, ListQueuesRequest, ListQueuesResponse, ListWorkersRequest, ListWorkersResponse,
            PauseQueueRequest, PauseQueueResponse, Queue, ResumeQueueRequest, ResumeQueueResponse,
            UndrainWorkerRequest, UndrainWorkerResponse, UpdateQueueRequest, UpdateQueueResponse, WatchDrainRequest,
            Worker, cluster_service_server::ClusterService,
        },
        queue_to_proto, queue_update_from_proto, worker_to_proto,
    },
};

#[derive(Debug, Clone)]
pub(in crate::client) struct Cluster(pub(in crate::client) Arc<Front>);

#[async_trait]
impl ClusterService for Cluster {
    async fn get_cluster(&self, request: Request<GetClusterRequest>) -> Result<Response<GetClusterResponse>, Status> {
        self.0
            .unary("GetCluster", request, async |_, context| match self.0.ask(Call::Cluster, context).await {
                Ok(Answer::Cluster(view)) => Ok(GetClusterResponse { cluster: Some(cluster_to_proto(&view)) }),
                Ok(_) => Err(unfitting().status(None)),
                Err(error) => Err(error.status(None)),
            })
            .await
    }

    async fn list_workers(
        &self,
        request: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        self.0
            .unary("ListWorkers", request, async |request, context| {
                let query = request::workers(&request).map_err(invalid)?;
                match self.0.ask(Call::Workers(query), context).await {
                    Ok(Answer::Workers(page)) => Ok(ListWorkersResponse {
                        workers: page.workers.iter().map(worker_to_proto).collect(),
                        next_page_token: page_token::next(&Listing::workers(), page.next_after.as_ref()),
                    }),
                    Ok(_) => Err(unfitting().status(None)),
                    Err(error) => Err(error.status(None)),
                }
            })
            .await
    }

    async fn list_queues(&self, request: Request<ListQueuesRequest>) -> Result<Response<ListQueuesResponse>, Status> {
        self.0
            .unary("ListQueues", request, async |request, context| {
                let query = request::queues(&request).map_err(invalid)?;
                match self.0.ask(Call::Queues(query), context).await {
                    Ok(Answer::Queues(page)) => Ok(ListQueuesResponse {
                        queues: page.queues.iter().map(queue_to_proto).collect(),
                        next_page_token: page_token::next(&Listing::queues(), page.next_after.as_ref()),
                    }),
                    Ok(_) => Err(unfitting().status(None)),
                    Err(error) => Err(error.status(None)),
                }
            })
            .await
    }

    async fn get_queue(&self, request: Request<GetQueueRequest>) -> Result<Response<GetQueueResponse>, Status> {
        self.0
            .unary("GetQueue", request, async |request, context| {
                let queue = request::queue(&request.name).map_err(invalid)?;
                let queue = self.ask_for_queue(Call::Queue { queue }, context).await?;
                Ok(GetQueueResponse { queue: Some(queue) })
            })
            .await
    }

    async fn update_queue(
        &self,
        request: Request<UpdateQueueRequest>,
    ) -> Result<Response<UpdateQueueResponse>, Status> {
        self.0
            .unary("UpdateQueue", request, async |request, context| {
                let (queue, update) = queue_update_from_proto(&request).map_err(invalid)?;
                let queue = self.ask_for_queue(Call::UpdateQueue { queue, update }, context).await?;
                Ok(UpdateQueueResponse { queue: Some(queue) })
            })
            .await
    }

    async fn pause_queue(&self, request: Request<PauseQueueRequest>) -> Result<Response<PauseQueueResponse>, Status> {
        self.0
            .unary("PauseQueue", request, async |request, context| {
                let queue = self.set_paused(&request.name, true, context).await?;
                Ok(PauseQueueResponse { queue: Some(queue) })
            })
            .await
    }

    async fn resume_queue(
        &self,
        request: Request<ResumeQueueRequest>,
    ) -> Result<Response<ResumeQueueResponse>, Status> {
        self.0
            .unary("ResumeQueue", request, async |request, context| {
                let queue = self.set_paused(&request.name, false, context).await?;
                Ok(ResumeQueueResponse { queue: Some(queue) })
            })
            .await
    }

    async fn drain_worker(
        &self,
        request: Request<DrainWorkerRequest>,
    ) -> Result<Response<DrainWorkerResponse>, Status> {
        self.0
            .unary("DrainWorker", request, async |request, context| {
                let worker = self.set_drained(&request.worker_id, true, context).await?;
                Ok(DrainWorkerResponse { worker: Some(worker) })
            })
            .await
    }

    async fn undrain_worker(
        &self,
        request: Request<UndrainWorkerRequest>,
    ) -> Result<Response<UndrainWorkerResponse>, Status> {
        self.0
            .unary("UndrainWorker", request, async |request, context| {
                let worker = self.set_drained(&request.worker_id, false, context).await?;
                Ok(UndrainWorkerResponse { worker: Some(worker) })
            })
            .await
    }

    type WatchDrainStream = drains::Drains;

    async fn watch_drain(
        &self,
        request: Request<WatchDrainRequest>,
    ) -> Result<Response<Self::WatchDrainStream>, Status> {
        drains::open(&self.0, request).await
    }
}

impl Cluster {
    async fn set_drained(&self, worker_id: &str, drained: bool, context: Context) -> Result<Worker, Status> {
        let worker_id = request::worker(worker_id).map_err(invalid)?;
        match self.0.ask(Call::SetDrained { worker_id, drained }, context).await {
            Ok(Answer::Worker(view)) => Ok(worker_to_proto(&view)),
            Ok(_) => Err(unfitting().status(None)),
            Err(error) => Err(error.status(None)),
        }
    }

    async fn set_paused(&self, name: &str, paused: bool, context: Context) -> Result<Queue, Status> {
        let queue = request::queue(name).map_err(invalid)?;
        let update = QueueUpdate { paused: Some(paused), ..QueueUpdate::default() };
        self.ask_for_queue(Call::UpdateQueue { queue, update }, context).await
    }

    async fn ask_for_queue(&self, call: Call, context: Context) -> Result<Queue, Status> {
        match self.0.ask(call, context).await {
            Ok(Answer::Queue(view)) => Ok(queue_to_proto(&view)),
            Ok(_) => Err(unfitting().status(None)),
            Err(error) => Err(error.status(None)),
        }
    }
}

fn invalid(error: InvalidField) -> Status {
    CallError::from(error).status(None)
}
