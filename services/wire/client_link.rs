//! The link between a client service and the leader, in and out.

use std::{sync::Arc, time::Duration};

use super::{
    Detail, InvalidField,
    cluster::{cluster_from_proto, cluster_to_proto, drain_to_proto, worker_from_proto, worker_to_proto},
    explanation::{explanation_from_proto, explanation_to_proto},
    filter_from_proto, filter_to_proto, items, name, names, optional_name,
    proto::{internal::v1 as link, v1},
    queue::{queue_from_proto, queue_to_proto, queue_update_from_proto, queue_update_to_proto},
    refusal::{refusal_from_proto, refusal_to_proto},
    spec_from_proto, spec_to_proto,
    task::{state_from_proto, state_to_proto},
    task_from_proto, task_to_proto,
};
use crate::domain::{
    Answer, Call, DrainView, ListQuery, Located, Page, QueuePage, QueueQuery, QueueUpdate, Revision, TaskEvent,
    TaskFilter, TaskId, Term, WorkerPage, WorkerQuery,
};

/// What a client service says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientToLeader {
    /// First, once.
    Hello {
        /// Of its program.
        version: String,
        /// The highest that it has been welcomed to.
        term: Term,
    },
    Call {
        call_id: u64,
        call: Call,
    },
    /// A call that does not decode, as only another version of the program can send it: refuse it as
    /// [`Refusal::Invalid`]; the rest of the link is well. Never sent.
    Malformed {
        call_id: u64,
        error: InvalidField,
    },
    Unwatch {
        task_ids: Vec<TaskId>,
        filter_ids: Vec<u64>,
    },
    Goodbye,
    Heartbeat,
}

/// What the leader says to a client service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaderToClient {
    /// First, once.
    Welcome(Term),
    Reply {
        call_id: u64,
        answer: Answer,
        /// How much of its tasks goes out; [`detail_of`] the call. As received: what there was.
        detail: Detail,
    },
    Event(TaskEvent),
    Goodbye,
    Heartbeat,
}

/// How much of the tasks in its answer a call needs.
pub fn detail_of(call: &Call) -> Detail {
    match call {
        Call::Get { .. } => Detail::Full,
        Call::Watch { .. } => Detail::Result,
        Call::Submit { .. }
        | Call::Cancel { .. }
        | Call::Retry { .. }
        | Call::Delete { .. }
        | Call::List(_)
        | Call::WatchFilter { .. }
        | Call::Cluster
        | Call::Locate { .. }
        | Call::Explain { .. }
        | Call::Workers(_)
        | Call::Queues(_)
        | Call::Queue { .. }
        | Call::UpdateQueue { .. }
        | Call::SetDrained { .. }
        | Call::AwaitDrain { .. } => Detail::Summary,
    }
}

impl From<ClientToLeader> for link::LinkClientRequest {
    fn from(message: ClientToLeader) -> Self {
        use link::link_client_request::Message;
        let message = match message {
            ClientToLeader::Hello { version, term } => Message::Hello(link::ClientHello { version, term: term.0 }),
            ClientToLeader::Call { call_id, call } => {
                Message::Call(Box::new(link::Call { call_id, question: Some(call_to_proto(call)) }))
            }
            ClientToLeader::Malformed { call_id, .. } => {
                Message::Call(Box::new(link::Call { call_id, question: None }))
            }
            ClientToLeader::Unwatch { task_ids, filter_ids } => {
                Message::Unwatch(link::Unwatch { task_ids: texts(&task_ids), filter_ids })
            }
            ClientToLeader::Goodbye => Message::Goodbye(link::Goodbye {}),
            ClientToLeader::Heartbeat => Message::Heartbeat(link::Heartbeat {}),
        };
        Self { message: Some(message) }
    }
}

impl TryFrom<link::LinkClientRequest> for ClientToLeader {
    type Error = InvalidField;

    fn try_from(request: link::LinkClientRequest) -> Result<Self, InvalidField> {
        use link::link_client_request::Message;
        Ok(match request.message.ok_or_else(|| InvalidField::new("message", "must be set"))? {
            Message::Hello(hello) => Self::Hello { version: hello.version, term: Term(hello.term) },
            Message::Call(call) => {
                let link::Call { call_id, question } = *call;
                match call_from_proto(question) {
                    Ok(call) => Self::Call { call_id, call },
                    Err(error) => Self::Malformed { call_id, error },
                }
            }
            Message::Unwatch(unwatch) => {
                Self::Unwatch { task_ids: names("task_ids", &unwatch.task_ids)?, filter_ids: unwatch.filter_ids }
            }
            Message::Goodbye(_) => Self::Goodbye,
            Message::Heartbeat(_) => Self::Heartbeat,
        })
    }
}

