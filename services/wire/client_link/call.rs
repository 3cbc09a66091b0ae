//! What a client service asks the leader, in and out.

use std::{sync::Arc, time::Duration};

use super::texts;
use crate::{
    domain::{Call, ListQuery, QueueQuery, QueueUpdate, Revision, TaskFilter, WorkerQuery},
    wire::{
        InvalidField, filter_from_proto, filter_to_proto, name, names, optional_name,
        proto::{internal::v1 as link, v1},
        queue::{queue_update_from_proto, queue_update_to_proto},
        spec_from_proto, spec_to_proto,
    },
};

pub(super) fn call_to_proto(call: Call) -> link::call::Question {
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

pub(super) fn call_from_proto(question: Option<link::call::Question>) -> Result<Call, InvalidField> {
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

fn filter(filter: Option<v1::TaskFilter>) -> Result<TaskFilter, InvalidField> {
    filter_from_proto(filter.unwrap_or_default()).map_err(|error| error.within("filter"))
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
