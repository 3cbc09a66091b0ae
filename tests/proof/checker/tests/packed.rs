//! Records that share nodes: the story told in packed nodes, and what only they can get wrong. An entry that counts no
//! more stays as long as its node does.

use std::collections::{BTreeMap, HashMap};

use herdsman::wire::proto::{internal::v1::StatusEntry, v1::TaskState};
use prost::Message;

use super::story::{SECOND_LEADER, Story, assignment, ok, revision, status, submission, told, unassigned, unknown};
use crate::proof::{
    checker::{
        Report,
        txnlog::{Body, Op},
    },
    evidence::{Bytes, Node, RunKind, State},
};

/// Any packed node, its entries as they come.
#[derive(Clone, PartialEq, Message)]
struct Pack {
    #[prost(bytes = "vec", repeated, tag = "1")]
    entries: Vec<Vec<u8>>,
}

/// An entry whose record does not say itself whose it is.
#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    task_id: String,
    #[prost(bytes = "vec", tag = "2")]
    record: Vec<u8>,
}

/// Where a record that was written in this transaction lies if it shares its node, and its entry there. None: it is not
/// of the kind that does.
fn entry(path: &str, data: &[u8], zxid: i64) -> Option<(String, Vec<u8>)> {
    let of = |task: &str| Entry { task_id: task.into(), record: data.to_vec() }.encode_to_vec();
    match path.split('/').skip(1).collect::<Vec<_>>().as_slice() {
        ["tasks", bucket, id] if !id.starts_with('@') => Some((format!("/tasks/{bucket}/@1-{zxid}"), data.to_vec())),
        ["tasks", bucket, id, "status"] => Some((format!("/tasks/{bucket}/@1-{zxid}-status"), of(id))),
        ["assign", worker, id] if !id.starts_with('@') => Some((format!("/assign/{worker}/@1-{zxid}"), of(id))),
        _ => None,
    }
}

/// The operations of one transaction with its records in as few nodes as there are kinds.
fn packed(ops: &[Op], zxid: i64, lies: &mut HashMap<String, String>) -> Vec<Op> {
    let mut packs: BTreeMap<String, Pack> = BTreeMap::new();
    let mut others = Vec::new();
    for op in ops {
        match op {
            Op::Create { path, data, .. } => match entry(path, data, zxid) {
                Some((pack, entry)) => {
                    lies.insert(path.clone(), pack.clone());
                    packs.entry(pack).or_default().entries.push(entry);
                }
                None => others.push(op.clone()),
            },
            Op::Delete { path } => {
                others.push(Op::Delete { path: lies.get(path).unwrap_or(path).clone() });
            }
            Op::Set { .. } | Op::Check { .. } => others.push(op.clone()),
        }
    }
    let created =
        packs.into_iter().map(|(path, pack)| Op::Create { path, data: pack.encode_to_vec(), ephemeral: false });
    others.into_iter().chain(created).collect()
}

impl Story {
    /// The same with every record in a packed node.
    pub fn packed(mut self) -> Self {
        self.tree();
        let mut lies = HashMap::new();
        for txn in &mut self.txns {
            match &mut txn.body {
                Body::Multi(ops) => *ops = packed(ops, txn.zxid, &mut lies),
                Body::Single(op) => {
                    *op = packed(std::slice::from_ref(op), txn.zxid, &mut lies).pop().expect("one of one");
                }
                Body::SessionCreated | Body::SessionClosed | Body::Refused { .. } | Body::Other(_) => {}
            }
        }
        let mut packs: BTreeMap<String, Pack> = BTreeMap::new();
        let nodes = std::mem::take(self.tree());
        let (shared, own): (Vec<_>, Vec<_>) =
            nodes.into_iter().partition(|node| entry(&node.path, &node.data.0, node.czxid).is_some());
        for (pack, entry) in shared.iter().filter_map(|node| entry(&node.path, &node.data.0, node.czxid)) {
            packs.entry(pack).or_default().entries.push(entry);
        }
        *self.tree() = own;
        for (path, pack) in packs {
            self.keep(&path, pack.encode_to_vec());
        }
        self
    }

