//! What the harness itself sees of a cluster: the handlers' processes, and the whole tree.

use std::{collections::BTreeMap, time::Duration};

use zookeeper_client::Client;

use super::{Cluster, process::LIFE};
use crate::proof::evidence::{Child, Directory, Lines, Scan, TreeLine};

/// Between two looks at what runs.
const SCAN_PAUSE: Duration = Duration::from_millis(500);
/// For the reading of a tree: it must not end in the middle.
const READER_SESSION: Duration = Duration::from_secs(10);

/// Writes down, for ever, which processes of handlers are alive.
pub async fn scan(cluster: &Cluster, evidence: &Directory) {
    let scans = Lines::append(&evidence.children()).expect("a file of ours");
    loop {
        let at = cluster.clock.now();
        scans.write(&Scan { at, children: children() });
        tokio::time::sleep(SCAN_PAUSE).await;
    }
}

/// Everything that handlers have started and that is alive, found by its environment.
pub fn children() -> Vec<Child> {
    let entries = std::fs::read_dir("/proc").expect("there is one");
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter_map(child).collect()
}

fn child(pid: u32) -> Option<Child> {
    // It may be gone by now, and a dead one that nobody has waited for has no environment any more.
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let variables = environment.split(|byte| *byte == 0).filter_map(|variable| {
        let (name, value) = std::str::from_utf8(variable).ok()?.split_once('=')?;
        Some((name, value))
    });
    let variables: BTreeMap<_, _> = variables.collect();
    let (life, task) = (variables.get(LIFE)?, variables.get("HERDSMAN_TASK_ID")?);
    let attempt = variables.get("HERDSMAN_ATTEMPT")?.parse().ok()?;
    Some(Child { pid, life: (*life).to_owned(), task: (*task).to_owned(), attempt })
}

/// Reads every node, and writes it down.
pub async fn read_tree(cluster: &Cluster, evidence: &Directory) {
    let tree = Lines::append(&evidence.tree()).expect("a file of ours");
    let connector = Client::connector().with_session_timeout(READER_SESSION);
    let client = connector.connect(&cluster.zookeeper()).await.expect("the ensemble serves");
    TreeLine::keep(&client, cluster.clock.now(), &tree).await.expect("the ensemble serves");
}
