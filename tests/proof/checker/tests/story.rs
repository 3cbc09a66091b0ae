//! A made-up run in which every invariant holds: a leader and a worker are lost under way, ZooKeeper goes away for a
//! second, and four tasks come to their ends. Tests change one thing of it.

use std::{collections::BTreeMap, time::Duration};

use herdsman::wire::proto::{
    internal::v1::{AssignmentRecord, StatusRecord, TaskRecord},
    v1::{TaskSpec, TaskState},
};
use prost::Message;

use crate::proof::{
    checker::{
        Report,
        case::Case,
        judge,
        log::Log,
        txnlog::{Body, Op, Txn},
    },
    evidence::{
        Bytes, Call, Child, Closing, Evidence, Fault, Moment, Node, Outage, Outcome, Plan, Process, ProcessEvent, Role,
        Round, Run, RunKind, RunningTask, Said, Scan, Seen, Spec, State, Target, Told, TreeRead,
    },
};

/// The wall clock when it began.
const BEGAN_MS: u64 = 1_790_000_000_000;
pub const FIRST_LEADER: i64 = 0x11;
pub const SECOND_LEADER: i64 = 0x22;
/// Of a worker, or of anybody else who does not lead.
pub const OUTSIDER: i64 = 0x33;
const MEMBER: i64 = 0x44;
const INCARNATION: [u8; 16] = [7; 16];

#[derive(Clone)]
pub struct Story {
    pub evidence: Evidence,
    pub txns: Vec<Txn>,
    version: i32,
    operations: u64,
}

/// A moment, in milliseconds.
pub fn at(ms: u64) -> Moment {
    Moment(0) + Duration::from_millis(ms)
}

pub fn revision(term: u64, counter: u64) -> u64 {
    term << 40 | counter
}

pub fn spec(payload: &str) -> Spec {
    Spec { kind: "work".into(), payload: Bytes(payload.as_bytes().to_vec()), ..Spec::default() }
}

pub fn told(task: &str, state: State, attempt: i32, revision: u64) -> Told {
    Told {
        task: task.into(),
        state,
        attempt,
        worker: String::new(),
        revision,
        fence: 0,
        spec: spec(task),
        result: Bytes::default(),
        failure: None,
    }
}

pub fn ok(told: Told) -> Outcome {
    Outcome::Ok { told: Box::new(told) }
}

pub fn refused(reason: &str) -> Outcome {
    Outcome::Refused { code: String::new(), reason: reason.into() }
}

pub fn unknown() -> Outcome {
    Outcome::Unknown { code: "Unavailable".into(), reason: None, retry: true }
}

fn election(session: i64) -> String {
    format!("/election/{session}-latch-{session:010}")
}

pub fn submission(task: &str, payload: &str, revision: u64) -> Op {
    let spec = TaskSpec { kind: "work".into(), payload: payload.as_bytes().to_vec().into(), ..TaskSpec::default() };
    let record = TaskRecord { task_id: task.into(), spec: Some(spec), revision, ..TaskRecord::default() };
    Op::Create { path: format!("/tasks/00/{task}"), data: record.encode_to_vec(), ephemeral: false }
}

pub fn assignment(task: &str, worker: &str, attempt: u32, fence: u64) -> Op {
    let record = AssignmentRecord { attempt, incarnation: INCARNATION.to_vec().into(), fence };
    Op::Create { path: format!("/assign/{worker}/{task}"), data: record.encode_to_vec(), ephemeral: false }
}

pub fn unassigned(task: &str, worker: &str) -> Op {
    Op::Delete { path: format!("/assign/{worker}/{task}") }
}

/// The status node of a task; `worker` and `fence` are of its attempt.
pub fn status(task: &str, state: TaskState, attempt: u32, revision: u64, worker: &str, fence: u64) -> Op {
    let worker_id = worker.into();
    let record = StatusRecord { state: state.into(), attempt, revision, worker_id, fence, ..StatusRecord::default() };
    Op::Create { path: format!("/tasks/00/{task}/status"), data: record.encode_to_vec(), ephemeral: false }
}