impl From<LeaderToClient> for link::LinkClientResponse {
    fn from(message: LeaderToClient) -> Self {
        use link::link_client_response::Message;
        let message = match message {
            LeaderToClient::Welcome(term) => Message::Welcome(link::Welcome { term: term.0 }),
            LeaderToClient::Reply { call_id, answer, detail } => {
                Message::Reply(Box::new(link::Reply { call_id, answer: Some(answer_to_proto(&answer, detail)) }))
            }
            LeaderToClient::Event(event) => Message::Event(Box::new(link::TaskEvent {
                task: Some(task_to_proto(&event.task, Detail::Result)),
                previous_state: state_to_proto(event.previous_state).into(),
            })),
            LeaderToClient::Goodbye => Message::Goodbye(link::Goodbye {}),
            LeaderToClient::Heartbeat => Message::Heartbeat(link::Heartbeat {}),
        };
        Self { message: Some(message) }
    }
}

impl TryFrom<link::LinkClientResponse> for LeaderToClient {
    type Error = InvalidField;

    fn try_from(response: link::LinkClientResponse) -> Result<Self, InvalidField> {
        use link::link_client_response::Message;
        Ok(match response.message.ok_or_else(|| InvalidField::new("message", "must be set"))? {
            Message::Welcome(welcome) => Self::Welcome(Term(welcome.term)),
            Message::Reply(reply) => {
                let link::Reply { call_id, answer } = *reply;
                Self::Reply { call_id, answer: answer_from_proto(answer)?, detail: Detail::Full }
            }
            Message::Event(event) => {
                let task = event.task.ok_or_else(|| InvalidField::new("event.task", "must be set"))?;
                Self::Event(TaskEvent {
                    task: Arc::new(task_from_proto(task).map_err(|error| error.within("event.task"))?),
                    previous_state: state_from_proto("event.previous_state", event.previous_state)?,
                })
            }
            Message::Goodbye(_) => Self::Goodbye,
            Message::Heartbeat(_) => Self::Heartbeat,
        })
    }
}

fn call_to_proto(call: Call) -> link::call::Question {
    use link::call::Question;
    match call {
        Call::Submit { task_id, spec, traceparent, time_left } => Question::Submit(link::SubmitCall {
            task_id: task_id.to_string(),
            spec: Some(spec_to_proto(&spec, true)),
            traceparent: traceparent.as_deref().unwrap_or_default().to_owned(),
            time_left_ms: millis(time_left),
        }),
        Call::Cancel { task_id } => Question::Cancel(v1::CancelTaskRequest { task_id: task_id.to_string() }),
        Call::Retry { of, task_id, traceparent, time_left } => Question::Retry(link::RetryCall {
            task_id: of.to_string(),
            new_task_id: task_id.to_string(),
            traceparent: traceparent.as_deref().unwrap_or_default().to_owned(),
            time_left_ms: millis(time_left),
        }),
        Call::Delete { task_id } => Question::Delete(v1::DeleteTaskRequest { task_id: task_id.to_string() }),
        Call::Get { task_id } => Question::Get(v1::GetTaskRequest { task_id: task_id.to_string() }),
        Call::List(query) => Question::List(link::ListCall {
            filter: Some(filter_to_proto(&query.filter)),
            page_size: query.page_size,
            after_task_id: query.after.as_ref().map(ToString::to_string).unwrap_or_default(),
            after_revision: query.after_revision.0,
        }),
        Call::Watch { task_ids } => Question::Watch(link::WatchCall { task_ids: texts(&task_ids) }),
        Call::WatchFilter { filter_id, filter } => {
            Question::WatchFilter(link::WatchFilterCall { filter_id, filter: Some(filter_to_proto(&filter)) })
        }
        Call::Cluster => Question::Cluster(v1::GetClusterRequest {}),
        Call::Locate { task_id } => Question::Locate(link::LocateCall { task_id: task_id.to_string() }),
        Call::Workers(query) => Question::Workers(link::ListWorkersCall {
            page_size: query.page_size,
            after_worker_id: query.after.as_ref().map(ToString::to_string).unwrap_or_default(),
        }),
        Call::Queues(query) => Question::Queues(link::ListQueuesCall {
            page_size: query.page_size,
            after_name: query.after.as_ref().map(ToString::to_string).unwrap_or_default(),
        }),
        Call::Queue { queue } => Question::Queue(v1::GetQueueRequest { name: queue.to_string() }),
        Call::UpdateQueue { queue, update } => Question::UpdateQueue(link::UpdateQueueCall {
            update: Some(queue_update_to_proto(&queue, &update)),
            paused: update.paused,
        }),
        Call::Explain { task_id } => Question::Explain(v1::ExplainTaskRequest { task_id: task_id.to_string() }),
        Call::SetDrained { worker_id, drained } => {
            Question::SetDrained(link::SetDrainedCall { worker_id: worker_id.to_string(), drained })
        }
        Call::AwaitDrain { worker_id, known_busy } => {
            Question::AwaitDrain(link::AwaitDrainCall { worker_id: worker_id.to_string(), known_busy })
        }
    }
}

