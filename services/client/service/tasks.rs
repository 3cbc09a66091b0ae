//! `herdsman.v1.TaskService`.

use std::{sync::Arc, time::Duration};

use tonic::{Request, Response, Status, async_trait};
use tracing::Span;

use super::{
    Context, Front,
    page_token::{self, Listing},
    request, task_in, unfitting,
    watches::{self, Updates},
};
use crate::{
    client::{hub::Target, leader_link::AskError},
    domain::{Answer, Call, Refusal, Revision, Task, TaskId},
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
                let submitted = async {
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
                let items = request::items(request).map_err(invalid)?;
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

    async fn list_tasks(&self, request: Request<ListTasksRequest>) -> Result<Response<ListTasksResponse>, Status> {
        self.0
            .unary("ListTasks", request, async |request, context| {
                let query = request::list(request).map_err(invalid)?;
                let listing = Listing::tasks(&query.filter);
                let page = match self.0.ask(Call::List(query), context).await {
                    Ok(Answer::Page(page)) => page,
                    Ok(_) => return Err(unfitting().status(None)),
                    Err(error) => return Err(error.status(None)),
                };
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
    /// Each item has its place in line before the next one is looked at, and only then are the answers waited for.
    async fn submit_items(&self, items: Vec<SubmitTaskRequest>, context: Context) -> Vec<v1::SubmitTaskOutcome> {
        let mut entered = Vec::with_capacity(items.len());
        let mut asked = Vec::with_capacity(items.len());
        let mut hopeless = None;
        for (at, item) in items.into_iter().enumerate() {
            let within = |error: InvalidField| CallError::Invalid(error.within(&format!("requests[{at}]")));
            let (id, call) = match request::new_task_id(&item.task_id) {
                Ok(id) => {
                    let call = submit(id.clone(), item.spec).map_err(within);
                    (id.to_string(), call)
                }
                Err(error) => (item.task_id, Err(within(error))),
            };
            let place = match (call, hopeless) {
                // Behind one that waited in vain the others would wait as long for nothing.
                (Ok(_), Some(error)) => Err(CallError::from(error)),
                (Ok(call), None) => self.0.link.ask_in_line(call, context.deadline).await.map_err(|error| {
                    hopeless = Some(error);
                    error.into()
                }),
                (Err(error), _) => Err(error),
            };
            entered.push((id, place.map(|place| asked.push(place))));
        }
        let mut answers = self.0.link.answers(asked, context.deadline).await.into_iter();
        let outcome = |(id, entered): (String, Result<(), CallError>)| {
            // Whoever has entered has an answer.
            let answer = entered.and_then(|()| Ok(answers.next().unwrap_or(Err(AskError::Stopped))?));
            let task = answer.and_then(|answer| task_in(answer).map_err(of_submit));
            let outcome = task.map_or_else(|error| Outcome::Error(error.item(&id)), |task| accepted(&task));
            v1::SubmitTaskOutcome { outcome: Some(outcome) }
        };
        entered.into_iter().map(outcome).collect()
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

/// To a submit an id is taken, whatever of its record can be read.
fn of_submit(error: CallError) -> CallError {
    match error {
        CallError::Refused(Refusal::CorruptRecord) => CallError::CorruptExists,
        other => other,
    }
}

/// A task among the outcomes of many, which must fit a message together.
fn accepted(task: &Task) -> Outcome {
    let mut task = task_to_proto(task, Detail::Summary);
    task.spec = None;
    task.progress = None;
    if let Some(failure) = &mut task.failure {
        failure.message.clear();
    }
    Outcome::Task(task)
}

fn invalid(error: InvalidField) -> Status {
    CallError::Invalid(error).status(None)
}
