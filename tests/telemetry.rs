//! What the cluster tells about itself: one trace for the way of a task through three processes, and metrics at every
//! role.

mod collector;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use herdsman::wire::proto::v1::SubmitTasksRequest;

use super::support::{
    cluster, eventually,
    process::{Role, herdsman},
    zookeeper,
};
use collector::Collector;

const LIMIT: Duration = Duration::from_mins(1);

/// A cluster of three processes on a ZooKeeper that all tests share.
struct Cluster {
    master: Role,
    worker: Role,
    client: Role,
}

impl Cluster {
    async fn start(environment: &[(&str, &str)]) -> Self {
        let place = format!("{}{}", zookeeper::shared().address(), zookeeper::fresh_chroot());
        let role = async |role: &str| {
            Role::start_with(&[role, "--zookeeper", &place, "--listen", "127.0.0.1:0"], environment).await
        };
        Self { master: role("master").await, worker: role("worker").await, client: role("client").await }
    }
}

#[tokio::test]
async fn one_trace_leads_from_the_submit_through_the_leader_to_the_attempt() {
    let collector = Collector::start().await;
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()), ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned())];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let cluster = Cluster::start(&environment).await;
    let submit = ["submit", "--server", &cluster.client.url(), "--kind", "echo", "--payload", "x", "--watch"];
    herdsman(&submit).await.well();

    let services = ["herdsman-client", "herdsman-master", "herdsman-worker"];
    let trace = eventually("a trace with spans of all three", LIMIT, async || {
        let spans = collector.spans();
        let mut traces = BTreeMap::<_, BTreeSet<String>>::new();
        for span in &spans {
            traces.entry(span.trace_id.clone()).or_default().insert(span.service.clone());
        }
        let trace = traces.into_iter().find(|(_, seen)| services.iter().all(|&service| seen.contains(service)))?.0;
        Some(spans.into_iter().filter(|span| span.trace_id == trace).collect::<Vec<_>>())
    })
    .await;
    // Every span but the first has its parent in the trace: nothing hangs in the air.
    let ids: BTreeSet<_> = trace.iter().map(|span| span.id.clone()).collect();
    let roots: Vec<_> = trace.iter().filter(|span| !ids.contains(&span.parent_id)).collect();
    assert_eq!(roots.len(), 1, "{trace:#?}");
    assert_eq!(roots[0].service, "herdsman-client", "{trace:#?}");
    assert!(roots[0].name.contains("SubmitTask"), "{trace:#?}");
}

#[tokio::test]
async fn the_trace_of_the_caller_leads_to_the_attempt_from_one_submit_and_from_a_batch() {
    let collector = Collector::start().await;
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()), ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned())];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let dev = Role::start_with(&["dev", "--in-memory", "--listen", "127.0.0.1:0"], &environment).await;
    let mut tasks = cluster::tasks(&dev.url()).await;
    let traces = ["0af7651916cd43dd8448eb211c80319c", "1bf7651916cd43dd8448eb211c80319c"];
    let parent = |trace: &str| format!("00-{trace}-b7ad6b7169203331-01").parse().unwrap();
    let mut one = tonic::Request::new(cluster::request("one", "noop", ""));
    one.metadata_mut().insert("traceparent", parent(traces[0]));
    tasks.submit_task(one).await.unwrap();
    let requests = vec![cluster::request("first", "noop", ""), cluster::request("second", "noop", "")];
    let mut batch = tonic::Request::new(SubmitTasksRequest { requests });
    batch.metadata_mut().insert("traceparent", parent(traces[1]));
    tasks.submit_tasks(batch).await.unwrap();

    eventually("an attempt in the first trace, two in the second", LIMIT, async || {
        let spans = collector.spans();
        let attempts = traces
            .map(|trace| spans.iter().filter(|span| span.name == "attempt" && is_trace(&span.trace_id, trace)).count());
        (attempts == [1, 2]).then_some(())
    })
    .await;
}

/// A trace id as text is that of the bytes.
fn is_trace(bytes: &[u8], text: &str) -> bool {
    let id = bytes.try_into().map(u128::from_be_bytes).expect("16 bytes");
    u128::from_str_radix(text, 16) == Ok(id)
}

#[tokio::test]
async fn the_layers_under_grpc_are_not_traced() {
    let collector = Collector::start().await;
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()), ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned())];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let dev = Role::start_with(&["dev", "--in-memory", "--listen", "127.0.0.1:0"], &environment).await;
    herdsman(&["submit", "--server", &dev.url(), "--kind", "noop", "--count", "20", "--watch"]).await.well();
    let spans = eventually("spans", LIMIT, async || Some(collector.spans()).filter(|spans| !spans.is_empty())).await;
    let foreign: Vec<_> = spans.iter().filter(|span| !span.scope_is_ours).collect();
    assert!(foreign.is_empty(), "{foreign:#?}");
}

#[tokio::test]
async fn every_role_shows_its_metrics() {
    let cluster = Cluster::start(&[]).await;
    let submit = ["submit", "--server", &cluster.client.url(), "--kind", "noop", "--count", "10", "--watch"];
    herdsman(&submit).await.well();
    for (role, expected) in [
        (&cluster.master, &["herdsman_master_leader 1", "herdsman_master_workers 1", "herdsman_master_tasks"][..]),
        (&cluster.worker, &["herdsman_worker_"]),
        (&cluster.client, &["herdsman_client_requests_total"]),
    ] {
        for series in expected.iter().chain(&["herdsman_connections_open"]) {
            // A gauge may be a moment behind.
            eventually(series, LIMIT, async || {
                let text = metrics(role).await;
                check(&text);
                text.lines().any(|line| line.starts_with(series)).then_some(())
            })
            .await;
        }
    }
}

async fn metrics(role: &Role) -> String {
    let mut stream = tokio::net::TcpStream::connect(role.address()).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("application/openmetrics-text"), "{head}");
    body.to_owned()
}

/// Asserts that a text follows the OpenMetrics format: families with help and type, samples of a declared family with a
/// number, an end.
fn check(text: &str) {
    let (mut helped, mut typed) = (BTreeSet::new(), BTreeSet::new());
    let body = text.strip_suffix("# EOF\n").expect("ends with # EOF");
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (keyword, family, rest) = (words.next(), words.next(), words.next());
            assert!(rest.is_some_and(|rest| !rest.is_empty()), "{line}");
            match keyword {
                Some("HELP") => assert!(helped.insert(family.unwrap()), "twice: {line}"),
                Some("TYPE") => assert!(typed.insert(family.unwrap()), "twice: {line}"),
                Some("UNIT") => {}
                _ => panic!("{line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let name = series.split('{').next().unwrap();
        let suffixes = ["", "_total", "_bucket", "_sum", "_count", "_info"];
        let family = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix).filter(|name| typed.contains(name)));
        let family = family.unwrap_or_else(|| panic!("a sample of no family: {line}"));
        assert!(helped.contains(family), "without help: {line}");
        assert!(family.starts_with("herdsman_"), "{line}");
    }
}
