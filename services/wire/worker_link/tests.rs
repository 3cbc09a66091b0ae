use super::*;
use crate::domain::Incarnation;
use crate::domain::WorkerOffer;

fn attempt_id(task_id: &str, attempt: u32) -> AttemptId {
    AttemptId { task_id: task_id.parse().unwrap(), attempt, fence: Fence(40 + u64::from(attempt)) }
}

fn reports() -> Vec<Report> {
    let failure = Failure { exit_status: Some(3), ..Failure::new(FailureReason::Handler, "no") };
    vec![
        Report::Succeeded { attempt: attempt_id("a", 1), start_time: Wall(1_234), result: Arc::from(*b"done") },
        Report::Failed { attempt: attempt_id("b", 2), start_time: Wall(5), failure },
        Report::Stopped { attempt: attempt_id("c", 3) },
        Report::GivenBack { attempt: attempt_id("d", 4), started: true },
    ]
}

fn hello() -> WorkerHello {
    WorkerHello {
        offer: WorkerOffer {
            worker_id: "w-1".parse().unwrap(),
            incarnation: Incarnation([7; 16]),
            address: "127.0.0.1:7072".into(),
            slots: 8,
            kinds: ["echo", "sleep"].map(|kind| kind.parse().unwrap()).into(),
            queues: ["default".parse().unwrap()].into(),
            labels: [("zone".into(), "a".into())].into(),
            version: "0.1.0".into(),
        },
        running: vec![RunningAttempt { attempt: attempt_id("r", 1), start_time: Wall(99), progress: Some(progress()) }],
        reports: reports(),
        draining: true,
        term: Term(6),
        beside: Some("127.0.0.1:7071".into()),
    }
}

fn progress() -> Arc<Progress> {
    Arc::new(Progress { update_time: Wall(98), ..Progress::new(0.25).message("on").detail("rows", 7) })
}

fn there_and_back(message: WorkerToLeader) -> Result<WorkerToLeader, InvalidField> {
    links::LinkWorkerRequest::from(message).try_into()
}

/// The field that makes the leader refuse this hello.
fn refused(change: impl FnOnce(&mut links::WorkerHello)) -> String {
    let mut proto = hello_to_proto(hello());
    change(&mut proto);
    hello_from_proto(proto).expect_err("must be refused").field
}

#[test]
fn what_a_worker_says_arrives_as_it_was_said() {
    let started = Report::Started { attempt: attempt_id("a", 1), start_time: Wall(17) };
    let further = [Some(progress()), None].map(|progress| Report::Progress { attempt: attempt_id("a", 1), progress });
    let said = reports().into_iter().chain([started]).chain(further).map(WorkerToLeader::Report);
    let others = [WorkerToLeader::Draining, WorkerToLeader::Goodbye, WorkerToLeader::Heartbeat];
    for message in said.chain(others).chain([WorkerToLeader::Hello(Box::new(hello()))]) {
        assert_eq!(there_and_back(message.clone()), Ok(message));
    }
}

#[test]
fn what_a_leader_says_arrives_as_it_was_said() {
    let mut spec = TaskSpec::new("echo".parse().unwrap(), b"payload");
    spec.queue = Some("default".parse().unwrap());
    spec.labels = std::collections::BTreeMap::from([("a/b".into(), "c".into())]).into();
    let assign = Order::Assign {
        attempt: attempt_id("a", 1),
        spec: Arc::new(spec),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    };
    let cancel = Order::Cancel { attempt: attempt_id("a", 1), reason: "the task was cancelled".into() };
    let acknowledge = Order::Acknowledge { attempt: attempt_id("a", 1) };
    let orders = [assign, cancel, acknowledge].map(LeaderToWorker::Order);
    let others = [LeaderToWorker::Welcome(Term(3)), LeaderToWorker::Goodbye, LeaderToWorker::Heartbeat];
    for message in orders.into_iter().chain(others) {
        let proto = links::LinkWorkerResponse::from(message.clone());
        assert_eq!(LeaderToWorker::try_from(proto), Ok(message));
    }
}

#[test]
fn a_hello_outside_its_bounds_is_refused_by_the_name_of_its_field() {
    assert_eq!(refused(|hello| hello.slots = 0), "slots");
    assert_eq!(refused(|hello| hello.slots = WorkerOffer::MAX_SLOTS + 1), "slots");
    assert_eq!(refused(|hello| hello.worker_id = "../x".into()), "worker_id");
    assert_eq!(refused(|hello| hello.incarnation = Bytes::from_static(b"short")), "incarnation");
    assert_eq!(refused(|hello| hello.kinds.clear()), "kinds");
    assert_eq!(refused(|hello| hello.kinds = vec!["k".into(); WorkerOffer::MAX_KINDS + 1]), "kinds");
    assert_eq!(refused(|hello| hello.queues = vec!["Q".into()]), "queues");
    assert_eq!(refused(|hello| hello.labels = [(String::new(), String::new())].into()), "labels");
    assert_eq!(refused(|hello| hello.address = "nowhere".into()), "address");
    assert_eq!(refused(|hello| hello.version = "v".repeat(65)), "version");
    assert_eq!(refused(|hello| hello.slots = 4), "running", "more attempts than slots");
    let field = refused(|hello| hello.running[0].progress.as_mut().unwrap().fraction = Some(1.5));
    assert_eq!(field, "running.progress.fraction");
    let field = refused(|hello| hello.running[0].progress.as_mut().unwrap().message = "x".repeat(4_096));
    assert_eq!(field, "running.progress");
    assert_eq!(refused(|hello| (hello.running[0].task_id, hello.running[0].fence) = ("a".into(), 41)), "running");
    assert_eq!(refused(|hello| hello.finished[0].attempt = 0), "finished.attempt");
    assert_eq!(refused(|hello| hello.given_back[0].fence = 0), "given_back.fence");
}

#[test]
fn a_result_over_its_limit_is_refused() {
    let result = Arc::from(vec![0; MAX_RESULT_BYTES + 1]);
    let report = Report::Succeeded { attempt: attempt_id("a", 1), start_time: Wall(1), result };
    assert_eq!(there_and_back(WorkerToLeader::Report(report)).unwrap_err().field, "finished.result");
}

#[test]
fn a_worker_cannot_say_that_a_worker_was_lost() {
    let failure = Failure::new(FailureReason::WorkerLost, "");
    let report = Report::Failed { attempt: attempt_id("a", 1), start_time: Wall(1), failure };
    assert_eq!(there_and_back(WorkerToLeader::Report(report)).unwrap_err().field, "finished.failure.reason");
}

#[test]
fn an_empty_message_is_refused() {
    let nothing = links::LinkWorkerRequest { message: None };
    assert_eq!(WorkerToLeader::try_from(nothing).unwrap_err().field, "message");
}