fn call_from_proto(question: Option<link::call::Question>) -> Result<Call, InvalidField> {
    use link::call::Question;
    Ok(match question.ok_or_else(|| InvalidField::new("question", "must be set"))? {
        Question::Submit(submit) => {
            let spec = submit.spec.ok_or_else(|| InvalidField::new("spec", "must be set"))?;
            Call::Submit {
                task_id: name("task_id", &submit.task_id)?,
                spec: Arc::new(spec_from_proto(spec).map_err(|error| error.within("spec"))?),
                traceparent: (!submit.traceparent.is_empty()).then(|| submit.traceparent.into()),
                time_left: Duration::from_millis(submit.time_left_ms.into()),
            }
        }
        Question::Cancel(cancel) => Call::Cancel { task_id: name("task_id", &cancel.task_id)? },
        Question::Retry(retry) => Call::Retry {
            of: name("task_id", &retry.task_id)?,
            task_id: name("new_task_id", &retry.new_task_id)?,
            traceparent: (!retry.traceparent.is_empty()).then(|| retry.traceparent.into()),
            time_left: Duration::from_millis(retry.time_left_ms.into()),
        },
        Question::Delete(delete) => Call::Delete { task_id: name("task_id", &delete.task_id)? },
        Question::Get(get) => Call::Get { task_id: name("task_id", &get.task_id)? },
        Question::List(list) => Call::List(Box::new(ListQuery {
            filter: filter(list.filter)?,
            page_size: list.page_size.clamp(1, ListQuery::MAX_PAGE),
            after: optional_name("after_task_id", &list.after_task_id)?,
            after_revision: Revision(list.after_revision),
        })),
        Question::Watch(watch) => Call::Watch { task_ids: names("task_ids", &watch.task_ids)? },
        Question::WatchFilter(watch) => {
            Call::WatchFilter { filter_id: watch.filter_id, filter: Box::new(filter(watch.filter)?) }
        }
        Question::Cluster(_) => Call::Cluster,
        Question::Locate(locate) => Call::Locate { task_id: name("task_id", &locate.task_id)? },
        Question::Workers(workers) => Call::Workers(WorkerQuery {
            page_size: workers.page_size.clamp(1, ListQuery::MAX_PAGE),
            after: optional_name("after_worker_id", &workers.after_worker_id)?,
        }),
        Question::Queues(queues) => Call::Queues(QueueQuery {
            page_size: queues.page_size.clamp(1, ListQuery::MAX_PAGE),
            after: optional_name("after_name", &queues.after_name)?,
        }),
        Question::Queue(queue) => Call::Queue { queue: name("name", &queue.name)? },
        Question::UpdateQueue(link::UpdateQueueCall { update, paused }) => {
            let update = update.unwrap_or_default();
            let (queue, update) = queue_update_from_proto(&update).map_err(|error| error.within("update"))?;
            Call::UpdateQueue { queue, update: QueueUpdate { paused, ..update } }
        }
        Question::Explain(explain) => Call::Explain { task_id: name("task_id", &explain.task_id)? },
        Question::SetDrained(link::SetDrainedCall { worker_id, drained }) => {
            Call::SetDrained { worker_id: name("worker_id", &worker_id)?, drained }
        }
        Question::AwaitDrain(link::AwaitDrainCall { worker_id, known_busy }) => {
            Call::AwaitDrain { worker_id: name("worker_id", &worker_id)?, known_busy }
        }
    })
}

