//! I5: who wrote, by ZooKeeper's own log.

use std::collections::{HashMap, HashSet};

use super::{
    case::Case,
    report::Finding,
    tree,
    txnlog::{Body, Op, Txn},
};

/// Which session owns which node of the line, as the log goes on.
#[derive(Debug, Default)]
struct Line {
    owners: HashMap<String, i64>,
}

impl Line {
    fn follow(&mut self, txn: &Txn) {
        if txn.body == Body::SessionClosed {
            self.owners.retain(|_, owner| *owner != txn.session);
        }
        for op in txn.ops() {
            match op {
                Op::Create { path, ephemeral: true, .. } if tree::is_candidate(path) => {
                    self.owners.insert(path.clone(), txn.session);
                }
                Op::Delete { path } => {
                    self.owners.remove(path);
                }
                Op::Create { .. } | Op::Set { .. } | Op::Check { .. } => {}
            }
        }
    }

    fn owns(&self, txn: &Txn, path: &str) -> bool {
        self.owners.get(path) == Some(&txn.session)
    }
}

/// Only a leader may do this.
fn is_leaders(op: &Op) -> bool {
    match op {
        Op::Create { path, data, .. } => tree::is_leaders_write(path, data.is_empty()),
        Op::Set { path, .. } => tree::is_leaders_write(path, false),
        Op::Delete { path } => tree::is_leaders_write(path, false) && !tree::is_announcement(path),
        Op::Check { .. } => false,
    }
}

/// Every write of a leader's begins with a check of a node in the line that its own session owns, and moves the version
/// that chains the commits.
pub fn leaders_writes_are_fenced(case: &Case) -> Finding {
    let mut finding =
        Finding::new("I5", "every write of a leader's begins with its own fence, and is chained", "writes");
    let mut line = Line::default();
    for txn in &case.log.txns {
        if txn.ops().iter().any(is_leaders) {
            finding.looked_at += 1;
            let fenced = matches!((&txn.body, txn.ops().first()),
                (Body::Multi(_), Some(Op::Check { path, .. })) if line.owns(txn, path));
            let chained = txn.ops().iter().any(|op| matches!(op, Op::Set { path, .. } if path == tree::CHAIN));
            let problem = match (fenced, chained) {
                (false, _) => Some("is not fenced"),
                (true, false) => Some("is not chained"),
                (true, true) => None,
            };
            if let Some(problem) = problem {
                let what = format!("zxid {:#x} at {} of session {:#x}", txn.zxid, case.moment(txn), txn.session);
                finding.violated(format!("{what} {problem}"), described(txn));
            }
        }
        line.follow(txn);
    }
    for (from, until) in &case.log.gaps {
        finding.violated("the log is not whole", vec![format!("zxids {from:#x} to {until:#x} are missing")]);
    }
    finding
}

fn described(txn: &Txn) -> Vec<String> {
    const SHOWN: usize = 4;
    let op = |op: &Op| match op {
        Op::Create { path, .. } => format!("create {path}"),
        Op::Delete { path } => format!("delete {path}"),
        Op::Set { path, version, .. } => format!("set {path} to version {version}"),
        Op::Check { path, version } => format!("check {path}, version {version}"),
    };
    txn.ops().iter().take(SHOWN).map(op).collect()
}

/// Writes that ZooKeeper refused to sessions that had led, and the sessions that came to lead.
pub fn refusals_and_takeovers(case: &Case) -> (Vec<&Txn>, Vec<&Txn>) {
    let mut led = HashSet::new();
    let (mut refusals, mut takeovers) = (Vec::new(), Vec::new());
    for txn in &case.log.txns {
        match &txn.body {
            Body::Refused { multi: true, .. } if led.contains(&txn.session) => refusals.push(txn),
            Body::Multi(ops) if ops.iter().any(is_leaders) && led.insert(txn.session) => takeovers.push(txn),
            _ => {}
        }
    }
    (refusals, takeovers)
}