impl Story {
    fn empty() -> Self {
        let fault = |kind: &str, target: &str, from, until| Fault {
            kind: kind.into(),
            target: target.into(),
            from: at(from),
            until: at(until),
        };
        let running = vec![RunningTask { task: "c".into(), attempt: 1 }];
        let outage = Outage { from: at(20_000), until: at(21_000), running };
        let rounds = vec![
            Round {
                name: "losses".into(),
                from: at(0),
                until: at(18_000),
                faults: vec![fault("pause", "master-0", 10_000, 11_000), fault("kill", "worker-2", 10_100, 10_900)],
                outages: vec![],
            },
            Round {
                name: "outage".into(),
                from: at(18_000),
                until: at(60_000),
                faults: vec![fault("outage", "zookeeper", 20_000, 21_000)],
                outages: vec![outage],
            },
        ];
        let plan = Plan {
            seed: 1,
            began_epoch_ns: BEGAN_MS * 1_000_000,
            chroot: String::new(),
            session_timeout_ms: 2_000,
            reconnect_grace_ms: 2_000,
            closed: at(60_000),
            rounds,
        };
        let (history, watches, runs, processes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let evidence = Evidence { plan, history, watches, runs, processes, scans: Vec::new(), trees: Vec::new() };
        Self { evidence, txns: Vec::new(), version: 0, operations: 0 }
    }

    pub fn txn(&mut self, session: i64, ms: u64, body: Body) {
        let zxid = i64::try_from(self.txns.len()).unwrap() + 1;
        self.txns.push(Txn { zxid, session, epoch_ms: i64::try_from(BEGAN_MS + ms).unwrap(), body });
    }

    /// As a leader writes.
    pub fn commit(&mut self, leader: i64, ms: u64, ops: Vec<Op>) {
        self.version += 1;
        let fence = Op::Check { path: election(leader), version: -1 };
        let chain = Op::Set { path: "/tasks".into(), data: b"1".to_vec(), version: self.version };
        self.txn(leader, ms, Body::Multi([vec![fence, chain], ops].concat()));
    }

    fn lead(&mut self, leader: i64, ms: u64) {
        self.txn(leader, ms, Body::SessionCreated);
        let create = |path: String| Op::Create { path, data: b"{}".to_vec(), ephemeral: true };
        self.txn(leader, ms, Body::Single(create(election(leader))));
        self.commit(leader, ms, vec![create("/master".into())]);
    }

    /// What a client asked and was told; an answer at zero never came.
    pub fn says(&mut self, asked: u64, answered: u64, call: Call, outcome: Outcome) {
        self.operations += 1;
        let op = self.operations;
        self.evidence.history.push(Said::Asked { op, client: "client".into(), at: at(asked), call });
        if answered > 0 {
            self.evidence.history.push(Said::Answered { op, at: at(answered), outcome });
        }
    }

    pub fn submits(&mut self, asked: u64, answered: u64, task: &str, outcome: Outcome) {
        self.says(asked, answered, Call::Submit { task: task.into(), spec: spec(task) }, outcome);
    }

    pub fn gets(&mut self, asked: u64, answered: u64, task: &str, outcome: Outcome) {
        self.says(asked, answered, Call::Get { task: task.into() }, outcome);
    }

    pub fn cancels(&mut self, asked: u64, answered: u64, task: &str, outcome: Outcome) {
        self.says(asked, answered, Call::Cancel { task: task.into() }, outcome);
    }

    pub fn run(&mut self, kind: RunKind, ms: u64, task: &str, attempt: u32, fence: u64) {
        let epoch_ns = (BEGAN_MS + ms) * 1_000_000;
        self.evidence.runs.push(Run { kind, task: task.into(), attempt, fence, pid: 77, epoch_ns });
    }

    pub fn sees(&mut self, stream: u64, ms: u64, task: &str, state: State, attempt: i32, revision: u64) {
        let (task, skipped) = (task.to_owned(), 0);
        self.evidence.watches.push(Seen::Event { stream, at: at(ms), task, revision, state, attempt, skipped });
    }

    pub fn opens(&mut self, stream: u64, ms: u64, watcher: &str, task: &str, after_revision: u64) {
        let (watcher, target) = (watcher.to_owned(), Target::Tasks(vec![task.to_owned()]));
        let seen = Seen::Opened { stream, watcher, at: at(ms), target, after_revision, stalled: false };
        self.evidence.watches.push(seen);
    }

    pub fn closes(&mut self, stream: u64, ms: u64, closing: Closing) {
        self.evidence.watches.push(Seen::Closed { stream, at: at(ms), closing });
    }

    fn worker(&mut self, life: &str, ms: u64, event: ProcessEvent) {
        let name = life.split('.').next().unwrap().to_owned();
        let process = Process { role: Role::Worker, name, life: life.into(), pid: 9, at: at(ms), event };
        self.evidence.processes.push(process);
    }

    pub fn scan(&mut self, ms: u64, lives: &[&str]) {
        let child = |life: &&str| Child { pid: 78, life: (*life).to_owned(), task: "b".into(), attempt: 1 };
        let scan = Scan { at: at(ms), children: lives.iter().map(child).collect() };
        self.evidence.scans.push(scan);
    }

    /// The run in which everything is as it should be.
    pub fn told() -> Self {
        let mut story = Self::empty();
        story.txn(MEMBER, 100, Body::SessionCreated);
        let incarnation = uuid::Uuid::from_bytes(INCARNATION);
        let data = format!("{{\"incarnation\":\"{incarnation}\"}}").into_bytes();
        story.txn(MEMBER, 100, Body::Single(Op::Create { path: "/workers/worker-1".into(), data, ephemeral: true }));
        story.lead(FIRST_LEADER, 200);
        for life in ["worker-0.1", "worker-1.1", "worker-2.1"] {
            story.worker(life, 100, ProcessEvent::Started);
        }
        story.task_that_succeeds();
        story.task_that_outlives_its_leader_and_its_worker();
        story.task_that_runs_through_an_outage();
        story.task_that_is_cancelled();
        story.worker("worker-2.1", 10_100, ProcessEvent::Ended);
        story.scan(10_200, &["worker-0.1", "worker-2.1"]);
        story.scan(16_000, &["worker-0.1"]);
        story
    }

    /// `a`, watched from its submit to its end.
    fn task_that_succeeds(&mut self) {
        let (submitted, fence, ended) = (revision(1, 1), revision(1, 2), revision(1, 3));
        self.submits(1_000, 1_100, "a", ok(told("a", State::Pending, 0, submitted)));
        self.commit(FIRST_LEADER, 1_050, vec![submission("a", "a", submitted)]);
        self.opens(1, 1_150, "watcher", "a", 0);
        self.sees(1, 1_160, "a", State::Pending, 0, submitted);
        self.commit(FIRST_LEADER, 1_200, vec![assignment("a", "worker-0", 1, fence)]);
        self.sees(1, 1_250, "a", State::Assigned, 1, fence);
        self.run(RunKind::Start, 1_300, "a", 1, fence);
        self.run(RunKind::End, 1_800, "a", 1, fence);
        let succeeded = status("a", TaskState::Succeeded, 1, ended, "worker-0", fence);
        self.commit(FIRST_LEADER, 1_900, vec![unassigned("a", "worker-0"), succeeded]);
        self.sees(1, 1_950, "a", State::Succeeded, 1, ended);
        self.closes(1, 1_951, Closing::Ok);
        self.gets(3_000, 3_100, "a", ok(told("a", State::Succeeded, 1, ended)));
    }

    /// `b`: its submit is not answered, its first attempt is given back and goes on to its end all the same.
    fn task_that_outlives_its_leader_and_its_worker(&mut self) {
        let (submitted, fence) = (revision(1, 4), revision(1, 5));
        self.submits(9_900, 10_500, "b", unknown());
        self.commit(FIRST_LEADER, 9_950, vec![submission("b", "b", submitted)]);
        self.commit(FIRST_LEADER, 9_970, vec![assignment("b", "worker-0", 1, fence)]);
        self.run(RunKind::Start, 10_000, "b", 1, fence);
        self.txn(FIRST_LEADER, 10_550, Body::SessionClosed);
        self.lead(SECOND_LEADER, 10_600);
        self.txn(FIRST_LEADER, 11_000, Body::Refused { multi: true, code: -101 });
        self.submits(10_700, 10_800, "b", ok(told("b", State::Assigned, 1, revision(2, 1))));

        let (back, again, ended) = (revision(2, 2), revision(2, 3), revision(2, 4));
        let pending = status("b", TaskState::Pending, 1, back, "worker-0", fence);
        let ops = vec![unassigned("b", "worker-0"), pending, assignment("b", "worker-1", 2, again)];
        self.commit(SECOND_LEADER, 12_600, ops);
        self.run(RunKind::Start, 12_800, "b", 2, again);
        self.run(RunKind::End, 13_000, "b", 2, again);
        let succeeded = status("b", TaskState::Succeeded, 2, ended, "worker-1", again);
        self.commit(SECOND_LEADER, 13_100, vec![unassigned("b", "worker-1"), succeeded]);
        self.run(RunKind::End, 13_500, "b", 1, fence);
    }

    /// `c`.
    fn task_that_runs_through_an_outage(&mut self) {
        let (submitted, fence, ended) = (revision(2, 5), revision(2, 6), revision(2, 7));
        self.submits(15_000, 15_100, "c", ok(told("c", State::Pending, 0, submitted)));
        self.commit(SECOND_LEADER, 15_050, vec![submission("c", "c", submitted)]);
        self.commit(SECOND_LEADER, 15_200, vec![assignment("c", "worker-1", 1, fence)]);
        self.run(RunKind::Start, 15_300, "c", 1, fence);
        self.gets(20_100, 20_500, "c", unknown());
        self.run(RunKind::End, 25_000, "c", 1, fence);
        let succeeded = status("c", TaskState::Succeeded, 1, ended, "worker-1", fence);
        self.commit(SECOND_LEADER, 25_100, vec![unassigned("c", "worker-1"), succeeded]);
    }

    /// `d`, which is cancelled twice, and submitted once more as something else.
    fn task_that_is_cancelled(&mut self) {
        let (submitted, fence, ended) = (revision(2, 8), revision(2, 9), revision(2, 11));
        self.gets(29_000, 29_100, "d", refused("TASK_NOT_FOUND"));
        self.submits(30_000, 30_100, "d", ok(told("d", State::Pending, 0, submitted)));
        self.commit(SECOND_LEADER, 30_050, vec![submission("d", "d", submitted)]);
        self.commit(SECOND_LEADER, 30_150, vec![assignment("d", "worker-1", 1, fence)]);
        self.gets(30_200, 30_300, "d", ok(told("d", State::Running, 1, revision(2, 10))));
        let other = Call::Submit { task: "d".into(), spec: spec("other") };
        self.says(30_300, 30_400, other, refused("TASK_EXISTS"));
        let cancelled = status("d", TaskState::Cancelled, 1, ended, "worker-1", fence);
        self.commit(SECOND_LEADER, 31_000, vec![unassigned("d", "worker-1"), cancelled]);
        self.cancels(30_900, 31_100, "d", ok(told("d", State::Cancelled, 1, ended)));
        self.cancels(32_000, 32_100, "d", ok(told("d", State::Cancelled, 1, ended)));
        self.gets(33_000, 33_100, "d", ok(told("d", State::Cancelled, 1, ended)));
    }

    /// The tree as its transactions left it.
    pub fn tree(&mut self) -> &mut Vec<Node> {
        if self.evidence.trees.is_empty() {
            let mut nodes = BTreeMap::new();
            for txn in &self.txns {
                follow(&mut nodes, txn);
            }
            self.evidence.trees.push(TreeRead { at: at(55_000), nodes: nodes.into_values().collect() });
        }
        &mut self.evidence.trees.last_mut().unwrap().nodes
    }

    pub fn judged(mut self) -> Report {
        self.tree();
        let log = Log::merge(vec![self.txns.into_iter().map(|txn| (txn.zxid, txn)).collect()], "/tasks");
        judge(&Case::new(self.evidence, log))
    }
}

fn follow(nodes: &mut BTreeMap<String, Node>, txn: &Txn) {
    if txn.body == Body::SessionClosed {
        nodes.retain(|_, node| node.ephemeral_owner != txn.session);
    }
    for op in txn.ops() {
        match op {
            Op::Create { path, data, ephemeral } => {
                let data = Bytes(data.clone());
                let ephemeral_owner = if *ephemeral { txn.session } else { 0 };
                let (czxid, mzxid) = (txn.zxid, txn.zxid);
                let node = Node { path: path.clone(), data, version: 0, czxid, mzxid, ephemeral_owner };
                nodes.insert(path.clone(), node);
            }
            Op::Set { path, data, version } => {
                if let Some(node) = nodes.get_mut(path) {
                    (node.data, node.version, node.mzxid) = (Bytes(data.clone()), *version, txn.zxid);
                }
            }
            Op::Delete { path } => {
                nodes.remove(path);
            }
            Op::Check { .. } => {}
        }
    }
}
