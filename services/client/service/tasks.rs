//! `herdsman.v1.TaskService`.

use std::{sync::Arc, time::Duration};

use prost::Message;
use tonic::{Request, Response, Status, async_trait};
use tracing::Span;

use super::{
    Context, Front,
    many::Act,
    output::{self, Output},
    page_token::{self, Listing},
    request, unfitting,
    watches::{self, Updates},
};
use crate::{
    client::hub::Target,
    domain::{Answer, Call, Refusal, Revision, Task, TaskId},
    runtime::telemetry,
    wire::{
        CallError, Detail, InvalidField, explanation_to_proto, no_leader_to_proto,
        proto::v1::{
            self, CancelTaskRequest, CancelTaskResponse, CancelTasksRequest, CancelTasksResponse, DeleteTaskRequest,
            DeleteTaskResponse, DeleteTasksRequest, DeleteTasksResponse, ExplainTaskRequest, ExplainTaskResponse,
            GetTaskRequest, GetTaskResponse, ListTasksRequest, ListTasksResponse, ReadTaskOutputRequest,
            RetryTaskRequest, RetryTaskResponse, RetryTasksRequest, RetryTasksResponse, SubmitTaskRequest,
            SubmitTaskResponse, SubmitTasksRequest, SubmitTasksResponse, WatchTaskRequest, WatchTaskResponse,
            WatchTasksRequest, WatchTasksResponse, submit_task_outcome::Outcome, task_service_server::TaskService,
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
                let submitted = async {
                    let _admitted = self.0.admission.enter(1, request.encoded_len())?;
                    let call = submit(id.clone(), request.spec)?;
                    self.0.ask_for_task(call, context).await.map_err(of_submit)
                };
                let task = submitted.await.map_err(|error| error.status(Some(&id)))?;
                Ok(SubmitTaskResponse { task: Some(task_to_proto(&task, Detail::Summary)) })
            })
            .await
    }

    async fn submit_tasks(
        &self,
        request: Request<SubmitTasksRequest>,
    ) -> Result<Response<SubmitTasksResponse>, Status> {
        self.0
            .unary("SubmitTasks", request, async |request, context| {
                let (items, bytes) = request::items(request).map_err(invalid)?;
                let admitted = self.0.admission.enter(items.len(), bytes);
                let _admitted = admitted.map_err(|error| error.status(None))?;
                let outcomes = self.submit_items(items, context).await;
                Ok(SubmitTasksResponse { outcomes })
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

    async fn explain_task(
        &self,
        request: Request<ExplainTaskRequest>,
    ) -> Result<Response<ExplainTaskResponse>, Status> {
        self.0
            .unary("ExplainTask", request, async |request, context| {
                let id = request::task_id(&request.task_id).map_err(invalid)?;
                match self.0.ask(Call::Explain { task_id: id.clone() }, context).await {
                    Ok(Answer::Explained(explanation)) => Ok(explanation_to_proto(&explanation)),
                    Ok(_) => Err(unfitting().status(Some(&id))),
                    Err(CallError::NoLeader) => Ok(no_leader_to_proto()),
                    Err(error) => Err(error.status(Some(&id))),
                }
            })
            .await
    }

    async fn list_tasks(&self, request: Request<ListTasksRequest>) -> Result<Response<ListTasksResponse>, Status> {
        self.0
            .unary("ListTasks", request, async |request, context| {
                let query = request::list(request).map_err(invalid)?;
                let listing = Listing::tasks(&query.filter);
                let page = self.0.ask_for_page(query, context).await.map_err(|error| error.status(None))?;
                Ok(ListTasksResponse {
                    tasks: page.tasks.iter().map(|task| task_to_proto(task, Detail::Summary)).collect(),
                    next_page_token: page_token::next(&listing, page.next_after.as_ref()),
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

    async fn retry_task(&self, request: Request<RetryTaskRequest>) -> Result<Response<RetryTaskResponse>, Status> {
        self.0
            .unary("RetryTask", request, async |request, context| {
                let (of, task_id) = request::retry(&request).map_err(invalid)?;
                let call = retry(of.clone(), task_id);
                let task = self.0.ask_for_task(call, context).await.map_err(|error| error.status(Some(&of)))?;
                Ok(RetryTaskResponse { task: Some(task_to_proto(&task, Detail::Summary)) })
            })
            .await
    }

    async fn delete_task(&self, request: Request<DeleteTaskRequest>) -> Result<Response<DeleteTaskResponse>, Status> {
        self.0
            .unary("DeleteTask", request, async |request, context| {
                let id = request::task_id(&request.task_id).map_err(invalid)?;
                let call = Call::Delete { task_id: id.clone() };
                let task = self.0.ask_for_task(call, context).await.map_err(|error| error.status(Some(&id)))?;
                Ok(DeleteTaskResponse { task: Some(task_to_proto(&task, Detail::Summary)) })
            })
            .await
    }

    async fn cancel_tasks(
        &self,
        request: Request<CancelTasksRequest>,
    ) -> Result<Response<CancelTasksResponse>, Status> {
        self.0
            .unary("CancelTasks", request, async |CancelTasksRequest { filter, page_size, page_token }, context| {
                let (outcomes, next_page_token) =
                    self.0.act(Act::Cancel, filter, page_size, &page_token, context).await?;
                Ok(CancelTasksResponse { outcomes, next_page_token })
            })
            .await
    }

    async fn retry_tasks(&self, request: Request<RetryTasksRequest>) -> Result<Response<RetryTasksResponse>, Status> {
        self.0
            .unary("RetryTasks", request, async |RetryTasksRequest { filter, page_size, page_token }, context| {
                let (outcomes, next_page_token) =
                    self.0.act(Act::Retry, filter, page_size, &page_token, context).await?;
                Ok(RetryTasksResponse { outcomes, next_page_token })
            })
            .await
    }

    async fn delete_tasks(
        &self,
        request: Request<DeleteTasksRequest>,
    ) -> Result<Response<DeleteTasksResponse>, Status> {
        self.0
            .unary("DeleteTasks", request, async |DeleteTasksRequest { filter, page_size, page_token }, context| {
                let (outcomes, next_page_token) =
                    self.0.act(Act::Delete, filter, page_size, &page_token, context).await?;
                Ok(DeleteTasksResponse { outcomes, next_page_token })
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

    type ReadTaskOutputStream = Output;

    async fn read_task_output(&self, request: Request<ReadTaskOutputRequest>) -> Result<Response<Output>, Status> {
        let (metadata, _, request) = request.into_parts();
        output::open(&self.0, &metadata, request)
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
    async fn submit_items(&self, items: Vec<SubmitTaskRequest>, context: Context) -> Vec<v1::SubmitTaskOutcome> {
        let mut ids = Vec::with_capacity(items.len());
        let calls = items.into_iter().enumerate().map(|(at, item)| {
            let within = |error: InvalidField| CallError::Invalid(error.within(&format!("requests[{at}]")));
            match request::new_task_id(&item.task_id) {
                Ok(id) => {
                    ids.push(if item.task_id.is_empty() { id.to_string() } else { item.task_id });
                    submit(id, item.spec).map_err(within)
                }
                Err(error) => {
                    ids.push(item.task_id);
                    Err(within(error))
                }
            }
        });
        let calls = calls.collect();
        let answers = self.0.ask_for_tasks(calls, context).await;
        let outcome = |(answer, id): (Result<Arc<Task>, CallError>, String)| {
            let task = answer.map_err(of_submit);
            let outcome = task.map_or_else(
                |error| Outcome::Error(error.item(&id)),
                |task| Outcome::Task(task_to_proto(&task, Detail::Brief)),
            );
            v1::SubmitTaskOutcome { outcome: Some(outcome) }
        };
        answers.into_iter().zip(ids).map(outcome).collect()
    }
}

fn submit(task_id: TaskId, spec: Option<v1::TaskSpec>) -> Result<Call, InvalidField> {
    Ok(Call::Submit {
        task_id,
        spec: request::spec(spec)?,
        traceparent: telemetry::traceparent(&Span::current()),
        // The link counts it down from the deadline.
        time_left: Duration::ZERO,
    })
}

pub(super) fn retry(of: TaskId, task_id: TaskId) -> Call {
    let traceparent = telemetry::traceparent(&Span::current());
    // As of a submit.
    Call::Retry { of, task_id, traceparent, time_left: Duration::ZERO }
}

/// To a submit an id is taken, whatever of its record can be read.
fn of_submit(error: CallError) -> CallError {
    match error {
        CallError::Refused(Refusal::CorruptRecord) => CallError::CorruptExists,
        other => other,
    }
}

pub(super) fn invalid(error: InvalidField) -> Status {
    CallError::Invalid(error).status(None)
}
