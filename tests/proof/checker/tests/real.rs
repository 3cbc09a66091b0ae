//! A real cluster on a real ZooKeeper, judged by the log that ZooKeeper kept of it.

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use herdsman::wire::proto::v1::task_service_client::TaskServiceClient;
use herdsman::wire::proto::v1::{
    self, CancelTaskRequest, GetTaskRequest, SubmitTaskRequest, SubmitTasksRequest, WatchTaskRequest,
    submit_task_outcome,
};
use tempfile::TempDir;
use tonic::{Status, transport::Channel};
use zookeeper_client::{Acls, Client, CreateMode};

use crate::{
    proof::{
        checker::{
            Report, check,
            txnlog::{Body, Op, Txn, read},
        },
        evidence::{
            Call, Clock, Closing, Directory, Fault, Lines, Moment, Outcome, Plan, Process, ProcessEvent, Role, Round,
            Said, Scan, Seen, Spec, Target, Told, TreeLine,
        },
    },
    support::{
        cluster::{Cluster, ended, is_terminal, request, submit},
        eventually,
        zookeeper::{Server, class_path},
    },
};

const CHROOT: &str = "/proof/herdsman";
const TASKS: u64 = 40;
/// Every so many are cancelled at once, watched, or sent again.
const CANCELLED: u64 = 7;
const WATCHED: u64 = 5;
const SENT_AGAIN: u64 = 4;
/// So many more are submitted in one call: only what comes together can share nodes.
const TOGETHER: u64 = 20;
/// So that a worker is given several of them at a time.
const SLOTS: &str = "8";
/// As the cluster of the tests has it.
const SESSION_TIMEOUT_MS: u64 = 2_000;
/// For the plan's end; nothing that happens here waits for it.
const LONG: Duration = Duration::from_mins(10);

/// A run in the making.
struct Run {
    place: TempDir,
    directory: Directory,
    clock: Clock,
    history: Lines<Said>,
    watches: Lines<Seen>,
    tree: Lines<TreeLine>,
    server: Server,
}