    fn keep(&mut self, path: &str, data: Vec<u8>) {
        let (path, data) = (path.to_owned(), Bytes(data));
        self.tree().push(Node { path, data, version: 0, czxid: 9, mzxid: 9, ephemeral_owner: 0 });
    }

    /// Commits these records, those of a kind in one node.
    fn commit_together(&mut self, ms: u64, ops: &[Op], lies: &mut HashMap<String, String>) {
        let zxid = i64::try_from(self.txns.len()).unwrap() + 1;
        self.commit(SECOND_LEADER, ms, packed(ops, zxid, lies));
    }

    /// `e`, `f` and `g` are submitted and assigned together. `e` succeeds, `f` is given back, assigned again and
    /// cancelled, `g` runs on; so the nodes stay that all were in. Also where their records lie.
    fn told_of_a_crowd() -> (Self, HashMap<String, String>) {
        let mut story = Self::told();
        let mut lies = HashMap::new();
        let tasks = || ["e", "f", "g"].into_iter().zip(1..);
        for (task, at) in tasks() {
            let told = if task == "e" { ok(told(task, State::Pending, 0, of(at))) } else { unknown() };
            story.submits(40_000, 40_100, task, told);
        }
        let submitted: Vec<_> = tasks().map(|(task, at)| submission(task, task, of(at))).collect();
        story.commit_together(40_050, &submitted, &mut lies);
        let assigned: Vec<_> = tasks().map(|(task, at)| assignment(task, "worker-1", 1, of(3 + at))).collect();
        story.commit_together(40_150, &assigned, &mut lies);
        for (task, at) in tasks() {
            story.run(RunKind::Start, 40_200, task, 1, of(3 + at));
        }
        story.run(RunKind::End, 40_300, "e", 1, of(4));
        let succeeded = status("e", TaskState::Succeeded, 1, of(7), "worker-1", of(4));
        let back = status("f", TaskState::Pending, 1, of(8), "worker-1", of(5));
        let first = lies.clone();
        let again = assignment("f", "worker-1", 2, of(9));
        story.commit_together(40_350, &[back, succeeded, again], &mut lies);
        let cancelled = status("f", TaskState::Cancelled, 2, of(10), "worker-1", of(9));
        story.commit_together(40_450, &[unassigned("f", "worker-1"), cancelled], &mut lies);
        lies.extend(first);
        (story, lies)
    }
}

/// A revision of the crowd's.
fn of(counter: u64) -> u64 {
    revision(2, 100 + counter)
}

/// A node that says that a task was removed from another.
fn removal(task: &str, from: &str) -> Vec<u8> {
    let from = from.rsplit('/').next().unwrap().to_owned();
    let entry = StatusEntry { task_id: task.into(), status: None, removed_from: from };
    Pack { entries: vec![entry.encode_to_vec()] }.encode_to_vec()
}

/// What is found when this is changed of the crowd's story.
fn judged(doctor: impl FnOnce(&mut Story, &HashMap<String, String>)) -> Report {
    let (mut story, lies) = Story::told_of_a_crowd();
    doctor(&mut story, &lies);
    story.judged()
}

#[track_caller]
fn caught(invariant: &str, problem: &str, doctor: impl FnOnce(&mut Story, &HashMap<String, String>)) {
    let report = judged(doctor);
    let violations = &report.of(invariant).violations;
    assert!(violations.iter().any(|found| found.problem.contains(problem)), "{invariant}, {problem:?}:\n{report}");
}

/// One more commit.
fn later(story: &mut Story, ops: &[Op]) {
    story.commit_together(45_000, ops, &mut HashMap::new());
}

const E: &str = "/tasks/00/e";

#[test]
fn entries_that_count_no_more_stay_in_their_node_and_are_right() {
    let report = judged(|_, _| {});
    assert!(report.passes(), "{report}");
    // One node, in which two of three entries are dead.
    assert_eq!(report.of("I10").looked_at, 3, "{report}");
    assert_eq!(report.counts.terminals, 6, "{report}");
    let elsewhere = judged(|story, _| story.keep("/tasks/00/@1-900-status", removal("e", "@1-901")));
    assert!(elsewhere.passes(), "{elsewhere}");
}

