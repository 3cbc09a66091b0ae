//! The link between a client service and the leader, in and out.

use std::sync::Arc;

mod call;

use self::call::{call_from_proto, call_to_proto};
use super::{
    Detail, InvalidField,
    bundle::nested_bundle,
    cluster::{cluster_from_proto, cluster_to_proto, drain_to_proto, worker_from_proto, worker_to_proto},
    explanation::{explanation_from_proto, explanation_to_proto},
    items, names, optional_name,
    proto::internal::v1 as link,
    queue::{queue_from_proto, queue_to_proto},
    refusal::{refusal_from_proto, refusal_to_proto},
    task::{state_from_proto, state_to_proto, time_from_proto, time_to_proto},
    task_from_proto, task_to_proto,
};
use crate::domain::{
    Answer, Call, DrainView, Located, Outcome, Page, QueuePage, Revision, Task, TaskEvent, TaskId, Term, Wall,
    WorkerPage,
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
        /// How much of its tasks goes out; [`detail_of`] the call. As received over the network: what there was.
        detail: Detail,
    },
    /// The reply to a submit of a new task, which is as the call says. As received: what a reply with
    /// [`Detail::Unsaid`] is.
    Accepted {
        call_id: u64,
        revision: Revision,
        create_time: Wall,
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
        Call::Submit { .. } => Detail::Unsaid,
        Call::Cancel { .. }
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

impl LeaderToClient {
    /// What the other end of a link over the network would keep of it: of tasks in a page no more than [`detail_of`] the call
    /// needs, of pushed ones no payload. Other answers are not kept, and what goes out of them is for the public API to say.
    #[must_use]
    pub fn as_read(mut self) -> Self {
        match &mut self {
            Self::Reply { answer: Answer::Page(page), detail, .. } => {
                page.tasks.iter_mut().for_each(|task| lighten(task, *detail));
            }
            Self::Event(event) => lighten(&mut event.task, Detail::Result),
            _ => {}
        }
        self
    }
}

/// Payloads up to so many bytes are not worth a copy of the rest of their tasks.
const LIGHT_PAYLOAD_BYTES: usize = 512;

/// Takes out of a task what a message of this detail does not have.
fn lighten(task: &mut Arc<Task>, detail: Detail) {
    let has_payload = detail != Detail::Full && task.spec.payload.len() > LIGHT_PAYLOAD_BYTES;
    let has_result = !matches!(detail, Detail::Result | Detail::Full)
        && matches!(&task.outcome, Some(Outcome::Succeeded(result)) if !result.is_empty());
    if !has_payload && !has_result {
        return;
    }
    let task = Arc::make_mut(task);
    if has_payload {
        Arc::make_mut(&mut task.spec).payload = Arc::default();
    }
    if has_result {
        task.outcome = Some(Outcome::Succeeded(Arc::default()));
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
            Message::Bundle(_) => return Err(nested_bundle()),
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
            LeaderToClient::Accepted { call_id, revision, create_time } => {
                let accepted = link::reply::Answer::Accepted(accepted_to_proto(revision, create_time));
                Message::Reply(Box::new(link::Reply { call_id, answer: Some(accepted) }))
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
                match answer.ok_or_else(|| InvalidField::new("reply.answer", "must be set"))? {
                    link::reply::Answer::Accepted(link::Accepted { revision, create_time }) => {
                        let field = "reply.accepted.create_time";
                        let create_time = time_from_proto(field, create_time)?;
                        let create_time = create_time.ok_or_else(|| InvalidField::new(field, "must be set"))?;
                        Self::Accepted { call_id, revision: Revision(revision), create_time }
                    }
                    answer => Self::Reply { call_id, answer: answer_from_proto(answer)?, detail: Detail::Full },
                }
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
            Message::Bundle(_) => return Err(nested_bundle()),
        })
    }
}

fn answer_to_proto(answer: &Answer, detail: Detail) -> link::reply::Answer {
    match answer {
        Answer::Task(task) if detail == Detail::Unsaid && task.is_new() => {
            link::reply::Answer::Accepted(accepted_to_proto(task.revision, task.create_time))
        }
        Answer::Task(task) => link::reply::Answer::Task(task_to_proto(task, detail)),
        Answer::Page(page) => link::reply::Answer::Page(link::TaskPage {
            tasks: page.tasks.iter().map(|task| task_to_proto(task, detail)).collect(),
            next_after_task_id: page.next_after.as_ref().map(ToString::to_string).unwrap_or_default(),
            next_after_revision: page.next_after_revision.map_or(0, |revision| revision.0),
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

fn answer_from_proto(answer: link::reply::Answer) -> Result<Answer, InvalidField> {
    Ok(match answer {
        link::reply::Answer::Accepted(_) => return Err(InvalidField::new("reply.accepted", "answers a submit only")),
        link::reply::Answer::Task(task) => {
            Answer::Task(Arc::new(task_from_proto(task).map_err(|error| error.within("reply.task"))?))
        }
        link::reply::Answer::Page(page) => Answer::Page(Page {
            tasks: items("reply.page.tasks", page.tasks, |task| task_from_proto(task).map(Arc::new))?,
            next_after: optional_name("reply.page.next_after_task_id", &page.next_after_task_id)?,
            next_after_revision: Some(Revision(page.next_after_revision)).filter(|after| *after > Revision(0)),
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

fn accepted_to_proto(revision: Revision, create_time: Wall) -> link::Accepted {
    link::Accepted { revision: revision.0, create_time: Some(time_to_proto(create_time)) }
}

fn texts(ids: &[TaskId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{TaskSpec, TaskState};

    fn succeeded(payload: &[u8], result: &[u8]) -> Arc<Task> {
        let spec = Arc::new(TaskSpec::new("echo".parse().unwrap(), payload));
        let submission = crate::domain::Submission {
            task_id: "t".parse().unwrap(),
            spec,
            create_time: Wall(1),
            revision: Revision(1),
            traceparent: None,
            retry_of: None,
        };
        let outcome = Some(Outcome::Succeeded(result.into()));
        Arc::new(Task { state: TaskState::Succeeded, outcome, ..Task::new(&submission) })
    }

    /// What the client service has of the only task of a message.
    fn task_of(message: LeaderToClient) -> Arc<Task> {
        match message {
            LeaderToClient::Reply { answer: Answer::Page(mut page), .. } => page.tasks.pop().unwrap(),
            LeaderToClient::Event(event) => event.task,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_kept_of_a_message_does_not_depend_on_how_it_came() {
        let large = [b'x'; LIGHT_PAYLOAD_BYTES + 1];
        for (payload, result) in [(&large[..], &b"r"[..]), (&large, b""), (b"", b"r")] {
            let task = succeeded(payload, result);
            let page = |detail| {
                let answer = Answer::Page(Page { tasks: vec![task.clone()], ..Page::default() });
                LeaderToClient::Reply { call_id: 1, answer, detail }
            };
            let event = LeaderToClient::Event(TaskEvent { task: task.clone(), previous_state: TaskState::Running });
            for message in [page(Detail::Summary), page(Detail::Result), page(Detail::Full), event] {
                let encoded = link::LinkClientResponse::from(message.clone());
                assert_eq!(task_of(message.as_read()), task_of(encoded.try_into().unwrap()));
            }
        }
    }
}
