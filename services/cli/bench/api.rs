//! The public API as a bench speaks it: on the wire the same messages, as generated clients send and read them, but specs that
//! are all alike are encoded once, and of what comes only that is read which counts. What the load takes on a machine that it
//! shares with what it measures is missing there.

use bytes::Bytes;
use futures::{StreamExt, stream::ReadyChunks};
use prost::Message;
use tonic::{
    Code, IntoRequest, Request, Response, Status, Streaming, client::Grpc, codegen::http::uri::PathAndQuery,
    transport::Channel,
};
use tonic_prost::ProstCodec;

use crate::{
    cli::{follow::is_terminal, server::task_client},
    runtime::serve::MAX_LINK_MESSAGE_BYTES,
    wire::proto::v1::{
        Task, TaskFailure, TaskState, WatchTaskRequest, WatchTasksRequest, task_service_client::TaskServiceClient,
    },
};

/// Most events that are taken at once, when so many have come.
const CHUNK: usize = 1_024;

/// `SubmitTaskRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Submit {
    #[prost(string, tag = "1")]
    pub(super) task_id: String,
    /// A `TaskSpec`: on the wire an embedded message is its bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) spec: Bytes,
}

/// `SubmitTasksRequest`.
#[derive(Clone, PartialEq, Message)]
struct Submits {
    #[prost(message, repeated, tag = "1")]
    requests: Vec<Submit>,
}

/// `SubmitTaskResponse`.
#[derive(Clone, PartialEq, Message)]
struct Submitted {}

/// `SubmitTasksResponse`.
#[derive(Clone, PartialEq, Message)]
struct Outcomes {
    #[prost(message, repeated, tag = "1")]
    outcomes: Vec<Outcome>,
}

/// `SubmitTaskOutcome`.
#[derive(Clone, PartialEq, Message)]
struct Outcome {
    /// A `Task`, unread.
    #[prost(bytes = "bytes", optional, tag = "1")]
    task: Option<Bytes>,
    #[prost(message, optional, tag = "2")]
    error: Option<Refused>,
}

/// `SubmitTaskError`.
#[derive(Clone, PartialEq, Message)]
struct Refused {
    #[prost(int32, tag = "1")]
    code: i32,
}

/// `WatchTaskResponse` or `WatchTasksResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Event {
    #[prost(message, optional, tag = "1")]
    pub(super) task: Option<Seen>,
    #[prost(uint64, tag = "3")]
    pub(super) resume_revision: u64,
}

/// `Task`, as far as its end goes.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Seen {
    #[prost(string, tag = "1")]
    pub(super) task_id: String,
    #[prost(enumeration = "TaskState", tag = "3")]
    pub(super) state: i32,
    #[prost(message, optional, boxed, tag = "9")]
    pub(super) failure: Option<Box<TaskFailure>>,
    #[prost(message, optional, tag = "12")]
    pub(super) end_time: Option<prost_types::Timestamp>,
}

impl Seen {
    pub(super) fn has_ended(&self) -> bool {
        is_terminal(self.state())
    }
}

impl From<Seen> for Task {
    /// What was not read is as if it had not been said.
    fn from(seen: Seen) -> Self {
        let Seen { task_id, state, failure, end_time } = seen;
        Self { task_id, state, failure: failure.map(|failure| *failure), end_time, ..Self::default() }
    }
}

/// What has come of a watch, as much at once as there is.
pub(super) type Events = ReadyChunks<Streaming<Event>>;

/// One connection; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Api(pub(super) Channel);

impl Api {
    /// The generated client of the same connection.
    pub(super) fn tasks(&self) -> TaskServiceClient<Channel> {
        task_client(self.0.clone())
    }

    /// # Errors
    /// The task was not accepted, or nobody knows.
    pub(super) async fn submit_task(&self, request: Request<Submit>) -> Result<(), Status> {
        self.unary::<_, Submitted>(request, "/herdsman.v1.TaskService/SubmitTask").await.map(drop)
    }

    /// What became of each task.
    ///
    /// # Errors
    /// None was accepted, or nobody knows.
    pub(super) async fn submit_tasks(&self, request: Request<Vec<Submit>>) -> Result<Vec<Result<(), Code>>, Status> {
        let request = request.map(|requests| Submits { requests });
        let Outcomes { outcomes } = self.unary(request, "/herdsman.v1.TaskService/SubmitTasks").await?;
        let outcome = |outcome: Outcome| match (outcome.task, outcome.error) {
            (Some(_), _) => Ok(()),
            (None, Some(refused)) => Err(Code::from(refused.code)),
            (None, None) => Err(Code::Unknown),
        };
        Ok(outcomes.into_iter().map(outcome).collect())
    }

    pub(super) async fn watch_task(&self, request: WatchTaskRequest) -> Result<Events, Status> {
        self.stream(request, "/herdsman.v1.TaskService/WatchTask").await
    }

    pub(super) async fn watch_tasks(&self, request: WatchTasksRequest) -> Result<Events, Status> {
        self.stream(request, "/herdsman.v1.TaskService/WatchTasks").await
    }

    async fn unary<Q, R>(&self, request: Request<Q>, path: &'static str) -> Result<R, Status>
    where
        Q: Message + Send + Sync + 'static,
        R: Message + Default + Send + Sync + 'static,
    {
        let path = PathAndQuery::from_static(path);
        self.ready().await?.unary(request, path, ProstCodec::default()).await.map(Response::into_inner)
    }

    async fn stream<Q: Message + Send + Sync + 'static>(
        &self,
        request: Q,
        path: &'static str,
    ) -> Result<Events, Status> {
        let (path, codec) = (PathAndQuery::from_static(path), ProstCodec::<Q, Event>::default());
        let events = self.ready().await?.server_streaming(request.into_request(), path, codec).await?;
        Ok(events.into_inner().ready_chunks(CHUNK))
    }

    async fn ready(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = Grpc::new(self.0.clone()).max_decoding_message_size(MAX_LINK_MESSAGE_BYTES);
        let ready = grpc.ready().await;
        ready.map_err(|error| Status::unavailable(format!("the service is not ready: {error}")))?;
        Ok(grpc)
    }
}
