use std::sync::atomic::Ordering;

use futures::{StreamExt, stream::FuturesUnordered};
use herdsman::{
    domain::{MAX_PAYLOAD_BYTES, TaskState},
    wire::proto::v1::{
        CancelTaskRequest, ExplainTaskRequest, GetClusterRequest, GetTaskRequest, ListTasksRequest, SubmitTasksRequest,
        TaskFilter, TaskIds, TaskSpec, WatchTaskRequest, WatchTasksRequest,
        cluster_service_client::ClusterServiceClient, pending_reason::Reason, submit_task_outcome::Outcome,
        watch_tasks_request::Target,
    },
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{House, echo, within};

fn field(status: &Status) -> String {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    status.get_details_bad_request().expect("a BadRequest").field_violations[0].field.clone()
}

#[tokio::test]
async fn a_task_is_submitted_got_listed_and_cancelled() {
    let (house, _leader) = House::lead().await;
    let task = house.submit("a").await;
    assert_eq!((task.task_id.as_str(), task.spec.unwrap().payload.len()), ("a", 0));
    let mut tasks = house.tasks().await;
    let got = tasks.get_task(GetTaskRequest { task_id: "a".into() }).await.unwrap().into_inner().task.unwrap();
    assert_eq!(got.spec.unwrap().payload, "hello");
    let cancelled = tasks.cancel_task(CancelTaskRequest { task_id: "a".into() }).await.unwrap().into_inner();
    assert_eq!(cancelled.task.unwrap().state().as_str_name(), "TASK_STATE_CANCELLED");
    let list = tasks.list_tasks(ListTasksRequest::default()).await.unwrap().into_inner();
    assert_eq!((list.tasks.len(), list.next_page_token.as_str()), (1, ""));
    let mut cluster = ClusterServiceClient::new(house.channel().await);
    let view = cluster.get_cluster(GetClusterRequest {}).await.unwrap().into_inner().cluster.unwrap();
    assert_eq!(view.leader.unwrap().term, 1);
}

#[tokio::test]
async fn a_submit_without_an_id_gets_one_that_sorts_by_time() {
    let (house, _leader) = House::lead().await;
    let (first, second) = (house.submit("").await, house.submit("").await);
    assert!(first.task_id < second.task_id);
}

#[tokio::test]
async fn bad_input_of_every_kind_names_its_field() {
    let (house, _leader) = House::lead().await;
    let mut tasks = house.tasks().await;
    let long = "x".repeat(64);
    for bad in ["../x", "a\0", "A", "", long.as_str()] {
        if !bad.is_empty() {
            assert_eq!(field(&tasks.submit_task(echo(bad)).await.unwrap_err()), "task_id", "{bad:?}");
        }
        let get = tasks.get_task(GetTaskRequest { task_id: bad.into() }).await;
        assert_eq!(field(&get.unwrap_err()), "task_id", "{bad:?}");
        let cancel = tasks.cancel_task(CancelTaskRequest { task_id: bad.into() }).await;
        assert_eq!(field(&cancel.unwrap_err()), "task_id", "{bad:?}");
        let watch = tasks.watch_task(WatchTaskRequest { task_id: bad.into(), after_revision: 0 }).await;
        assert_eq!(field(&watch.unwrap_err()), "task_id", "{bad:?}");
    }
    let with = |adapt: fn(&mut TaskSpec)| {
        let mut request = echo("a");
        adapt(request.spec.as_mut().unwrap());
        request
    };
    for (request, bad) in [
        (with(|spec| spec.kind.clear()), "spec.kind"),
        (with(|spec| spec.kind = "/bin/sh".into()), "spec.kind"),
        (with(|spec| spec.queue = "Q".into()), "spec.queue"),
        (with(|spec| spec.payload = vec![0; MAX_PAYLOAD_BYTES + 1].into()), "spec.payload"),
        (with(|spec| spec.priority = Some(10)), "spec.priority"),
        (with(|spec| spec.labels = [("K".into(), String::new())].into()), "spec.labels"),
    ] {
        assert_eq!(field(&tasks.submit_task(request).await.unwrap_err()), bad);
    }
    let list = |adapt: fn(&mut ListTasksRequest)| {
        let mut request = ListTasksRequest { filter: Some(TaskFilter::default()), ..ListTasksRequest::default() };
        adapt(&mut request);
        request
    };
    for (request, bad) in [
        (list(|list| list.page_size = -1), "page_size"),
        (list(|list| list.page_token = "nonsense".into()), "page_token"),
        (list(|list| list.filter.as_mut().unwrap().states = vec![77]), "filter.states[0]"),
        (list(|list| list.filter.as_mut().unwrap().queues = vec!["Q".into()]), "filter.queues[0]"),
    ] {
        assert_eq!(field(&tasks.list_tasks(request).await.unwrap_err()), bad);
    }
    let ids = |ids: Vec<String>| Some(Target::Ids(TaskIds { task_ids: ids }));
    for (target, bad) in [
        (None, "target"),
        (ids(vec![]), "ids.task_ids"),
        (ids(vec!["a".into(); 1_001]), "ids.task_ids"),
        (ids(vec!["a".into(), "B".into()]), "ids.task_ids[1]"),
    ] {
        let watch = tasks.watch_tasks(WatchTasksRequest { target, after_revision: 0 }).await;
        assert_eq!(field(&watch.unwrap_err()), bad);
    }
    for requests in [vec![], vec![echo(""); 1_001]] {
        assert_eq!(field(&tasks.submit_tasks(SubmitTasksRequest { requests }).await.unwrap_err()), "requests");
    }
    assert!(house.world().tasks.is_empty());
}

#[tokio::test]
async fn a_refusal_carries_the_task_and_the_reason() {
    let (house, _leader) = House::lead().await;
    house.submit("a").await;
    let mut tasks = house.tasks().await;
    let mut other = echo("a");
    other.spec.as_mut().unwrap().kind = "sleep".into();
    let exists = tasks.submit_task(other).await.unwrap_err();
    let unknown = tasks.get_task(GetTaskRequest { task_id: "nobody".into() }).await.unwrap_err();
    house.change("a", TaskState::Succeeded);
    let ended = tasks.cancel_task(CancelTaskRequest { task_id: "a".into() }).await.unwrap_err();
    for (status, code, reason, id) in [
        (exists, Code::AlreadyExists, "TASK_EXISTS", "a"),
        (unknown, Code::NotFound, "TASK_NOT_FOUND", "nobody"),
        (ended, Code::FailedPrecondition, "TASK_ENDED", "a"),
    ] {
        let info = status.get_details_error_info().unwrap();
        assert_eq!((status.code(), info.reason.as_str(), info.metadata["task_id"].as_str()), (code, reason, id));
    }
}

#[tokio::test]
async fn every_item_of_a_batch_has_its_own_outcome_in_its_place() {
    let (house, _leader) = House::lead().await;
    let mut requests: Vec<_> = (0..1_000).map(|at| echo(&format!("t{at}"))).collect();
    requests[3].spec.as_mut().unwrap().kind = "Bad".into();
    requests[5].task_id = "../x".into();
    requests[7] = {
        let mut other = echo("t0");
        other.spec.as_mut().unwrap().payload = "other".into();
        other
    };
    requests[9].task_id = String::new();
    let response = house.tasks().await.submit_tasks(SubmitTasksRequest { requests }).await.unwrap().into_inner();
    for (at, outcome) in response.outcomes.iter().enumerate() {
        match (at, outcome.outcome.as_ref().unwrap()) {
            (3, Outcome::Error(error)) => {
                assert_eq!((error.field.as_str(), error.task_id.as_str()), ("requests[3].spec.kind", "t3"));
            }
            (5, Outcome::Error(error)) => {
                assert_eq!((error.field.as_str(), error.task_id.as_str()), ("requests[5].task_id", "../x"));
            }
            (7, Outcome::Error(error)) => {
                assert_eq!((error.code, error.reason.as_str()), (Code::AlreadyExists.into(), "TASK_EXISTS"));
            }
            (9, Outcome::Task(task)) => assert_eq!(task.task_id.len(), 36),
            (at, Outcome::Task(task)) => assert_eq!(task.task_id, format!("t{at}")),
            (at, Outcome::Error(error)) => panic!("{at}: {error:?}"),
        }
    }
}

#[tokio::test]
async fn a_batch_is_accepted_in_its_order_and_the_first_of_two_with_one_id_counts() {
    let (house, _leader) = House::lead().await;
    let mut requests: Vec<_> = (0..999).map(|at| echo(&format!("t{}", (at * 7) % 999))).collect();
    let mut second = echo("t0");
    second.spec.as_mut().unwrap().payload = "other".into();
    requests.push(second);
    let response = house.tasks().await.submit_tasks(SubmitTasksRequest { requests }).await.unwrap().into_inner();
    let mut outcomes: Vec<_> = response.outcomes.into_iter().map(|outcome| outcome.outcome.unwrap()).collect();
    let Some(Outcome::Error(error)) = outcomes.pop() else { panic!("the second t0 is refused") };
    assert_eq!(error.reason, "TASK_EXISTS");
    let mut last = 0;
    for outcome in outcomes {
        let Outcome::Task(task) = outcome else { panic!("{outcome:?}") };
        assert!(task.revision > last, "{} came before its predecessor", task.task_id);
        assert_eq!(task.spec, None, "the answer stays small");
        last = task.revision;
    }
}

#[tokio::test]
async fn without_a_leader_every_item_of_a_long_batch_says_when_to_try_again_and_none_waits_twice() {
    let house = House::build().await;
    let requests = (0..1_000).map(|at| echo(&format!("t{at}"))).collect();
    let response =
        within(house.tasks().await.submit_tasks(SubmitTasksRequest { requests })).await.unwrap().into_inner();
    for outcome in response.outcomes {
        let Some(Outcome::Error(error)) = outcome.outcome else { panic!("{outcome:?}") };
        assert_eq!((error.reason.as_str(), error.retry_delay.is_some()), ("NO_LEADER", true));
    }
}

#[tokio::test]
async fn without_a_leader_that_is_why_a_task_waits() {
    let house = House::build().await;
    let request = ExplainTaskRequest { task_id: "a".into() };
    let explained = within(house.tasks().await.explain_task(request)).await.unwrap().into_inner();
    assert_eq!((explained.task, explained.reasons.len()), (None, 1));
    assert!(matches!(explained.reasons[0].reason, Some(Reason::NoLeader(_))), "{:?}", explained.reasons);
}

#[tokio::test]
async fn a_listing_goes_on_with_its_token_and_only_with_its_filter() {
    let (house, _leader) = House::lead().await;
    for name in ["a", "b", "c"] {
        house.submit(name).await;
    }
    let mut tasks = house.tasks().await;
    let page = |token: &str| ListTasksRequest { page_size: 2, page_token: token.into(), ..ListTasksRequest::default() };
    let first = tasks.list_tasks(page("")).await.unwrap().into_inner();
    assert_eq!(first.tasks.len(), 2);
    let second = tasks.list_tasks(page(&first.next_page_token)).await.unwrap().into_inner();
    assert_eq!((second.tasks[0].task_id.as_str(), second.next_page_token.as_str()), ("c", ""));
    let other = TaskFilter { kinds: vec!["echo".into()], ..TaskFilter::default() };
    let mixed = ListTasksRequest { filter: Some(other), ..page(&first.next_page_token) };
    assert_eq!(field(&tasks.list_tasks(mixed).await.unwrap_err()), "page_token");
}

#[tokio::test]
async fn without_a_leader_a_submit_is_unavailable_and_says_when_to_try_again() {
    let house = House::build().await;
    let status = within(house.tasks().await.submit_task(echo(""))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    // It carries the id that it would have had: the submit can be repeated with it.
    let id = status.get_details_error_info().unwrap().metadata["task_id"].clone();
    let _leader = house.leader(1).await;
    assert_eq!(house.submit(&id).await.task_id, id);
}

#[tokio::test]
async fn requests_are_counted_by_their_code() {
    let (house, _leader) = House::lead().await;
    house.submit("a").await;
    house.tasks().await.submit_task(echo("A")).await.unwrap_err();
    let metrics = house.metrics().await;
    for line in [
        r#"herdsman_client_requests_total{rpc="SubmitTask",code="OK"} 1"#,
        r#"herdsman_client_requests_total{rpc="SubmitTask",code="INVALID_ARGUMENT"} 1"#,
        r#"herdsman_client_request_duration_seconds_count{rpc="SubmitTask"} 2"#,
        "herdsman_client_link_up 1",
        "herdsman_client_link_term 1",
        "herdsman_client_watch_streams 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

#[tokio::test]
async fn more_than_the_service_takes_is_refused_at_once_and_what_it_took_is_answered() {
    let (house, leader) = House::lead().await;
    leader.deaf.store(true, Ordering::SeqCst);
    let tasks = house.tasks().await;
    // 32,768 tasks may be under way.
    let mut calls: FuturesUnordered<_> = (0..33)
        .map(|_| {
            let mut tasks = tasks.clone();
            async move { tasks.submit_tasks(SubmitTasksRequest { requests: vec![echo(""); 1_000] }).await }
        })
        .collect();
    let refused = within(calls.next()).await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert_eq!(refused.get_details_error_info().unwrap().reason, "OVERLOADED");
    assert!(refused.get_details_retry_info().unwrap().retry_delay.is_some());
    // Unread: what is wrong with it nobody sees.
    let nothing = async || within(house.tasks().await.submit_tasks(SubmitTasksRequest::default())).await.unwrap_err();
    let unread = nothing().await;
    assert_eq!(unread.get_details_error_info().unwrap().reason, "OVERLOADED", "{unread:?}");
    let counted = r#"herdsman_client_requests_total{rpc="SubmitTasks",code="RESOURCE_EXHAUSTED"} 2"#;
    assert!(house.metrics().await.contains(counted));
    let _next_leader = house.leader(2).await;
    while let Some(answer) = within(calls.next()).await {
        let outcomes = answer.unwrap().into_inner().outcomes;
        assert!(outcomes.iter().all(|outcome| matches!(outcome.outcome, Some(Outcome::Task(_)))), "{outcomes:?}");
    }
    assert_eq!(house.world().tasks.len(), 32_000);
    house.submit("a").await;
    assert_eq!(field(&nothing().await), "requests");
}