#[test]
fn i1_a_task_that_is_lost_with_its_node_or_out_of_it() {
    caught("I1", "e is lost", |story, lies| story.keep("/tasks/00/@1-900-status", removal("e", &lies[E])));
    caught("I1", "e is lost", |story, lies| story.tree().retain(|node| node.path != lies[E]));
    caught("I1", "cannot be read", |story, _| story.keep("/tasks/00/@1-900-status", removal("e", "")));
    caught("I1", "cannot be read", |story, _| story.keep("/tasks/00/@1-900", vec![0x0a, 9, 1]));
    for foreign in ["/tasks/00/@1", "/tasks/00/@1-x-status", "/assign/worker-1/@1-2-status"] {
        caught("I1", "cannot be read", |story, _| story.keep(foreign, vec![]));
    }
}

#[test]
fn i2_an_id_in_two_nodes_or_nobodys() {
    caught("I2", "e was created 2 times", |story, _| later(story, &[submission("e", "e", of(20))]));
    caught("I2", "e is kept in 2 places", |story, lies| {
        let mut copy = story.tree().iter().find(|node| node.path == lies[E]).unwrap().clone();
        copy.path = "/tasks/00/@1-900".into();
        story.tree().push(copy);
    });
    caught("I2", "nobody asked for z", |story, _| {
        later(story, &[submission("y", "y", of(20)), submission("z", "z", of(21))]);
    });
}

#[test]
fn i3_a_second_end_in_another_node_and_an_end_that_is_lost() {
    let again = |of_e: u64| status("e", TaskState::Failed, 1, of(of_e), "worker-1", of(4));
    caught("I3", "e was changed after its end", |story, _| later(story, &[again(20)]));
    let status_of_e = format!("{E}/status");
    caught("I3", "e: what is kept is not what was committed last", |story, lies| {
        story.tree().retain(|node| node.path != lies[&status_of_e]);
    });
    // One of an earlier life of the id says nothing of this one.
    let earlier = judged(|story, _| {
        story.submits(44_000, 0, "h", unknown());
        later(story, &[submission("h", "h", of(20))]);
        let Op::Create { path, data, .. } = status("h", TaskState::Failed, 1, of(19), "worker-1", of(18)) else {
            unreachable!()
        };
        let (pack, entry) = entry(&path, &data, 900).unwrap();
        story.keep(&pack, Pack { entries: vec![entry] }.encode_to_vec());
    });
    assert!(earlier.passes(), "{earlier}");
}

#[test]
fn i4_an_outcome_of_an_entry_that_is_not_current() {
    caught("I4", "attempt 1 was current", |story, _| {
        later(story, &[status("g", TaskState::Succeeded, 1, of(20), "worker-1", of(5))]);
    });
    caught("I4", "no attempt was current", |story, _| {
        story.submits(44_000, 0, "h", unknown());
        let ended = status("h", TaskState::Succeeded, 1, of(21), "worker-1", of(6));
        later(story, &[submission("h", "h", of(20)), ended]);
    });
}

#[test]
fn i10_a_node_of_which_nothing_counts_and_an_entry_that_is_nobodys() {
    let cancelled = || status("g", TaskState::Cancelled, 1, of(20), "worker-1", of(6));
    caught("I10", "is of no live task", |story, _| later(story, &[cancelled()]));
    let gone = judged(|story, lies| {
        story.commit_together(45_000, &[unassigned("g", "worker-1"), cancelled()], &mut lies.clone());
    });
    assert!(gone.passes(), "{gone}");
    // Beside one that counts.
    caught("I10", "z is of no live task", |story, _| {
        story.submits(44_000, 0, "h", unknown());
        let both = [assignment("h", "worker-1", 1, of(21)), assignment("z", "worker-1", 1, of(22))];
        later(story, &[&[submission("h", "h", of(20))][..], &both].concat());
    });
    caught("I10", "h is for a dead incarnation", |story, _| {
        story.submits(44_000, 0, "h", unknown());
        later(story, &[submission("h", "h", of(20)), assignment("h", "worker-0", 1, of(21))]);
    });
}
