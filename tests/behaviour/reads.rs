//! What can be read of tasks and of the cluster.

use herdsman::wire::proto::v1::{
    GetClusterRequest, ListTasksRequest, ListWorkersRequest, SubmitTaskRequest, TaskFilter, TaskSpec, TaskState,
    WorkerState,
};

use super::{Herdsman, cases};
use crate::support::cluster::{ended, reaches, request, spec, submit};

cases![a_listing_pages_through_everything_once, a_filter_selects, the_cluster_tells_of_itself];

async fn list(herdsman: &mut Herdsman, filter: TaskFilter, page_size: i32) -> Vec<String> {
    let mut ids = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListTasksRequest { filter: Some(filter.clone()), page_size, page_token };
        let page = herdsman.tasks.list_tasks(request).await.unwrap().into_inner();
        for task in page.tasks {
            let spec = task.spec.unwrap();
            assert!(spec.payload.is_empty() && task.result.is_empty(), "lists stay small");
            ids.push(task.task_id);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return ids;
        }
    }
}

async fn a_listing_pages_through_everything_once(mut herdsman: Herdsman) {
    let ids: Vec<_> = (0..25).map(|at| format!("t{at:02}")).collect();
    for id in ids.iter().rev() {
        submit(&mut herdsman.tasks, request(id, "unheard-of", "payload")).await;
    }
    for page_size in [1, 7, 25, 0, 5_000] {
        assert_eq!(list(&mut herdsman, TaskFilter::default(), page_size).await, ids, "pages of {page_size}");
    }
}

async fn a_filter_selects(mut herdsman: Herdsman) {
    let label = |value: &str| [("colour".to_owned(), value.to_owned())].into();
    let specs = [
        ("red", TaskSpec { labels: label("red"), ..spec("unheard-of", "") }),
        ("blue", TaskSpec { labels: label("blue"), ..spec("unheard-of", "") }),
        ("elsewhere", TaskSpec { queue: "other".into(), ..spec("unheard-of", "") }),
        ("done", spec("noop", "")),
    ];
    for (id, spec) in specs {
        submit(&mut herdsman.tasks, SubmitTaskRequest { task_id: id.into(), spec: Some(spec) }).await;
    }
    ended(&mut herdsman.tasks, "done").await;
    let all = TaskFilter::default;
    let filters = [
        (TaskFilter { labels: label("red"), ..all() }, vec!["red"]),
        (TaskFilter { queues: vec!["default".into()], ..all() }, vec!["blue", "done", "red"]),
        (TaskFilter { queues: vec!["other".into(), "none".into()], ..all() }, vec!["elsewhere"]),
        (TaskFilter { kinds: vec!["noop".into()], ..all() }, vec!["done"]),
        (TaskFilter { states: vec![TaskState::Succeeded.into(), TaskState::Failed.into()], ..all() }, vec!["done"]),
        (TaskFilter { kinds: vec!["noop".into()], states: vec![TaskState::Pending.into()], ..all() }, vec![]),
    ];
    for (filter, expected) in filters {
        assert_eq!(list(&mut herdsman, filter.clone(), 2).await, expected, "{filter:?}");
    }
}

async fn the_cluster_tells_of_itself(mut herdsman: Herdsman) {
    submit(&mut herdsman.tasks, request("running", "sleep", "1h")).await;
    submit(&mut herdsman.tasks, request("done", "noop", "")).await;
    submit(&mut herdsman.tasks, request("waiting", "unheard-of", "")).await;
    reaches(&mut herdsman.tasks, "running", TaskState::Running).await;
    ended(&mut herdsman.tasks, "done").await;
    let mut cluster = herdsman.cluster_service().await;
    let told = cluster.get_cluster(GetClusterRequest {}).await.unwrap().into_inner().cluster.unwrap();
    let leader = told.leader.expect("somebody leads");
    assert!(leader.term > 0 || !leader.address.is_empty(), "{leader:?}");
    assert_eq!((told.worker_count, told.slot_count, told.busy_slot_count, told.corrupt_record_count), (1, 4, 1, 0));
    let counts = told.tasks.unwrap();
    assert_eq!((counts.pending, counts.assigned, counts.running, counts.succeeded), (1, 0, 1, 1));
    let workers = cluster.list_workers(ListWorkersRequest::default()).await.unwrap().into_inner().workers;
    assert_eq!(workers.len(), 1);
    let worker = &workers[0];
    assert_eq!((worker.state(), worker.slot_count, worker.busy_slot_count), (WorkerState::Ready, 4, 1));
    assert!(["echo", "noop", "sleep"].iter().all(|kind| worker.kinds.iter().any(|served| served == kind)));
    assert_eq!(worker.queues.join(","), super::QUEUES);
}