impl Run {
    fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let directory = Directory::new(place.path());
        let handler = format!(
            "[handlers.work]\nprogram = \"/bin/sh\"\nargs = [\"-c\", '''line() {{{{ echo $1 $HERDSMAN_TASK_ID \
             $HERDSMAN_ATTEMPT $HERDSMAN_FENCE $$ $(/bin/date +%s%N) >> {}; }}}}; line start; /bin/sleep 0.05; line \
             end''']\n",
            directory.runs().display()
        );
        std::fs::write(place.path().join("handlers.toml"), handler).unwrap();
        Self {
            clock: Clock::start(),
            history: Lines::append(&directory.history()).unwrap(),
            watches: Lines::append(&directory.watches()).unwrap(),
            tree: Lines::append(&directory.tree()).unwrap(),
            server: Server::start(),
            directory,
            place,
        }
    }

    fn handlers(&self) -> String {
        self.place.path().join("handlers.toml").display().to_string()
    }

    async fn asks(&self, op: u64, call: Call, ask: impl Future<Output = Result<v1::Task, Status>>) {
        self.history.write(&Said::Asked { op, client: "client".into(), at: self.clock.now(), call });
        let outcome = match ask.await {
            Ok(task) => Outcome::Ok { told: Box::new(Told::from(&task)) },
            Err(status) => Outcome::of_error(&status),
        };
        self.history.write(&Said::Answered { op, at: self.clock.now(), outcome });
    }

    /// Submits a task, and does with it what its number says.
    async fn task(&self, tasks: TaskServiceClient<Channel>, number: u64) {
        let submit = submission(number);
        let (id, spec) = (submit.task_id.clone(), Spec::from(submit.spec.as_ref().unwrap()));
        let sent = async |op: u64| {
            let (mut tasks, submit) = (tasks.clone(), submit.clone());
            let ask = async move { Ok(tasks.submit_task(submit).await?.into_inner().task.unwrap()) };
            self.asks(op, Call::Submit { task: id.clone(), spec: spec.clone() }, ask).await;
        };
        sent(10 * number).await;
        if number.is_multiple_of(SENT_AGAIN) {
            sent(10 * number + 1).await;
        }
        if number.is_multiple_of(CANCELLED) {
            let (mut tasks, task_id) = (tasks.clone(), id.clone());
            let ask =
                async move { Ok(tasks.cancel_task(CancelTaskRequest { task_id }).await?.into_inner().task.unwrap()) };
            self.asks(10 * number + 2, Call::Cancel { task: id.clone() }, ask).await;
        }
        if number.is_multiple_of(WATCHED) {
            self.watch(tasks.clone(), number, &id).await;
        }
        let (mut tasks, task_id) = (tasks.clone(), id.clone());
        let ask = async move { Ok(tasks.get_task(GetTaskRequest { task_id }).await?.into_inner().task.unwrap()) };
        self.asks(10 * number + 3, Call::Get { task: id.clone() }, ask).await;
    }

    /// Submits all in one call, of a cluster that is whole.
    async fn together(&self, mut tasks: TaskServiceClient<Channel>, numbers: std::ops::Range<u64>) {
        let requests: Vec<_> = numbers.clone().map(submission).collect();
        for (number, request) in numbers.clone().zip(&requests) {
            let call = Call::Submit { task: request.task_id.clone(), spec: request.spec.as_ref().unwrap().into() };
            self.history.write(&Said::Asked { op: 10 * number, client: "client".into(), at: self.clock.now(), call });
        }
        let outcomes = tasks.submit_tasks(SubmitTasksRequest { requests }).await.unwrap().into_inner().outcomes;
        for (number, outcome) in numbers.zip(outcomes) {
            let Some(submit_task_outcome::Outcome::Task(task)) = outcome.outcome else { panic!("{outcome:?}") };
            let outcome = Outcome::Ok { told: Box::new(Told::from(&task)) };
            self.history.write(&Said::Answered { op: 10 * number, at: self.clock.now(), outcome });
        }
    }

    /// Follows it to its end, through one stream after the other.
    async fn watch(&self, mut tasks: TaskServiceClient<Channel>, number: u64, id: &str) {
        let (watcher, target) = (format!("watcher-{number}"), Target::Tasks(vec![id.to_owned()]));
        let mut after_revision = 0;
        let mut stream = number * 100;
        eventually("the watcher is told of the end", LONG, async || {
            stream += 1;
            let (watcher, target, at) = (watcher.clone(), target.clone(), self.clock.now());
            self.watches.write(&Seen::Opened { stream, watcher, at, target, after_revision, stalled: false });
            let failed = |status: &Status| {
                let closing = Closing::Failed { code: format!("{:?}", status.code()), reason: None };
                self.watches.write(&Seen::Closed { stream, at: self.clock.now(), closing });
            };
            let opened = tasks.watch_task(WatchTaskRequest { task_id: id.into(), after_revision }).await;
            let mut events = opened.inspect_err(failed).ok()?.into_inner();
            let mut has_ended = false;
            while let Some(event) = events.message().await.inspect_err(failed).ok()? {
                let (task, at) = (event.task.unwrap(), self.clock.now());
                after_revision = task.revision;
                has_ended = is_terminal(&task);
                let Told { task, state, attempt, revision, .. } = Told::from(&task);
                self.watches.write(&Seen::Event { stream, at, task, revision, state, attempt, skipped: event.skipped });
            }
            self.watches.write(&Seen::Closed { stream, at: self.clock.now(), closing: Closing::Ok });
            has_ended.then_some(())
        })
        .await;
    }

    /// Reads the tree, copies the log, and has all of it judged.
    async fn judged(&self, rounds: Vec<Round>) -> Report {
        let client = Client::connect(&format!("{}{CHROOT}", self.server.address())).await.unwrap();
        let at = rounds.iter().flat_map(|round| &round.faults).map(|fault| fault.until + LONG).max();
        TreeLine::keep(&client, at.unwrap_or(self.clock.now()), &self.tree).await.unwrap();
        self.directory.keep_transaction_logs("zookeeper", &self.server.data()).unwrap();
        let plan = Plan {
            seed: 0,
            began_epoch_ns: self.clock.began_epoch_ns,
            chroot: CHROOT.into(),
            session_timeout_ms: SESSION_TIMEOUT_MS,
            reconnect_grace_ms: SESSION_TIMEOUT_MS,
            closed: self.clock.now(),
            rounds,
        };
        plan.write(&self.directory.plan()).unwrap();
        check(&self.directory).unwrap()
    }

    /// Whether tasks, statuses and assignments shared nodes.
    fn packed(&self) -> [bool; 3] {
        let log = self.log();
        let ops = log.iter().flat_map(|(_, txns)| txns).flat_map(Txn::ops);
        let paths: Vec<_> = ops.map(Op::path).filter(|path| path.contains("/@")).collect();
        [
            paths.iter().any(|path| path.contains("/tasks/") && !path.ends_with("-status")),
            paths.iter().any(|path| path.ends_with("-status")),
            paths.iter().any(|path| path.contains("/assign/")),
        ]
    }

    /// The servers' log, as it is read here.
    fn log(&self) -> Vec<(std::path::PathBuf, Vec<Txn>)> {
        let files = std::fs::read_dir(self.server.data().join("version-2")).unwrap().map(|entry| entry.unwrap().path());
        let logs = files.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("log."));
        logs.map(|path| (path.clone(), read(&std::fs::read(path).unwrap()).unwrap())).collect()
    }
}

