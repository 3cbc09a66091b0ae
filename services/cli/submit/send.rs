//! Sending submits until their outcome is known.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use tonic::{Code, Status, transport::Channel};

use crate::{
    cli::{
        exit::{Failure, in_doubt},
        server::{CALL_TIMEOUT, call},
    },
    wire::{
        CallError,
        proto::v1::{
            SubmitTaskError, SubmitTaskRequest, SubmitTasksRequest, Task, submit_task_outcome::Outcome,
            task_service_client::TaskServiceClient,
        },
        reason_of,
    },
};

/// How long a submit whose outcome is not known, or that was offered while there was no room, is repeated; no leader accepts the first one any more after it.
const LIMIT: Duration = Duration::from_secs(30);
/// Pause before it is repeated.
const PAUSE: Duration = Duration::from_millis(250);

type Tasks = TaskServiceClient<Channel>;

/// Submits one task.
pub(in crate::cli) async fn one(mut client: Tasks, request: SubmitTaskRequest) -> Result<Task, Failure> {
    let start = Instant::now();
    loop {
        match bounded(client.submit_task(call(request.clone()))).await {
            Ok(reply) => return Ok(reply.task.unwrap_or_default()),
            Err(status) => give_up_or_wait(status, start).await?,
        }
    }
}

/// Submits the tasks of one call, and gives the outcome of each, in no particular order.
pub(super) async fn batch(
    mut client: Tasks,
    mut requests: Vec<SubmitTaskRequest>,
) -> Result<Vec<Result<Task, SubmitTaskError>>, Failure> {
    let start = Instant::now();
    let mut known = Vec::with_capacity(requests.len());
    loop {
        let sent = SubmitTasksRequest { requests: requests.clone() };
        let doubt = match bounded(client.submit_tasks(call(sent))).await {
            Ok(reply) => {
                let last_chance = start.elapsed() > LIMIT;
                let mut again = Vec::new();
                for (request, outcome) in requests.into_iter().zip(reply.outcomes) {
                    match outcome.outcome {
                        Some(Outcome::Task(task)) => known.push(Ok(task)),
                        Some(Outcome::Error(error)) if is_final(&error) || last_chance => known.push(Err(error)),
                        Some(Outcome::Error(_)) | None => again.push(request),
                    }
                }
                requests = again;
                if requests.is_empty() {
                    return Ok(known);
                }
                Status::unavailable("the outcome of some tasks is not known")
            }
            Err(status) => status,
        };
        give_up_or_wait(doubt, start).await?;
    }
}

fn is_final(error: &SubmitTaskError) -> bool {
    !matches!(Code::from(error.code), Code::Unavailable | Code::DeadlineExceeded)
}

/// A deadline that holds also when nobody at the other end keeps it.
async fn bounded<T>(call: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, Status> {
    match timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    }
}

async fn give_up_or_wait(status: Status, start: Instant) -> Result<(), Failure> {
    let passes = in_doubt(&status) || reason_of(&status).as_deref() == Some(CallError::OVERLOADED);
    if !passes || start.elapsed() > LIMIT {
        return Err(status.into());
    }
    tracing::debug!(%status, "submitting again");
    sleep(PAUSE).await;
    Ok(())
}
