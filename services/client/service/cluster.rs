//! `herdsman.v1.ClusterService`.

use std::sync::Arc;

use tonic::{Request, Response, Status, async_trait};

use super::{
    Front,
    page_token::{self, Listing},
    request, unfitting,
};
use crate::{
    domain::{Answer, Call},
    wire::{
        CallError, cluster_to_proto,
        proto::v1::{
            GetClusterRequest, GetClusterResponse, ListWorkersRequest, ListWorkersResponse,
            cluster_service_server::ClusterService,
        },
        worker_to_proto,
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
                let query = request::workers(&request).map_err(|error| CallError::from(error).status(None))?;
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
}
