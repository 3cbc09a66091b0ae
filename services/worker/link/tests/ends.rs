//! How attempts, links and workers end, in scenarios.

use std::task::Poll;

use futures::{StreamExt, poll};

use super::*;

#[tokio::test]
async fn a_cancelled_attempt_is_reported_as_stopped() {
    let (_scene, mut line) = Scene::linked(1).await;
    line.start("t", "gate").await;
    line.cancel("t");
    assert_eq!(line.report().await, Report::Stopped { attempt: id("t") });
    line.cancel("t");
    assert_eq!(line.report().await, Report::Stopped { attempt: id("t") }, "until it is acknowledged");
    line.cancel("unknown");
    assert_eq!(line.report().await, Report::Stopped { attempt: id("unknown") });
}

/// An order to run a task's first attempt for so long.
fn within(task_id: &str, kind: &str, limit: Duration) -> Order {
    let Order::Assign { attempt, spec, traceparent } = assignment(task_id, kind, 1) else { panic!("no assignment") };
    let timeouts = Some(Timeouts { start_to_close: Some(limit), ..Timeouts::default() });
    let policy = Some(Box::new(Policy { timeouts, ..Policy::default() }));
    Order::Assign { attempt, spec: Arc::new(TaskSpec { policy, ..(*spec).clone() }), traceparent }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_too_long_is_stopped_and_has_failed() {
    let (_scene, mut line) = Scene::linked(1).await;
    line.order(within("t", "gate", Duration::from_secs(1)));
    assert!(matches!(line.report().await, Report::Started { .. }));
    let Report::Failed { attempt, failure, .. } = line.report().await else { panic!("it has failed") };
    assert_eq!((attempt, failure.timeout), (id("t"), Some(Timeout::StartToClose)));
    assert!(failure.message.contains("of 1s: cancelled"), "what its handler said is told: {failure:?}");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_does_not_stop_holds_its_slot_until_it_has() {
    let (scene, mut line) = Scene::linked(1).await;
    line.order(within("t", "stubborn", Duration::from_secs(1)));
    assert!(matches!(line.report().await, Report::Started { .. }));
    line.assign("u", "gate");
    assert_eq!(line.report().await, Report::GivenBack { attempt: id("u"), started: false });
    tokio::time::sleep(Duration::from_secs(2)).await;
    // The leader has lost its patience.
    line.cancel("t");
    scene.gate.open.add_permits(1);
    assert_eq!(line.report().await, Report::Stopped { attempt: id("t") });
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_ends_in_time_is_as_any_other() {
    let (scene, mut line) = Scene::linked(1).await;
    line.order(within("t", "gate", Duration::from_secs(1)));
    assert!(matches!(line.report().await, Report::Started { .. }));
    scene.gate.open.add_permits(1);
    assert!(matches!(line.report().await, Report::Succeeded { .. }));
}

#[tokio::test]
async fn an_attempt_beyond_the_slots_is_given_back_and_not_held() {
    let (mut scene, mut line) = Scene::linked(1).await;
    line.start("t", "gate").await;
    line.assign("u", "gate");
    assert_eq!(line.report().await, Report::GivenBack { attempt: id("u"), started: false });
    drop(line);
    let (_, hello) = scene.link(1).await;
    assert_eq!((hello.running.len(), hello.reports.len()), (1, 0));
}

#[tokio::test]
async fn an_attempt_of_a_task_that_took_the_id_of_one_whose_attempt_still_runs_is_another_attempt() {
    let (mut scene, mut line) = Scene::linked(2).await;
    line.start("t", "stubborn").await;
    line.cancel("t");
    // Its task was removed, and another one was submitted under its id.
    let younger = AttemptId { fence: Fence(2), ..id("t") };
    line.order(assignment("t", "gate", 2));
    let report = line.report().await;
    assert!(matches!(&report, Report::Started { attempt, .. } if *attempt == younger), "{report:?}");
    drop(line);
    let (mut line, hello) = scene.link(1).await;
    let running: Vec<_> = hello.running.iter().map(|running| &running.attempt).collect();
    assert_eq!(running, [&id("t"), &younger]);
    scene.gate.open.add_permits(2);
    let (first, second) = (line.report().await, line.report().await);
    let stopped = Report::Stopped { attempt: id("t") };
    let other = if first == stopped { &second } else { &first };
    assert!(first == stopped || second == stopped, "{first:?} {second:?}");
    assert!(matches!(other, Report::Succeeded { attempt, .. } if *attempt == younger), "{other:?}");
}

#[tokio::test]
async fn a_kind_without_a_handler_is_given_back() {
    let (_scene, mut line) = Scene::linked(1).await;
    line.assign("t", "unknown");
    assert_eq!(line.report().await, Report::GivenBack { attempt: id("t"), started: false });
}

#[tokio::test]
async fn a_panic_fails_its_own_task_only() {
    let (_scene, mut line) = Scene::linked(2).await;
    line.start("t", "gate").await;
    line.assign("p", "panics");
    let failure = loop {
        match line.report().await {
            Report::Started { .. } => {}
            Report::Failed { failure, .. } => break failure,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(&*failure.message, "the handler panicked: no p");
    line.start("t", "gate").await;
}

#[tokio::test]
async fn results_that_do_not_fit_into_a_hello_follow_the_welcome() {
    const TASKS: usize = 40;
    let (mut scene, mut line) = Scene::linked(40).await;
    for task in 0..TASKS {
        line.assign(&format!("t{task}"), "large");
    }
    let mut finished = 0;
    while finished < TASKS {
        finished += usize::from(matches!(line.report().await, Report::Succeeded { .. }));
    }
    drop(line);
    let (mut line, hello) = scene.link(1).await;
    assert_eq!(hello.reports.len() + hello.running.len(), TASKS, "every attempt is named");
    assert_eq!(hello.reports.len(), 1024 / 64, "1 MiB of them with their results");
    for _ in 0..hello.running.len() {
        let report = line.report().await;
        assert!(matches!(report, Report::Succeeded { .. }));
    }
}

#[tokio::test]
async fn a_draining_worker_takes_nothing_new_and_leaves_when_its_reports_are_acknowledged() {
    let (scene, mut line) = Scene::linked(2).await;
    line.start("t", "gate").await;
    scene.shutdown.cancel();
    assert_eq!(line.next().await, Some(WorkerToLeader::Draining));
    line.assign("u", "gate");
    assert_eq!(line.report().await, Report::GivenBack { attempt: id("u"), started: false });
    line.acknowledge("u");
    scene.gate.open.add_permits(1);
    assert!(succeeded(&line.report().await, "t"));
    line.acknowledge("t");
    assert_eq!(line.next().await, Some(WorkerToLeader::Goodbye));
    assert_eq!(line.next().await, None);
    drop(line);
    assert_eq!(scene.gate.starts.load(Ordering::SeqCst), 1);
    scene.gone().await;
}

#[tokio::test]
async fn what_runs_when_the_drain_time_is_over_is_given_back() {
    let mut scene = Scene::new(1, Duration::from_millis(50));
    scene.lead("a:1", 1);
    let (mut line, _) = scene.link(1).await;
    line.start("t", "gate").await;
    scene.shutdown.cancel();
    assert_eq!(line.next().await, Some(WorkerToLeader::Draining));
    assert_eq!(line.report().await, Report::GivenBack { attempt: id("t"), started: true });
    drop(line);
    // Also to a leader that was not there when it was given back.
    let (mut line, hello) = scene.link(1).await;
    assert!(hello.draining);
    assert_eq!(hello.reports, [Report::GivenBack { attempt: id("t"), started: true }]);
    line.acknowledge("t");
    assert_eq!(line.next().await, Some(WorkerToLeader::Goodbye));
    drop(line);
    scene.gone().await;
}

#[tokio::test]
async fn a_worker_that_nobody_acknowledges_leaves_all_the_same() {
    let mut scene = Scene::new(1, Duration::from_millis(50));
    scene.lead("a:1", 1);
    let (mut line, _) = scene.link(1).await;
    line.start("t", "gate").await;
    scene.leader.send_replace(None);
    drop(line);
    scene.shutdown.cancel();
    scene.gone().await;
}

#[tokio::test]
async fn a_worker_that_leaves_with_a_report_says_no_goodbye() {
    let mut scene = Scene::new(1, Duration::from_millis(50));
    scene.lead("a:1", 1);
    let (mut line, _) = scene.link(1).await;
    line.start("t", "gate").await;
    scene.shutdown.cancel();
    assert_eq!(line.next().await, Some(WorkerToLeader::Draining));
    assert_eq!(line.report().await, Report::GivenBack { attempt: id("t"), started: true });
    // This leader lives and never acknowledges.
    while let Some(said) = line.said.recv().await {
        assert_eq!(said, WorkerToLeader::Heartbeat);
        // It may have left since it spoke.
        let _ = line.tell.try_send(Ok(LeaderToWorker::Heartbeat));
    }
    scene.gone().await;
}

#[tokio::test]
async fn what_is_assigned_after_the_goodbye_is_not_started() {
    let (scene, mut line) = Scene::linked(1).await;
    scene.shutdown.cancel();
    while line.next().await != Some(WorkerToLeader::Goodbye) {}
    line.assign("t", "gate");
    assert_eq!(line.next().await, None);
    drop(line);
    let starts = scene.gate.starts.clone();
    scene.gone().await;
    assert_eq!(starts.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_is_assigned_when_the_stop_is_over_is_not_accepted() {
    let (mut crew, gate, shutdown) = crew(1, SOON);
    shutdown.cancel();
    assert_eq!(crew.step().await, Step::Leave);
    crew.obey(assignment("t", "gate", 1)).unwrap();
    assert!(crew.holds_nothing());
    assert_eq!((crew.next_message(), crew.next_message()), (Some(WorkerToLeader::Draining), None));
    assert_eq!(gate.starts.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_worker_that_leaves_before_it_is_welcome_says_goodbye() {
    let mut scene = Scene::new(1, SOON);
    scene.lead("a:1", 1);
    let mut line = scene.line().await;
    line.hello().await;
    scene.shutdown.cancel();
    assert_eq!(line.next().await, Some(WorkerToLeader::Draining));
    assert_eq!(line.next().await, Some(WorkerToLeader::Goodbye));
    drop(line);
    scene.gone().await;
}

#[tokio::test]
async fn an_idle_worker_leaves_at_once_with_a_leader_or_without() {
    let (scene, mut line) = Scene::linked(1).await;
    scene.shutdown.cancel();
    assert_eq!(line.next().await, Some(WorkerToLeader::Draining));
    assert_eq!(line.next().await, Some(WorkerToLeader::Goodbye));
    drop(line);
    scene.gone().await;

    let alone = Scene::new(1, 2 * SOON);
    alone.shutdown.cancel();
    alone.gone().await;
}

/// A leader that hangs: it may still be dialled, but it never says a word.
struct Hangs {
    accepts: bool,
}

impl Dial for Hangs {
    fn dial(&self, _: &str) -> BoxFuture<'static, Result<(Outgoing, Incoming), LinkError>> {
        if !self.accepts {
            return Box::pin(std::future::pending());
        }
        let outgoing = futures::sink::drain().sink_map_err(|never| -> LinkError { match never {} });
        Box::pin(async { Ok((Pin::from(Box::new(outgoing) as Box<_>), futures::stream::pending().boxed())) })
    }
}

#[tokio::test]
async fn a_leader_that_hangs_is_left_as_soon_as_another_one_is_known() {
    for accepts in [false, true] {
        let hung = Leader { address: "a:1".into(), term: Term(1) };
        let known = watch::Sender::new(Some(hung.clone()));
        let mut link = Link::new(Hangs { accepts }, known.subscribe(), crew(1, SOON).0, watch::Sender::new(None));
        let mut attempt = pin!(link.hold(&hung));
        assert!(poll!(&mut attempt).is_pending());
        known.send_replace(None);
        assert!(poll!(&mut attempt).is_pending(), "no leader is not another");
        known.send_replace(Some(Leader { address: "b:1".into(), term: Term(2) }));
        // Polled once: no time passes.
        let left = poll!(&mut attempt);
        assert_eq!(left, Poll::Ready(Err(LinkError::Succeeded(Term(2)))), "accepts: {accepts}");
    }
}
