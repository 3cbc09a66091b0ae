//! What is written is read again; what cannot be read is no evidence.

use super::*;

fn told() -> Told {
    let task = herdsman::wire::proto::v1::Task {
        task_id: "a".into(),
        state: herdsman::wire::proto::v1::TaskState::Failed.into(),
        attempt: 2,
        revision: 7,
        failure: Some(herdsman::wire::proto::v1::TaskFailure { reason: 4, ..Default::default() }),
        ..Default::default()
    };
    Told::from(&task)
}

fn plan(clock: &Clock) -> Plan {
    let fault = Fault { kind: "kill".into(), target: "master-0".into(), from: Moment(5), until: Moment(9) };
    let outage =
        Outage { from: Moment(5), until: Moment(9), running: vec![RunningTask { task: "a".into(), attempt: 1 }] };
    let round =
        Round { name: "leader".into(), from: Moment(1), until: Moment(20), faults: vec![fault], outages: vec![outage] };
    Plan {
        seed: 1,
        began_epoch_ns: clock.began_epoch_ns,
        chroot: "/herdsman".into(),
        session_timeout_ms: 2_000,
        reconnect_grace_ms: 2_000,
        closed: Moment(20),
        rounds: vec![round],
    }
}

/// One line of every kind, in a directory of its own.
fn written() -> (tempfile::TempDir, Directory) {
    let place = tempfile::tempdir().unwrap();
    let directory = Directory::new(place.path());
    let clock = Clock::start();
    plan(&clock).write(&directory.plan()).unwrap();

    let history = Lines::append(&directory.history()).unwrap();
    let spec = Spec { kind: "echo".into(), payload: Bytes(vec![0, 255]), ..Spec::default() };
    let call = Call::Submit { task: "a".into(), spec };
    history.write(&Said::Asked { op: 1, client: "c".into(), at: clock.now(), call });
    let answered = |outcome| Said::Answered { op: 1, at: clock.now(), outcome };
    history.clone().write(&answered(Outcome::Ok { told: Box::new(told()) }));
    history.write(&answered(Outcome::of_error(&tonic::Status::unavailable("no leader"))));

    let watches = Lines::append(&directory.watches()).unwrap();
    let (target, at) = (Target::Tasks(vec!["a".into()]), clock.now());
    watches.write(&Seen::Opened { stream: 1, watcher: "w".into(), at, target, after_revision: 0, stalled: false });
    let (task, state) = ("a".to_owned(), State::Running);
    watches.write(&Seen::Event { stream: 1, at, task, revision: 7, state, attempt: 2, skipped: 0 });
    watches.write(&Seen::Closed {
        stream: 1,
        at,
        closing: Closing::Failed { code: "Unavailable".into(), reason: None },
    });

    std::fs::write(directory.runs(), "start a 1 5 77 1790000000000000000\nend a 1 5 77 1790000000000000001\n").unwrap();
    let (role, event) = (Role::Worker, ProcessEvent::Started);
    let (name, life) = ("worker-0".to_owned(), "worker-0.1".to_owned());
    let process = Process { role, name, life: life.clone(), pid: 5, at, event };
    Lines::append(&directory.processes()).unwrap().write(&process);
    let child = Child { pid: 77, life, task: "a".into(), attempt: 1 };
    Lines::append(&directory.children()).unwrap().write(&Scan { at, children: vec![child] });

    let tree = Lines::append(&directory.tree()).unwrap();
    tree.write(&TreeLine::Reading { at });
    let node =
        Node { path: "/tasks".into(), data: Bytes(b"1".to_vec()), version: 3, czxid: 2, mzxid: 9, ephemeral_owner: 0 };
    tree.write(&TreeLine::Node(node));
    (place, directory)
}

#[test]
fn evidence_is_read_as_it_was_written() {
    let (_place, directory) = written();
    let evidence = Evidence::read(&directory).unwrap();
    let plan = &evidence.plan;
    assert_eq!((plan.healed(), plan.session_timeout().as_millis()), (Moment(9), 2_000));
    assert_eq!(plan.moment(plan.began_epoch_ns + 7), Moment(7));
    let [Said::Asked { call, .. }, Said::Answered { outcome, .. }, Said::Answered { outcome: error, .. }] =
        evidence.history.as_slice()
    else {
        panic!("{:?}", evidence.history);
    };
    assert_eq!(call.task(), "a");
    assert!(matches!(call, Call::Submit { spec, .. } if spec.payload.0 == [0, 255]));
    assert_eq!(*outcome, Outcome::Ok { told: Box::new(told()) });
    assert!(told().state.is_terminal());
    assert_eq!(told().failure.as_deref(), Some("FAILURE_REASON_POISONED"));
    assert!(matches!(error, Outcome::Unknown { reason: None, retry: false, .. }));
    assert_eq!(evidence.watches.len(), 3);
    let lines: Vec<_> = evidence.runs.iter().map(|run| (run.kind, run.to_string())).collect();
    assert_eq!(lines[0], (RunKind::Start, "start a 1 5 77 1790000000000000000".to_owned()));
    assert_eq!(lines[1].0, RunKind::End);
    assert_eq!(evidence.processes[0].life, evidence.scans[0].children[0].life);
    assert_eq!(evidence.tree().nodes[0].data.0, b"1");
}

#[test]
fn a_torn_line_is_no_evidence() {
    for (file, line) in [
        (Directory::runs as fn(&Directory) -> PathBuf, "start a 1 5\n"),
        (Directory::history, "{\"what\":\"asked\"}\n"),
        (Directory::tree, "{\"what\":\"node\"\n"),
    ] {
        let (_place, directory) = written();
        let mut text = std::fs::read_to_string(file(&directory)).unwrap();
        text.push_str(line);
        std::fs::write(file(&directory), text).unwrap();
        assert!(Evidence::read(&directory).is_err(), "{line}");
    }
}

#[test]
fn a_tree_that_was_never_read_is_no_evidence() {
    let (_place, directory) = written();
    std::fs::write(directory.tree(), "").unwrap();
    assert!(Evidence::read(&directory).is_err());
}

#[test]
fn a_servers_logs_are_kept_and_nothing_else_of_it() {
    let (_place, directory) = written();
    let server = tempfile::tempdir().unwrap();
    let data = server.path().join("version-2");
    std::fs::create_dir(&data).unwrap();
    for file in ["log.1", "log.20", "snapshot.0"] {
        std::fs::write(data.join(file), file).unwrap();
    }
    directory.keep_transaction_logs("zookeeper-1", server.path()).unwrap();
    let kept = std::fs::read_dir(directory.zookeeper().join("zookeeper-1/version-2")).unwrap();
    let mut names: Vec<_> = kept.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["log.1", "log.20"]);
}

#[test]
fn a_refusal_is_what_herdsman_calls_one() {
    use herdsman::{domain::Refusal, wire::CallError};
    let refused = CallError::Refused(Refusal::CorruptRecord).status(None);
    assert!(matches!(Outcome::of_error(&refused), Outcome::Refused { reason, .. } if reason == "CORRUPT_RECORD"));
    let passing = tonic::Status::resource_exhausted("too many streams");
    assert!(matches!(Outcome::of_error(&passing), Outcome::Unknown { .. }));
}
