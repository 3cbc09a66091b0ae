//! `herdsman.v1.TaskService`.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use tonic::{Request, Response, Status, async_trait};
use tracing::Span;

use super::{
    Context, Front, page_token, request, unfitting,
    watches::{self, Updates},
};
use crate::{
    client::hub::Target,
    domain::{Answer, Call, Revision, TaskId},
    runtime::telemetry,
    wire::{
        CallError, Detail, InvalidField,
        proto::v1::{
            self, CancelTaskRequest, CancelTaskResponse, GetTaskRequest, GetTaskResponse, ListTasksRequest,
            ListTasksResponse, SubmitTaskRequest, SubmitTaskResponse, SubmitTasksRequest, SubmitTasksResponse,
            WatchTaskRequest, WatchTaskResponse, WatchTasksRequest, WatchTasksResponse, submit_task_outcome::Outcome,
            task_service_server::TaskService,
        },
        task_to_proto,
    },
};

#[derive(Debug, Clone)]
pub(in crate::client) struct Tasks(pub(in crate::client) Arc<Front>);

#[async_trait]
impl TaskService for Tasks {
    async fn submit_task(&self, request: Request<SubmitTaskRequest>) -> Result<Response<SubmitTaskResponse>, Status> {
        self.0
            .unary("SubmitTask", request, async |request, context| {
                let id = request::new_task_id(&request.task_id).map_err(invalid)?;
                let task = self.submit(&id, request.spec, context).await.map_err(|error| error.status(Some(&id)))?;
                Ok(SubmitTaskResponse { task: Some(task) })
            })
            .await
    }

    async fn submit_tasks(
        &self,
        request: Request<SubmitTasksRequest>,
    ) -> Result<Response<SubmitTasksResponse>, Status> {
        self.0
            .unary("SubmitTasks", request, async |request, context| {
                let items = request::items(request).map_err(invalid)?;
                let outcomes = items.into_iter().enumerate().map(|(at, item)| self.submit_item(at, item, context));
                Ok(SubmitTasksResponse { outcomes: join_all(outcomes).await })
            })
            .await
    }

    async fn get_task(&self, request: Request<GetTaskRequest>) -> Result<Response<GetTaskResponse>, Status> {
        self.0
            .unary("GetTask", request, async |request, context| {
                let id = request::task_id(&request.task_id).map_err(invalid)?;
                let call = Call::Get { task_id: id.clone() };
                let task = self.0.ask_for_task(call, context).await.map_err(|error| error.status(Some(&id)))?;
                Ok(GetTaskResponse { task: Some(task_to_proto(&task, Detail::Full)) })
            })
            .await
    }

    async fn list_tasks(&self, request: Request<ListTasksRequest>) -> Result<Response<ListTasksResponse>, Status> {
        self.0
            .unary("ListTasks", request, async |request, context| {
                let query = request::list(request).map_err(invalid)?;
                let filter = query.filter.clone();
                let page = match self.0.ask(Call::List(query), context).await {
                    Ok(Answer::Page(page)) => page,
                    Ok(_) => return Err(unfitting().status(None)),
                    Err(error) => return Err(error.status(None)),
                };
                Ok(ListTasksResponse {
                    tasks: page.tasks.iter().map(|task| task_to_proto(task, Detail::Summary)).collect(),
                    next_page_token: page
                        .next_after
                        .map(|after| page_token::encode(&filter, &after))
                        .unwrap_or_default(),
                })
            })
            .await
    }

    async fn cancel_task(&self, request: Request<CancelTaskRequest>) -> Result<Response<CancelTaskResponse>, Status> {
        self.0
            .unary("CancelTask", request, async |request, context| {
                let id = request::task_id(&request.task_id).map_err(invalid)?;
                let call = Call::Cancel { task_id: id.clone() };
                let task = self.0.ask_for_task(call, context).await.map_err(|error| error.status(Some(&id)))?;
                Ok(CancelTaskResponse { task: Some(task_to_proto(&task, Detail::Summary)) })
            })
            .await
    }

    type WatchTaskStream = Updates<WatchTaskResponse>;

    async fn watch_task(&self, request: Request<WatchTaskRequest>) -> Result<Response<Self::WatchTaskStream>, Status> {
        let target = request::task_id(&request.get_ref().task_id).map(|id| Target::Ids([id].into()));
        let after = Revision(request.get_ref().after_revision);
        watches::open(&self.0, "WatchTask", request.metadata(), target, after, |update| WatchTaskResponse {
            task: Some(task_to_proto(&update.task, Detail::Result)),
            skipped: update.skipped,
        })
        .await
    }

    type WatchTasksStream = Updates<WatchTasksResponse>;

    async fn watch_tasks(
        &self,
        request: Request<WatchTasksRequest>,
    ) -> Result<Response<Self::WatchTasksStream>, Status> {
        let (metadata, _, request) = request.into_parts();
        let target = request::target(request.target);
        let after = Revision(request.after_revision);
        watches::open(&self.0, "WatchTasks", &metadata, target, after, |update| WatchTasksResponse {
            task: Some(task_to_proto(&update.task, Detail::Result)),
            skipped: update.skipped,
            resume_revision: update.resume.0,
        })
        .await
    }
}

impl Tasks {
    async fn submit(&self, id: &TaskId, spec: Option<v1::TaskSpec>, context: Context) -> Result<v1::Task, CallError> {
        let call = Call::Submit {
            task_id: id.clone(),
            spec: request::spec(spec)?,
            traceparent: telemetry::traceparent(&Span::current()),
            // The link counts it down from the deadline.
            time_left: Duration::ZERO,
        };
        let task = self.0.ask_for_task(call, context).await?;
        Ok(task_to_proto(&task, Detail::Summary))
    }

    async fn submit_item(&self, at: usize, item: SubmitTaskRequest, context: Context) -> v1::SubmitTaskOutcome {
        let outcome = match request::new_task_id(&item.task_id) {
            Ok(id) => self.submit(&id, item.spec, context).await.map_err(|error| (id.to_string(), error)),
            Err(error) => Err((item.task_id, error.into())),
        };
        let outcome = match outcome {
            Ok(task) => Outcome::Task(task),
            Err((id, CallError::Invalid(error))) => {
                Outcome::Error(CallError::Invalid(error.within(&format!("requests[{at}]"))).item(&id))
            }
            Err((id, error)) => Outcome::Error(error.item(&id)),
        };
        v1::SubmitTaskOutcome { outcome: Some(outcome) }
    }
}

fn invalid(error: InvalidField) -> Status {
    CallError::Invalid(error).status(None)
}
