//! What is particular to the file; what every store promises is tested over all of them elsewhere.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::Path,
    process::Command,
    sync::{Arc, Condvar, Mutex},
};

use futures::FutureExt;
use redb::{StorageBackend, backends::InMemoryBackend};
use tempfile::tempdir;

use super::{super::MAX_COMMIT_CHANGES, *};
use crate::domain::{QueueSettings, Revision, Submission, TaskId, TaskSpec, Wall};

const FILE: &str = "herdsman.redb";

fn candidate() -> Candidate {
    Candidate { id: uuid::Uuid::new_v4(), address: "127.0.0.1:7071".into() }
}

async fn lead(store: &EmbeddedStore) -> Box<dyn Leadership> {
    store.campaign(&candidate()).await.expect("nobody else stands")
}

fn submitted(id: &str) -> Change {
    Change::Submitted(Submission {
        task_id: id.parse().expect("an id"),
        spec: Arc::new(TaskSpec::new("echo".parse().expect("a kind"), &[b'x'; 1000])),
        create_time: Wall(1),
        revision: Revision(1),
        traceparent: None,
        retry_of: None,
    })
}

fn why_not(directory: &Path) -> String {
    match EmbeddedStore::open(directory) {
        Ok(_) => panic!("opened"),
        Err(StoreError::Broken(problem)) => problem,
        Err(error) => panic!("another error: {error:?}"),
    }
}

#[tokio::test]
async fn tasks_and_terms_survive_a_restart() {
    let directory = tempdir().expect("a directory");
    let mut terms = Vec::new();
    for round in 0..3 {
        let store = EmbeddedStore::open(directory.path()).expect("opens");
        let mut leadership = lead(&store).await;
        terms.push(leadership.term());
        assert_eq!(leadership.load().await.expect("loads").tasks.len(), round);
        leadership.commit(vec![submitted(&format!("task-{round}"))]).await.expect("committed");
    }
    assert_eq!(terms, [Term(1), Term(2), Term(3)]);
}

#[tokio::test]
async fn a_directory_has_one_user_until_everything_of_it_is_dropped() {
    let directory = tempdir().expect("a directory");
    let store = EmbeddedStore::open(directory.path()).expect("opens");
    let problem = why_not(directory.path());
    assert!(problem.contains("in use by another process"), "{problem}");
    let leadership = lead(&store).await;
    drop(store);
    why_not(directory.path());
    drop(leadership);
    EmbeddedStore::open(directory.path()).expect("is free");
}

#[test]
fn only_the_user_can_read_what_is_stored() {
    let above = tempdir().expect("a directory");
    let directory = above.path().join("a/b");
    EmbeddedStore::open(&directory).expect("makes the directory");
    let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join(FILE)), 0o600);
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let above = tempdir().expect("a directory");
    let file = above.path().join("file");
    fs::write(&file, "").expect("writes");
    let problem = why_not(&file);
    assert!(problem.contains("cannot make") && problem.contains("/file"), "{problem}");
}

#[test]
fn a_process_that_died_while_it_made_the_file_is_forgotten() {
    let directory = tempdir().expect("a directory");
    fs::write(directory.path().join("herdsman.redb.new"), [0; 10_000]).expect("writes");
    EmbeddedStore::open(directory.path()).expect("makes it anew");
}

#[tokio::test]
async fn a_damaged_file_is_called_damaged() {
    let directory = tempdir().expect("a directory");
    let store = EmbeddedStore::open(directory.path()).expect("opens");
    let mut leadership = lead(&store).await;
    let changes = (0..MAX_COMMIT_CHANGES).map(|at| submitted(&format!("task-{at}"))).collect();
    leadership.commit(changes).await.expect("committed");
    drop((leadership, store));
    let path = directory.path().join(FILE);
    let whole = fs::read(&path).expect("reads");

    let mut overwritten = whole.clone();
    let payload = whole.windows(64).rposition(|bytes| bytes == [b'x'; 64]).expect("a payload");
    overwritten[payload] = b'y';
    let cut = &whole[..whole.len() / 2];
    for damaged in [overwritten.as_slice(), cut, b"a note of the user's".as_slice(), b""] {
        fs::write(&path, damaged).expect("writes");
        let problem = why_not(directory.path());
        assert!(problem.contains("damaged") && problem.contains(FILE), "{problem}");
    }
    fs::write(&path, whole).expect("writes");
    EmbeddedStore::open(directory.path()).expect("is whole again");
}

