//! The evidence, arranged: what happened to each task, in the order in which ZooKeeper committed it.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    log::Log,
    tree::{self, Assignment, Fact, Status, Submission},
    txnlog::{Body, Op, Txn},
};
use crate::proof::evidence::{Call, Evidence, Moment, Outcome, Run, Said};

/// What one client asked, and what came of it.
#[derive(Debug, Clone)]
pub struct Operation {
    pub number: u64,
    pub client: String,
    pub call: Call,
    pub asked: Moment,
    /// None: no answer came before the end.
    pub answered: Option<Moment>,
    pub outcome: Outcome,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let until = self.answered.map_or("the end".to_owned(), |at| at.to_string());
        write!(f, "op {} of {}, {} to {until}: ", self.number, self.client, self.asked)?;
        match &self.call {
            Call::Submit { task, spec } => write!(f, "submit {task} {} {:?}", spec.kind, shown(&spec.payload.0))?,
            Call::Get { task } => write!(f, "get {task}")?,
            Call::Cancel { task } => write!(f, "cancel {task}")?,
        }
        match &self.outcome {
            Outcome::Ok { told } => write!(f, " -> {:?} attempt {} at {:#x}", told.state, told.attempt, told.revision),
            Outcome::Refused { reason, .. } => write!(f, " -> refused: {reason}"),
            Outcome::Unknown { code, .. } => write!(f, " -> unknown: {code}"),
        }
    }
}

/// The beginning of bytes, for people.
pub fn shown(bytes: &[u8]) -> String {
    const SHOWN: usize = 24;
    String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]).into_owned()
}

/// Something that ZooKeeper committed about a task.
#[derive(Debug, Clone)]
pub struct Committed<T> {
    pub zxid: i64,
    pub at: Moment,
    pub what: T,
}

#[derive(Debug, Clone)]
pub enum Change {
    Assigned(Assignment),
    Status(Status),
}

impl Change {
    /// Which change of the task it is.
    pub fn revision(&self) -> u64 {
        match self {
            Self::Assigned(assignment) => assignment.fence,
            Self::Status(status) => status.revision,
        }
    }
}

impl std::fmt::Display for Committed<Change> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "zxid {:#x} at {}: ", self.zxid, self.at)?;
        match &self.what {
            Change::Assigned(a) => write!(f, "attempt {} assigned to {}, fence {:#x}", a.attempt, a.worker, a.fence),
            Change::Status(s) => {
                write!(f, "{:?} attempt {} fence {:#x} at {:#x}", s.state, s.attempt, s.fence, s.revision)
            }
        }
    }
}

/// Everything about one task.
#[derive(Debug, Clone, Default)]
pub struct Task {
    pub operations: Vec<Operation>,
    pub submitted: Vec<Committed<Submission>>,
    /// In the order of their commits.
    pub changes: Vec<Committed<Change>>,
    /// Its handlers' lines.
    pub runs: Vec<Run>,
    /// In the last tree: the submissions that were not removed, the latest last, and the status that counts for that one.
    pub kept: Vec<Submission>,
    pub kept_status: Option<Status>,
}

impl Task {
    /// Somebody was told that it is in.
    pub fn acknowledged(&self) -> impl Iterator<Item = (&Operation, Moment)> {
        let submits = self.operations.iter().filter(|operation| matches!(operation.call, Call::Submit { .. }));
        submits.filter_map(|operation| match (&operation.outcome, operation.answered) {
            (Outcome::Ok { .. }, Some(at)) => Some((operation, at)),
            _ => None,
        })
    }

    pub fn assignments(&self) -> impl Iterator<Item = (&Assignment, &Committed<Change>)> {
        self.changes.iter().filter_map(|change| match &change.what {
            Change::Assigned(assignment) => Some((assignment, change)),
            Change::Status(_) => None,
        })
    }

    pub fn statuses(&self) -> impl Iterator<Item = (&Status, &Committed<Change>)> {
        self.changes.iter().filter_map(|change| match &change.what {
            Change::Status(status) => Some((status, change)),
            Change::Assigned(_) => None,
        })
    }

    pub fn terminal(&self) -> Option<(&Status, &Committed<Change>)> {
        self.statuses().find(|(status, _)| status.state.is_terminal())
    }

    /// What is committed, for people.
    pub fn story(&self) -> Vec<String> {
        self.changes.iter().map(ToString::to_string).collect()
    }
}

/// All that there is to judge.
pub struct Case {
    pub evidence: Evidence,
    pub log: Log,
    pub tasks: BTreeMap<String, Task>,
    /// Records that cannot be read, wherever they were seen.
    pub unreadable: Vec<String>,
}

impl Case {
    pub fn new(evidence: Evidence, mut log: Log) -> Self {
        below(&mut log, &evidence.plan.chroot);
        let mut case = Self { evidence, log, tasks: BTreeMap::new(), unreadable: Vec::new() };
        case.read_log();
        case.order_changes();
        case.read_tree();
        case.read_history();
        for run in &case.evidence.runs {
            case.tasks.entry(run.task.clone()).or_default().runs.push(run.clone());
        }
        case
    }