fn answer_to_proto(answer: &Answer, detail: Detail) -> link::reply::Answer {
    match answer {
        Answer::Task(task) => link::reply::Answer::Task(task_to_proto(task, detail)),
        Answer::Page(page) => link::reply::Answer::Page(link::TaskPage {
            tasks: page.tasks.iter().map(|task| task_to_proto(task, detail)).collect(),
            next_after_task_id: page.next_after.as_ref().map(ToString::to_string).unwrap_or_default(),
            missing_task_ids: texts(&page.missing),
            corrupt_task_ids: texts(&page.corrupt),
        }),
        Answer::Located(located) => link::reply::Answer::Located(link::Located {
            task: Some(task_to_proto(&located.task, detail)),
            worker: located.worker.as_ref().map(worker_to_proto),
        }),
        Answer::Cluster(view) => link::reply::Answer::Cluster(cluster_to_proto(view)),
        Answer::Workers(page) => link::reply::Answer::Workers(link::WorkerPage {
            workers: page.workers.iter().map(worker_to_proto).collect(),
            next_after_worker_id: page.next_after.as_ref().map(ToString::to_string).unwrap_or_default(),
        }),
        Answer::Queues(page) => link::reply::Answer::Queues(link::QueuePage {
            queues: page.queues.iter().map(queue_to_proto).collect(),
            next_after_name: page.next_after.as_ref().map(ToString::to_string).unwrap_or_default(),
        }),
        Answer::Queue(view) => link::reply::Answer::Queue(queue_to_proto(view)),
        Answer::Explained(explanation) => link::reply::Answer::Explained(explanation_to_proto(explanation)),
        Answer::Worker(view) => link::reply::Answer::Worker(worker_to_proto(view)),
        Answer::Drain(view) => link::reply::Answer::Drain(drain_to_proto(view)),
        Answer::Refused(refusal) => link::reply::Answer::Refusal(refusal_to_proto(refusal)),
    }
}

fn answer_from_proto(answer: Option<link::reply::Answer>) -> Result<Answer, InvalidField> {
    Ok(match answer.ok_or_else(|| InvalidField::new("reply.answer", "must be set"))? {
        link::reply::Answer::Task(task) => {
            Answer::Task(Arc::new(task_from_proto(task).map_err(|error| error.within("reply.task"))?))
        }
        link::reply::Answer::Page(page) => Answer::Page(Page {
            tasks: items("reply.page.tasks", page.tasks, |task| task_from_proto(task).map(Arc::new))?,
            next_after: optional_name("reply.page.next_after_task_id", &page.next_after_task_id)?,
            missing: names("reply.page.missing_task_ids", &page.missing_task_ids)?,
            corrupt: names("reply.page.corrupt_task_ids", &page.corrupt_task_ids)?,
        }),
        link::reply::Answer::Located(link::Located { task, worker }) => {
            let task = task.ok_or_else(|| InvalidField::new("reply.located.task", "must be set"))?;
            let worker = worker.map(worker_from_proto).transpose();
            Answer::Located(Box::new(Located {
                task: Arc::new(task_from_proto(task).map_err(|error| error.within("reply.located.task"))?),
                worker: worker.map_err(|error| error.within("reply.located.worker"))?,
            }))
        }
        link::reply::Answer::Cluster(view) => {
            Answer::Cluster(Box::new(cluster_from_proto(view).map_err(|error| error.within("reply.cluster"))?))
        }
        link::reply::Answer::Workers(page) => Answer::Workers(WorkerPage {
            workers: items("reply.workers.workers", page.workers, worker_from_proto)?,
            next_after: optional_name("reply.workers.next_after_worker_id", &page.next_after_worker_id)?,
        }),
        link::reply::Answer::Queues(page) => Answer::Queues(QueuePage {
            queues: items("reply.queues.queues", page.queues, queue_from_proto)?,
            next_after: optional_name("reply.queues.next_after_name", &page.next_after_name)?,
        }),
        link::reply::Answer::Queue(queue) => {
            Answer::Queue(Box::new(queue_from_proto(queue).map_err(|error| error.within("reply.queue"))?))
        }
        link::reply::Answer::Explained(explained) => Answer::Explained(Box::new(
            explanation_from_proto(explained).map_err(|error| error.within("reply.explained"))?,
        )),
        link::reply::Answer::Worker(worker) => {
            Answer::Worker(Box::new(worker_from_proto(worker).map_err(|error| error.within("reply.worker"))?))
        }
        link::reply::Answer::Drain(drain) => {
            let worker = worker_from_proto(drain.worker.unwrap_or_default());
            let worker = worker.map_err(|error| error.within("reply.drain.worker"))?;
            Answer::Drain(Box::new(DrainView { worker, empty: drain.empty }))
        }
        link::reply::Answer::Refusal(refusal) => Answer::Refused(refusal_from_proto(refusal)?),
    })
}

fn filter(filter: Option<v1::TaskFilter>) -> Result<TaskFilter, InvalidField> {
    filter_from_proto(filter.unwrap_or_default()).map_err(|error| error.within("filter"))
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn texts(ids: &[TaskId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}
