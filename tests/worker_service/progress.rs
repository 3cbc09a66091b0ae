//! What handlers say of their attempts, as a leader hears it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use herdsman::{
    domain::{Fraction, Progress, Report},
    wire::LeaderToWorker,
    worker::{
        guard::Guard,
        handler::{Attempt, Handler, HandlerError, Handlers},
        handlers,
    },
};
use tokio::{sync::Semaphore, time::Instant};

use super::link::{Line, Scene, id};
use crate::support::scripts::{self, Script};

/// As `worker::crew::PROGRESS_PACE`.
const PACE: Duration = Duration::from_millis(500);

/// Says that it is half done, then each time that the test wants it that it is further.
struct Steps(Arc<Semaphore>);

#[async_trait]
impl Handler for Steps {
    async fn run(&self, attempt: Attempt) -> Result<Bytes, HandlerError> {
        let mut percent = 50;
        loop {
            attempt.progress(Progress::new(f64::from(percent) / 100.0).message("step").detail("percent", percent));
            tokio::select! {
                step = self.0.acquire() => step.unwrap().forget(),
                () = attempt.cancelled.cancelled() => return Ok(Bytes::new()),
            }
            percent += 10;
        }
    }
}

/// Says that it is further as often as it can, until it is cancelled.
struct Flood;

#[async_trait]
impl Handler for Flood {
    async fn run(&self, attempt: Attempt) -> Result<Bytes, HandlerError> {
        let mut said = 0;
        while !attempt.cancelled.is_cancelled() {
            said += 1;
            attempt.progress(Progress::default().detail("said", said));
            attempt.heartbeat();
            tokio::task::yield_now().await;
        }
        Ok(Bytes::new())
    }
}

fn handlers() -> (Handlers, Arc<Semaphore>) {
    let step = Arc::new(Semaphore::new(0));
    let handlers =
        Handlers::default().with("steps".parse().unwrap(), Steps(step.clone())).with("flood".parse().unwrap(), Flood);
    (handlers, step)
}

impl Line {
    /// Passes over what is not new, and returns what is.
    async fn progress(&mut self) -> Arc<Progress> {
        loop {
            match self.report().await {
                Report::Progress { progress: Some(progress), .. } => return progress,
                Report::Started { .. } | Report::Progress { .. } => {}
                report => panic!("expected progress, got {report:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_rust_handler_s_progress_reaches_the_leader_and_the_next_one() {
    let (handlers, step) = handlers();
    let (mut scene, mut line) = Scene::linked_with(handlers).await;
    line.assign("s", "steps", b"");
    assert!(matches!(line.report().await, Report::Started { .. }), "the start comes first");
    let progress = line.progress().await;
    assert_eq!(progress.fraction.map(Fraction::get), Some(0.5));
    assert_eq!((&*progress.message, progress.details["percent"].as_str()), ("step", "50"));
    step.add_permits(1);
    let sixty = line.progress().await;
    assert_eq!(sixty.fraction.map(Fraction::get), Some(0.6));
    assert!(sixty.update_time > progress.update_time);
    drop(line);
    let (mut line, hello) = scene.line().await;
    assert_eq!(hello.running[0].progress, Some(sixty), "the last is in the hello");
    line.tell(LeaderToWorker::Welcome(scene.leadership.term()));
    step.add_permits(1);
    assert_eq!(line.progress().await.fraction.map(Fraction::get), Some(0.7));
}

#[tokio::test]
async fn however_often_a_handler_says_it_the_leader_hears_it_twice_a_second() {
    let (handlers, _) = handlers();
    let (_scene, mut line) = Scene::linked_with(handlers).await;
    line.assign("f", "flood", b"");
    let start = Instant::now();
    let (mut heard, mut said) = (0, 0);
    while heard < 4 {
        let progress = line.progress().await;
        let newest: u64 = progress.details["said"].parse().unwrap();
        assert!(newest > said);
        (heard, said) = (heard + 1, newest);
    }
    assert!(start.elapsed() >= 3 * PACE, "not before its time");
    assert!(said > 4, "what came between was left out");
}

#[tokio::test]
async fn a_program_that_writes_as_fast_as_it_can_is_heard_to_its_last_line() {
    let script = Script::new(
        "echo '{bad' >&$HERDSMAN_PROGRESS_FD; i=0; while [ $i -lt 10000 ]; do i=$((i + 1)); echo \"{\\\"fraction\\\": 0.5, \\\"details\\\": {\\\"i\\\": $i}}\"; \
         done >&$HERDSMAN_PROGRESS_FD; until_told go; echo last; \
         printf '99%% last' >&$HERDSMAN_PROGRESS_FD; until_told end",
    );
    let file = scripts::Handlers::new();
    let handlers = handlers::load(file.file().as_ref(), &Guard::program(env!("CARGO_BIN_EXE_herdsman"))).unwrap();
    let (scene, mut line) = Scene::linked_with(handlers).await;
    line.assign("p", "script", script.payload().as_bytes());
    let start = Instant::now();
    let mut heard = 0;
    loop {
        heard += 1;
        let progress = line.progress().await;
        if progress.details["i"] == "10000" {
            break;
        }
    }
    assert!(heard <= 1 + start.elapsed().as_millis() / PACE.as_millis(), "{heard} in {:?}", start.elapsed());
    script.tell("go");
    script.tell("end");
    let Report::Succeeded { attempt, result, .. } = line.end().await else { panic!("a bad line fails nothing") };
    assert_eq!((attempt, &*result), (id("p"), &b"last\n"[..]));
    let metrics = scene.metrics().await;
    assert!(metrics.contains("herdsman_worker_invalid_progress_lines_total 1"), "{metrics}");
}