    /// When a transaction was made.
    pub fn moment(&self, txn: &Txn) -> Moment {
        const NS_PER_MS: u64 = 1_000_000;
        self.evidence.plan.moment(u64::try_from(txn.epoch_ms).unwrap_or(0).saturating_mul(NS_PER_MS))
    }

    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.tasks.values().flat_map(|task| &task.operations)
    }

    fn read_log(&mut self) {
        for txn in &self.log.txns {
            let (zxid, at) = (txn.zxid, self.moment(txn));
            for op in txn.ops() {
                let (Op::Create { path, data, .. } | Op::Set { path, data, .. }) = op else { continue };
                for fact in tree::facts(path, data) {
                    match fact {
                        Fact::Submitted(what) => {
                            let task = self.tasks.entry(what.task.clone()).or_default();
                            task.submitted.push(Committed { zxid, at, what });
                        }
                        Fact::Status(status) => {
                            let task = self.tasks.entry(status.task.clone()).or_default();
                            task.changes.push(Committed { zxid, at, what: Change::Status(status) });
                        }
                        Fact::Assigned(assignment) => {
                            let task = self.tasks.entry(assignment.task.clone()).or_default();
                            task.changes.push(Committed { zxid, at, what: Change::Assigned(assignment) });
                        }
                        // What it comes to is in the last tree.
                        Fact::Removed(_) => {}
                        Fact::Unreadable(problem) => self.unreadable.push(format!("zxid {zxid:#x}: {problem}")),
                    }
                }
            }
        }
    }

    /// What one transaction says of a task happened at once; the nodes that say it may stand in any order in it.
    fn order_changes(&mut self) {
        for task in self.tasks.values_mut() {
            task.changes.sort_by_key(|change| (change.zxid, change.what.revision()));
        }
    }

    /// A packed node stays as it was written while anything of it counts, so what does not has to be told apart.
    fn read_tree(&mut self) {
        let nodes = self.evidence.tree().nodes.iter();
        let facts: Vec<_> = nodes
            .flat_map(|node| tree::facts(&node.path, &node.data.0).into_iter().map(move |fact| (node, fact)))
            .collect();
        let removed: HashSet<_> = facts
            .iter()
            .filter_map(|(_, fact)| match fact {
                Fact::Removed(removal) => Some((removal.from.clone(), removal.task.clone())),
                _ => None,
            })
            .collect();
        for (node, fact) in facts {
            match fact {
                Fact::Submitted(what) => {
                    let name = node.path.rsplit('/').next().unwrap_or_default();
                    if !removed.contains(&(name.to_owned(), what.task.clone())) {
                        self.tasks.entry(what.task.clone()).or_default().kept.push(what);
                    }
                }
                Fact::Status(status) => {
                    let kept = &mut self.tasks.entry(status.task.clone()).or_default().kept_status;
                    if kept.as_ref().is_none_or(|kept| kept.revision < status.revision) {
                        *kept = Some(status);
                    }
                }
                Fact::Assigned(_) | Fact::Removed(_) => {}
                Fact::Unreadable(problem) => self.unreadable.push(format!("at the end: {problem}")),
            }
        }
        for task in self.tasks.values_mut() {
            task.kept.sort_by_key(|kept| kept.revision);
            // One that is not later is of an earlier life of the id.
            let life = task.kept.last().map(|kept| kept.revision);
            task.kept_status.take_if(|status| life.is_none_or(|life| status.revision <= life));
        }
    }

    fn read_history(&mut self) {
        let mut asked: HashMap<u64, Operation> = HashMap::new();
        let mut done = BTreeMap::new();
        for said in &self.evidence.history {
            match said {
                Said::Asked { op, client, at, call } => {
                    let outcome = Outcome::Unknown { code: "none".into(), reason: None, retry: false };
                    let (number, client, call, asked_at) = (*op, client.clone(), call.clone(), *at);
                    let operation = Operation { number, client, call, asked: asked_at, answered: None, outcome };
                    asked.insert(*op, operation);
                }
                Said::Answered { op, at, outcome } => {
                    if let Some(operation) = asked.remove(op) {
                        done.insert(*op, Operation { answered: Some(*at), outcome: outcome.clone(), ..operation });
                    }
                }
            }
        }
        done.extend(asked);
        for operation in done.into_values() {
            self.tasks.entry(operation.call.task().to_owned()).or_default().operations.push(operation);
        }
    }
}

/// Takes the chroot off all paths. What lies outside it is somebody else's and says nothing here.
fn below(log: &mut Log, chroot: &str) {
    let outside = |op: &mut Op| {
        let (Op::Create { path, .. } | Op::Delete { path } | Op::Set { path, .. } | Op::Check { path, .. }) = op;
        match path.strip_prefix(chroot) {
            Some("") => *path = "/".into(),
            Some(inside) if inside.starts_with('/') => *path = inside.to_owned(),
            _ => return true,
        }
        false
    };
    for txn in &mut log.txns {
        match &mut txn.body {
            Body::Single(op) => {
                if outside(op) {
                    txn.body = Body::Other(0);
                }
            }
            Body::Multi(ops) => ops.retain_mut(|op| !outside(op)),
            Body::SessionCreated | Body::SessionClosed | Body::Refused { .. } | Body::Other(_) => {}
        }
    }
}
