//! The embedded store and kill -9: what was acknowledged is there, and what was not is there whole or not at all. The
//! process that is killed is this test binary, run again for one test.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use herdsman::{
    domain::Change,
    store::{Store, embedded::EmbeddedStore},
};

use super::{
    lead,
    samples::{assignment, submission},
};

/// Where the child finds its store.
const DIRECTORY: &str = "HERDSMAN_TEST_STORE";
/// Commits that the child keeps in flight.
const IN_FLIGHT: usize = 8;
/// Acknowledgements after which the child is killed, in the middle of its work.
const KILL_AFTER: [usize; 3] = [1, 20, 150];

const PARTS: [&str; 3] = ["a", "b", "c"];

#[tokio::test]
async fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let directory = tempfile::tempdir().expect("a directory for the test");
    let mut terms = 0;
    for kill_after in KILL_AFTER {
        let acknowledged = run_and_kill(directory.path(), kill_after);
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(directory.path()).expect("opens after the kill"));
        let (mut leadership, loaded) = lead(&store).await;
        assert!(leadership.term().0 > terms, "term {} came again", leadership.term());
        terms = leadership.term().0;

        let mut parts = BTreeMap::<u64, usize>::new();
        for task in &loaded.tasks {
            let (number, _) = task.submission.task_id.as_str().split_once('-').expect("number and part");
            *parts.entry(number.parse().expect("a number")).or_default() += 1;
        }
        let whole = parts.values().all(|&count| count == PARTS.len());
        assert!(whole, "a commit is there in part: {parts:?}");
        let unbroken = parts.keys().copied().eq(0..parts.len() as u64);
        assert!(unbroken, "a commit is there without an earlier one: {parts:?}");
        assert!(parts.len() > acknowledged, "commit {acknowledged} was acknowledged, of {} there are", parts.len());
        assert_eq!(loaded.assignments.len(), parts.len());

        // Clear the way for the next child.
        let sweeps = loaded
            .assignments
            .iter()
            .map(|assignment| Change::Swept { task_id: assignment.task_id.clone(), worker: assignment.worker.clone() });
        let removes = loaded.tasks.iter().map(|task| Change::Removed { task_id: task.submission.task_id.clone() });
        leadership.commit(sweeps.chain(removes).collect()).await.expect("works on after the kill");
    }
}

/// The number of the last commit that the child acknowledged before it was killed.
fn run_and_kill(directory: &Path, kill_after: usize) -> usize {
    let mut child = Command::new(std::env::current_exe().expect("this test binary"))
        .args(["store_contract::killed::commits_until_it_is_killed", "--exact", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs itself");
    let lines = BufReader::new(child.stderr.take().expect("is piped")).lines();
    let mut last = None;
    let mut killed = false;
    for line in lines {
        let line = line.expect("the child writes text");
        let number = line.strip_prefix("acknowledged ").unwrap_or_else(|| panic!("the child says: {line}"));
        last = Some(number.parse().expect("a number"));
        if !killed && last >= Some(kill_after) {
            // What the child still manages to say before it dies counts as well.
            child.kill().expect("can be killed");
            killed = true;
        }
    }
    let status = child.wait().expect("can be waited for");
    assert!(killed, "the child ended by itself: {status}");
    last.expect("it acknowledged something")
}

#[tokio::test]
#[ignore = "the child of another test"]
async fn commits_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(Path::new(&directory)).expect("opens"));
    let (mut leadership, _) = lead(&store).await;
    let mut in_flight = std::collections::VecDeque::new();
    for number in 0_u64.. {
        let names = PARTS.map(|part| format!("{number}-{part}"));
        let mut changes: Vec<_> = names.iter().map(|name| Change::Submitted(submission(name))).collect();
        changes.push(Change::Assigned(assignment(&names[0], "worker-1", 1)));
        in_flight.push_back((number, leadership.commit(changes)));
        if in_flight.len() > IN_FLIGHT {
            let (number, commit) = in_flight.pop_front().expect("is not empty");
            commit.await.expect("committed");
            // In one write: a line that the kill cut short says nothing.
            let line = format!("acknowledged {number}\n");
            std::io::stderr().write_all(line.as_bytes()).expect("the parent listens");
        }
    }
}