#[test]
fn another_format_is_left_alone() {
    let directory = tempdir().expect("a directory");
    drop(EmbeddedStore::open(directory.path()).expect("opens"));
    tables::set_format(&directory.path().join(FILE), 7);
    match EmbeddedStore::open(directory.path()).map(|_| ()) {
        Err(StoreError::Format { found, known: 1 }) => assert_eq!(found, "7"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn records_that_do_not_decode_are_set_aside_and_stop_nobody() {
    let file = file::in_memory().expect("opens");
    file.tables.write(&["good", "bad-task", "bad-status", "bad-assignment"].map(submitted)).expect("writes");
    file.tables.damage();
    let store = EmbeddedStore::over(file).expect("starts");
    let mut leadership = lead(&store).await;
    let loaded = leadership.load().await.expect("loads all the same");
    let mut corrupt: Vec<_> = loaded.corrupt.iter().map(TaskId::as_str).collect();
    corrupt.sort_unstable();
    assert_eq!(corrupt, ["bad-assignment", "bad-status", "bad-task"]);
    let tasks: Vec<_> = loaded.tasks.iter().map(|task| task.submission.task_id.as_str()).collect();
    assert_eq!(tasks, ["good"]);
    assert!(loaded.assignments.is_empty(), "{:?}", loaded.assignments);
    let paused = QueueSettings { paused: true, ..QueueSettings::default() };
    assert_eq!(loaded.queues, [("bad-queue".parse().expect("a name"), paused)]);
    assert_eq!(loaded.drained, ["bad-drain".parse().expect("an id")]);
    // As a leader does that leaves alone what is set aside.
    let forgotten = loaded.workers.into_iter().map(|worker| Change::WorkerForgotten { worker });
    leadership.commit(forgotten.chain([submitted("next")]).collect()).await.expect("works on");
}

/// A disk whose fsync does as it is told.
#[derive(Debug)]
struct Disk {
    memory: InMemoryBackend,
    fsync: Arc<(Mutex<Fsync>, Condvar)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fsync {
    Works,
    Stalls,
    Fails,
}

impl Disk {
    fn new() -> (Self, impl Fn(Fsync)) {
        let fsync = Arc::new((Mutex::new(Fsync::Works), Condvar::new()));
        let told = fsync.clone();
        let tell = move |what| {
            *told.0.lock().expect("works") = what;
            told.1.notify_all();
        };
        (Self { memory: InMemoryBackend::new(), fsync }, tell)
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> std::io::Result<u64> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.memory.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        let (told, changed) = &*self.fsync;
        let told = changed.wait_while(told.lock().expect("works"), |told| *told == Fsync::Stalls).expect("works");
        match *told {
            Fsync::Fails => Err(std::io::Error::from_raw_os_error(5)),
            _ => Ok(()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.memory.write(offset, data)
    }
}

#[tokio::test]
async fn nothing_is_acknowledged_before_fsync_and_too_many_commits_end_the_leadership() {
    let (disk, tell) = Disk::new();
    let store = EmbeddedStore::over(file::on(disk).expect("opens")).expect("starts");
    let mut leadership = lead(&store).await;
    tell(Fsync::Stalls);
    let mut commits: Vec<_> = Vec::new();
    while !leadership.lost().is_cancelled() {
        assert!(commits.len() < 10_000, "the queue has no end");
        commits.push(leadership.commit(vec![submitted(&format!("task-{}", commits.len()))]));
    }
    let too_many = commits.pop().expect("at least one");
    too_many.await.expect_err("there is no room for it");
    for commit in &mut commits {
        let answer = commit.now_or_never();
        assert!(!matches!(answer, Some(Ok(()))), "acknowledged before fsync");
    }
    tell(Fsync::Works);
    leadership.commit(Vec::new()).await.expect_err("the leadership is over");
    drop(leadership);
    // What is there is a beginning of what was committed, whatever of it was in doubt.
    let loaded = lead(&store).await.load().await.expect("loads");
    for (at, id) in in_order_of_number(&loaded).into_iter().enumerate() {
        assert_eq!(id, at);
    }
}

fn in_order_of_number(loaded: &Loaded) -> Vec<usize> {
    let number = |id: &str| id.trim_start_matches("task-").parse().expect("a number");
    let mut numbers: Vec<_> = loaded.tasks.iter().map(|task| number(task.submission.task_id.as_str())).collect();
    numbers.sort_unstable();
    numbers
}

const CHILD: &str = "HERDSMAN_TEST_FAILING_DISK";

#[test]
fn a_failed_fsync_ends_the_process() {
    let child = Command::new(std::env::current_exe().expect("this test binary"))
        .args(["store::embedded::tests::commits_to_a_failing_disk", "--exact", "--ignored", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("runs itself");
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(said.contains("before: committed"), "{said}");
    assert!(said.contains("cannot be read or written"), "{said}");
    assert!(!said.contains("after"), "{said}");
    assert_eq!(child.status.signal(), Some(6), "{}", child.status);
}

#[tokio::test]
#[ignore = "the child of another test"]
async fn commits_to_a_failing_disk() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let (disk, tell) = Disk::new();
    let store = EmbeddedStore::over(file::on(disk).expect("opens")).expect("starts");
    let mut leadership = lead(&store).await;
    leadership.commit(vec![submitted("a")]).await.expect("committed");
    eprintln!("before: committed");
    tell(Fsync::Fails);
    let result = leadership.commit(vec![submitted("b")]).await;
    eprintln!("after: {result:?}");
}
