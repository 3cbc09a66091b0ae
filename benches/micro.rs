//! What the small parts cost, in time: `cargo bench`. For what must not grow, tests/instructions counts instructions.

use std::{collections::BTreeMap, hint::black_box, sync::Arc, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::{StreamExt, stream::SelectAll};
use herdsman::{
    client,
    domain::{self, Fence, Outcome, Revision, Status, TaskSpec, Wall},
    master,
    runtime::serve::bind,
    store::{Store, embedded::EmbeddedStore},
    wire::{
        decode_status, decode_submission, encode_status, encode_submission,
        proto::v1::{
            SubmitTaskRequest, TaskFilter, TaskSpec as ProtoSpec, WatchTasksRequest, WatchTasksResponse,
            task_service_client::TaskServiceClient, watch_tasks_request::Target,
        },
    },
};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Streaming, transport::Channel};

mod live;

use live::{Live, STEPS, submission};

/// Streams that are told of one task; 256 by filter are what a client service allows.
const STREAMS: usize = 200;

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scheduler: the steps of one life");
    group.throughput(Throughput::Elements(STEPS.into()));
    for tasks in [1_000, 1_000_000] {
        let mut live = Live::with(tasks);
        group.bench_function(format!("{tasks} live"), |bencher| bencher.iter(|| live.life()));
    }
    group.finish();
}

fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    for bytes in [64, 4_096] {
        let spec = Arc::new(TaskSpec::new("noop".parse().expect("a name"), &vec![b'x'; bytes]));
        let submitted = submission(1, &spec);
        let record = encode_submission(&submitted);
        group.bench_function(format!("encode a task of {bytes} bytes"), |bencher| {
            bencher.iter(|| encode_submission(black_box(&submitted)));
        });
        group.bench_function(format!("decode a task of {bytes} bytes"), |bencher| {
            bencher.iter(|| decode_submission(&submitted.task_id, black_box(&record)));
        });
    }
    let status = Status {
        attempt: 1,
        revision: Revision(1 << 41),
        worker_deaths: 0,
        worker: Some("worker-1".parse().expect("an id")),
        fence: Fence(1 << 41),
        outcome: Some(Outcome::Succeeded(Arc::from([]))),
        trials: None,
        start_time: Some(Wall(1_700_000_000_000)),
        end_time: Some(Wall(1_700_000_000_000)),
    };
    let record = encode_status(&status);
    group.bench_function("encode a status", |bencher| bencher.iter(|| encode_status(black_box(&status))));
    group.bench_function("decode a status", |bencher| bencher.iter(|| decode_status(black_box(&record))));
    group.finish();
}

/// A master and a client service in this process, on a store in memory; without a worker.
struct Cluster {
    tasks: TaskServiceClient<Channel>,
    _services: DropGuard,
}

impl Cluster {
    async fn start() -> Self {
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::in_memory().expect("there is memory"));
        let stop = CancellationToken::new();
        let listener = any_port().await;
        let advertise = listener.local_addr().expect("it is bound").to_string();
        let limits = master::Limits { takeover_grace: store.session_timeout(), ..master::Limits::default() };
        let options = master::Options {
            store: store.clone(),
            listener,
            advertise,
            limits,
            spare_own_worker: false,
            beside: None,
        };
        tokio::spawn(master::run(options, stop.clone()));
        let listener = any_port().await;
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        tokio::spawn(client::run(client::Options::new(store, listener), stop.clone()));
        let tasks = TaskServiceClient::connect(url).await.expect("it listens");
        Self { tasks, _services: stop.drop_guard() }
    }

    /// A task that nobody runs: one event.
    async fn submit(&self) -> String {
        let labels = BTreeMap::from([("fan".to_owned(), "out".to_owned())]);
        let spec = ProtoSpec { kind: "nobody-serves-this".to_owned(), labels, ..ProtoSpec::default() };
        let request = SubmitTaskRequest { task_id: String::new(), spec: Some(spec) };
        let reply = self.tasks.clone().submit_task(request).await.expect("there is a leader");
        reply.into_inner().task.expect("an accepted task").task_id
    }

    async fn watch(&self) -> Streaming<WatchTasksResponse> {
        let labels = BTreeMap::from([("fan".to_owned(), "out".to_owned())]);
        let target = Some(Target::Filter(TaskFilter { labels, ..TaskFilter::default() }));
        let request = WatchTasksRequest { target, after_revision: 0 };
        self.tasks.clone().watch_tasks(request).await.expect("there is room").into_inner()
    }
}

async fn any_port() -> TcpListener {
    bind(([127, 0, 0, 1], 0).into(), false).await.expect("a port of this host")
}

/// From a submit until every stream was told: the leader, one link, the hub, and gRPC.
fn fan_out(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let (cluster, mut streams) = runtime.block_on(async {
        let cluster = Cluster::start().await;
        let mut streams = SelectAll::new();
        for _ in 0..STREAMS {
            streams.push(cluster.watch().await);
        }
        let first = cluster.submit().await;
        told(&mut streams, &first).await;
        (cluster, streams)
    });
    let mut group = criterion.benchmark_group("watch hub");
    group.throughput(Throughput::Elements(STREAMS as u64)).measurement_time(Duration::from_secs(10));
    group.bench_function(format!("one event to {STREAMS} streams"), |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let task = cluster.submit().await;
                told(&mut streams, &task).await;
            });
        });
    });
    group.finish();
}

/// Every stream was told of the task.
async fn told(streams: &mut SelectAll<Streaming<WatchTasksResponse>>, task_id: &str) {
    let mut left = STREAMS;
    while left > 0 {
        let event = streams.next().await.expect("a watch by filter has no end").expect("the service is up");
        left -= usize::from(event.task.is_some_and(|task| task.task_id == task_id));
    }
}

criterion_group!(micro, steps, records, fan_out);
criterion_main!(micro);