fn submission(number: u64) -> SubmitTaskRequest {
    request(&format!("task-{number}"), "work", &format!("payload {number}"))
}

fn no_violations(report: &Report) {
    let violations: usize = report.findings.iter().map(|finding| finding.violations.len()).sum();
    assert_eq!(violations, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_cluster_keeps_its_promises_and_a_hand_that_writes_beside_it_is_seen() {
    a_real_cluster_is_judged("on").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_cluster_that_gives_each_record_a_node_of_its_own_is_judged_too() {
    a_real_cluster_is_judged("off").await;
}

async fn a_real_cluster_is_judged(packing: &str) {
    let run = Arc::new(Run::start());
    let handlers = run.handlers();
    let options = ["--handlers", handlers.as_str(), "--slots", SLOTS];
    let tree = format!("{}{CHROOT}", run.server.address());
    let mut cluster = Cluster::start_with(&["--packing", packing], tree, 2, 2, &options).await;
    let process = |event| {
        let (name, life) = ("worker-0".to_owned(), "worker-0.1".to_owned());
        Process { role: Role::Worker, name, life, pid: 1, at: run.clock.now(), event }
    };
    let processes = Lines::append(&run.directory.processes()).unwrap();
    processes.write(&process(ProcessEvent::Started));

    let tasks = cluster.tasks().await;
    let work = |numbers: std::ops::Range<u64>| {
        let all = numbers.map(|number| {
            let (run, tasks) = (run.clone(), tasks.clone());
            async move { run.task(tasks, number).await }
        });
        futures::future::join_all(all)
    };
    tokio::join!(work(0..TASKS / 2), run.together(tasks.clone(), TASKS..TASKS + TOGETHER));
    let from = run.clock.now();
    let (leader, rest) = (cluster.leader().await, work(TASKS / 2..TASKS));
    let killed = async { cluster.masters[leader].kill() };
    tokio::join!(rest, killed);
    let fault = Fault { kind: "kill".into(), target: "the leader".into(), from, until: run.clock.now() };
    // What its client was not told of may be in; the others are waited for.
    let mut client = tasks.clone();
    for number in 0..TASKS + TOGETHER {
        submit(&mut client, submission(number)).await;
        ended(&mut client, &format!("task-{number}")).await;
    }
    Lines::append(&run.directory.children()).unwrap().write(&Scan { at: run.clock.now(), children: vec![] });

    let until = run.clock.now();
    let round =
        Round { name: "a leader is killed".into(), from: Moment(0), until, faults: vec![fault], outages: vec![] };
    let report = run.judged(vec![round.clone()]).await;
    no_violations(&report);
    assert_eq!(run.packed(), [packing == "on"; 3], "{report}");
    for (name, least) in [("I1", TASKS / 2), ("I2", TASKS), ("I3", TASKS), ("I4", TASKS / 2), ("I6", TASKS / 2)] {
        assert!(report.of(name).looked_at as u64 >= TOGETHER + least, "{name}\n{report}");
    }
    // Each watch is told of its task's end; whether of a state before it too, is a matter of who comes first.
    assert!(report.of("I8").looked_at as u64 >= TASKS / WATCHED, "{report}");
    // Every write of a leader's moves this version by one: an account that owes nothing to the log.
    let witness = Client::connect(&format!("{}{CHROOT}", run.server.address())).await.unwrap();
    let version = witness.check_stat("/tasks").await.unwrap().unwrap().version;
    assert_eq!(report.of("I5").looked_at, usize::try_from(version).unwrap(), "{report}");
    assert_eq!(report.bites[0].1.takeovers, 2, "{report}");

    cluster.masters.clear();
    cluster.workers.clear();
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    witness.create("/tasks/00/by-hand", b"", &options).await.unwrap();
    let report = run.judged(vec![round]).await;
    let found = &report.of("I5").violations;
    assert!(found.len() == 1 && found[0].problem.contains(&format!("{:#x}", witness.session_id().0)), "{report}");

    // So that it writes no more.
    run.server.kill();
    agrees_with_zookeepers_own_tool(&run.log());
}

/// Every transaction is the one that `TxnLogToolkit` prints, with its session, its kind, and the paths that it touches.
fn agrees_with_zookeepers_own_tool(logs: &[(std::path::PathBuf, Vec<Txn>)]) {
    for (file, txns) in logs {
        let printed = printed(file);
        assert_eq!(printed.len(), txns.len(), "{}", file.display());
        for (txn, text) in txns.iter().zip(&printed) {
            let mut words = text.split(' ');
            let mut after = |name: &str| {
                words.find(|word| *word == name);
                words.next().unwrap_or_else(|| panic!("no {name}: {text}"))
            };
            assert_eq!(after("session"), format!("{:#x}", txn.session), "{text}");
            assert_eq!(after("zxid"), format!("{:#x}", txn.zxid), "{text}");
            let kind = words.next().unwrap().trim_end();
            match &txn.body {
                Body::SessionCreated => assert_eq!(kind, "createSession"),
                Body::SessionClosed => assert_eq!(kind, "closeSession"),
                Body::Multi(_) | Body::Refused { multi: true, .. } => assert_eq!(kind, "multi"),
                Body::Refused { multi: false, .. } => assert_eq!(kind, "error"),
                Body::Single(_) => assert!(["create", "create2", "setData", "delete"].contains(&kind), "{text}"),
                Body::Other(_) => {}
            }
            let mut rest = text.as_str();
            for op in txn.ops() {
                let (_, behind) =
                    rest.split_once(op.path()).unwrap_or_else(|| panic!("{} is not in order in {text}", op.path()));
                rest = behind;
            }
        }
    }
}

/// What the tool prints of each transaction; data may have line ends in it.
fn printed(file: &Path) -> Vec<String> {
    let tool = "org.apache.zookeeper.server.persistence.TxnLogToolkit";
    let output = Command::new("java").args(["-cp", class_path(), tool]).arg(file).output().expect("java is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    let begins = |line: &str| [" session 0x", " cxid 0x", " zxid 0x"].iter().all(|word| line.contains(word));
    let mut entries: Vec<String> = Vec::new();
    for line in text.lines() {
        match entries.last_mut() {
            _ if begins(line) => entries.push(line.to_owned()),
            Some(entry) => {
                entry.push('\n');
                entry.push_str(line);
            }
            None => {}
        }
    }
    entries
}
