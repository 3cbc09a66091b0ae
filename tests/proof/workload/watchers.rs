//! Those who watch: one task after the other, many tasks by their ids, whatever has a label; and those who open a watch and
//! never read.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use herdsman::wire::proto::v1::{
    Task, TaskFilter, TaskIds, WatchTaskRequest, WatchTasksRequest, watch_tasks_request::Target as Asked,
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tonic::Status;

use super::{
    load::{Recent, SHARD, SHARDS},
    voice::{Tasks, tasks},
};
use crate::proof::{
    cluster::Cluster,
    evidence::{Clock, Closing, Directory, Lines, Seen, State, Target},
};
use herdsman::wire;

/// Two hundred, of which twenty never read.
const OF_ONE: usize = 150;
const OF_MANY: usize = 24;
const BY_FILTER: usize = 6;
const STALLED: usize = 20;
/// Tasks that one watcher follows at once.
const MANY: usize = 20;
/// How new the tasks are that are followed: most have not ended.
const NEWEST: usize = 60;
/// Between two tasks of one watcher, and before a broken watch is opened again.
const PAUSE: Duration = Duration::from_secs(2);
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// An opened stream that says nothing at all for so long is dropped, and opened at another client service.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// How often a stalled watcher looks whether its client service is still the one it asked.
const LIFE_LOOK: Duration = Duration::from_secs(1);

/// What all watchers share.
#[derive(Clone)]
struct Gallery {
    clients: Vec<Tasks>,
    recent: Arc<Recent>,
    seen: Lines<Seen>,
    clock: Clock,
    streams: Arc<AtomicU64>,
    closing: Arc<AtomicBool>,
}

/// They watch until this is dropped.
pub struct Watchers {
    closing: Arc<AtomicBool>,
    _watching: JoinSet<()>,
}

impl Watchers {
    /// No new task is followed from now on.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }
}

/// Starts all of them.
pub fn start(cluster: &Arc<Cluster>, directory: &Path, recent: &Arc<Recent>) -> Watchers {
    let seen = Lines::append(&Directory::new(directory).watches()).expect("a file of ours");
    let clients = cluster.urls().into_iter().map(tasks).collect();
    let (recent, clock) = (Arc::clone(recent), cluster.clock);
    let closing = Arc::<AtomicBool>::default();
    let gallery = Gallery { clients, recent, seen, clock, streams: Arc::default(), closing: Arc::clone(&closing) };
    let mut set = JoinSet::new();
    for number in 0..OF_ONE {
        set.spawn(gallery.clone().watch_by_ids(number, 1));
    }
    for number in 0..OF_MANY {
        set.spawn(gallery.clone().watch_by_ids(OF_ONE + number, MANY));
    }
    for number in 0..BY_FILTER {
        set.spawn(gallery.clone().watch_by_filter(OF_ONE + OF_MANY + number));
    }
    for number in 0..STALLED {
        set.spawn(gallery.clone().stall(OF_ONE + OF_MANY + BY_FILTER + number, Arc::clone(cluster)));
    }
    Watchers { closing, _watching: set }
}

/// An event of either kind of watch.
struct Event {
    task: Task,
    skipped: u32,
    resume: u64,
}

enum Stream {
    One(tonic::Streaming<herdsman::wire::proto::v1::WatchTaskResponse>),
    Many(tonic::Streaming<herdsman::wire::proto::v1::WatchTasksResponse>),
}

impl Stream {
    async fn next(&mut self) -> Result<Option<Event>, Status> {
        Ok(match self {
            Self::One(stream) => stream.message().await?.map(|event| {
                let task = event.task.expect("an event has its task");
                Event { resume: task.revision, task, skipped: event.skipped }
            }),
            Self::Many(stream) => stream.message().await?.map(|event| Event {
                task: event.task.expect("an event has its task"),
                skipped: event.skipped,
                resume: event.resume_revision,
            }),
        })
    }
}

impl Gallery {
    /// Follows some tasks until each has ended, then others.
    async fn watch_by_ids(self, number: usize, count: usize) {
        for life in 0.. {
            sleep(PAUSE.mul_f64(fastrand::f64())).await;
            let picked = (0..count).filter_map(|_| self.recent.pick(NEWEST)).map(|(id, _)| id);
            let open: BTreeSet<_> = picked.collect();
            if self.closing.load(Ordering::Relaxed) {
                return;
            }
            if !open.is_empty() {
                self.follow(number, &format!("watcher-{number}.{life}"), open).await;
            }
        }
    }

    async fn follow(&self, number: usize, watcher: &str, mut open: BTreeSet<String>) {
        let mut after = 0;
        let single = open.len() == 1;
        for client in self.clients.iter().cycle().skip(number) {
            let ids: Vec<_> = open.iter().cloned().collect();
            let stream = self.opened(watcher, Target::Tasks(ids.clone()), after, false);
            let opening = open_by_ids(client.clone(), ids, after, single);
            let closing = match timeout(OPEN_LIMIT, opening).await {
                Ok(Ok(mut events)) => self.read(stream, &mut events, &mut after, &mut open).await,
                Ok(Err(status)) => failed(&status),
                Err(_) => Closing::Dropped,
            };
            self.closed(stream, closing);
            if open.is_empty() {
                return;
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    async fn read(&self, stream: u64, events: &mut Stream, after: &mut u64, open: &mut BTreeSet<String>) -> Closing {
        loop {
            match events.next().await {
                Ok(Some(event)) => {
                    *after = event.resume.max(*after);
                    if self.saw(stream, &event).is_terminal() {
                        open.remove(&event.task.task_id);
                    }
                }
                Ok(None) => return Closing::Ok,
                Err(status) => return failed(&status),
            }
        }
    }

    async fn watch_by_filter(self, number: usize) {
        let watcher = format!("watcher-{number}");
        let mut after = 0;
        for client in self.clients.iter().cycle().skip(number) {
            let stream = self.opened(&watcher, Target::Filter, after, false);
            let shard = (number as u64 % SHARDS).to_string();
            let opening = open_by_filter(client.clone(), Some(shard), after);
            let closing = match timeout(OPEN_LIMIT, opening).await {
                Ok(Ok(mut events)) => self.read(stream, &mut events, &mut after, &mut BTreeSet::new()).await,
                Ok(Err(status)) => failed(&status),
                Err(_) => Closing::Dropped,
            };
            self.closed(stream, closing);
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Asks for everything, and reads nothing, for as long as the client service lives that it asked.
    async fn stall(self, number: usize, cluster: Arc<Cluster>) {
        let at = number % self.clients.len();
        let watcher = format!("watcher-{number}");
        loop {
            let asked = cluster.clients[at].pid();
            // A connection of its own: one that nobody reads must not hold up its neighbours.
            let client = tasks(cluster.urls()[at].clone());
            let stream = self.opened(&watcher, Target::Filter, 0, true);
            let opened = timeout(OPEN_LIMIT, open_by_filter(client, None, 0)).await;
            if let Ok(Ok(_unread)) = &opened {
                while asked.is_some() && cluster.clients[at].pid() == asked {
                    sleep(LIFE_LOOK).await;
                }
            }
            self.closed(stream, Closing::Dropped);
            sleep(RETRY_PAUSE).await;
        }
    }

    fn opened(&self, watcher: &str, target: Target, after_revision: u64, stalled: bool) -> u64 {
        let stream = self.streams.fetch_add(1, Ordering::Relaxed);
        let (watcher, at) = (watcher.to_owned(), self.clock.now());
        self.seen.write(&Seen::Opened { stream, watcher, at, target, after_revision, stalled });
        stream
    }

    fn saw(&self, stream: u64, event: &Event) -> State {
        let (task, state) = (&event.task, State::from(event.task.state()));
        self.seen.write(&Seen::Event {
            stream,
            at: self.clock.now(),
            task: task.task_id.clone(),
            revision: task.revision,
            state,
            attempt: task.attempt,
            skipped: event.skipped,
        });
        state
    }

    fn closed(&self, stream: u64, closing: Closing) {
        self.seen.write(&Seen::Closed { stream, at: self.clock.now(), closing });
    }
}

fn failed(status: &Status) -> Closing {
    Closing::Failed { code: format!("{:?}", status.code()), reason: wire::reason_of(status) }
}

async fn open_by_ids(mut client: Tasks, ids: Vec<String>, after_revision: u64, single: bool) -> Result<Stream, Status> {
    if single {
        let request = WatchTaskRequest { task_id: ids.into_iter().collect(), after_revision };
        return Ok(Stream::One(client.watch_task(request).await?.into_inner()));
    }
    let target = Some(Asked::Ids(TaskIds { task_ids: ids }));
    Ok(Stream::Many(client.watch_tasks(WatchTasksRequest { target, after_revision }).await?.into_inner()))
}

async fn open_by_filter(mut client: Tasks, shard: Option<String>, after_revision: u64) -> Result<Stream, Status> {
    let labels = shard.into_iter().map(|shard| (SHARD.to_owned(), shard)).collect();
    let target = Some(Asked::Filter(TaskFilter { labels, ..TaskFilter::default() }));
    Ok(Stream::Many(client.watch_tasks(WatchTasksRequest { target, after_revision }).await?.into_inner()))
}
