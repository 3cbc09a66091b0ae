//! Progress and output through the whole: the document's own lines, a change of the leader and a lost worker in the middle.

use std::process::Command;

use herdsman::wire::proto::v1::{
    ReadTaskOutputRequest, Task, TaskState, WatchTaskRequest, task_service_client::TaskServiceClient,
};
use tokio::time::timeout;
use tonic::{Code, transport::Channel};

use crate::support::{
    cluster::{Cluster, LIMIT, ended, get, request, submit},
    eventually,
    process::{HERDSMAN, Role, herdsman},
    scripts::{Handlers, Script},
    zookeeper::{fresh_chroot, shared},
};

/// Stands above the blocks of docs/HANDLERS.md that are used here.
const MARK: &str = "<!-- run by tests/progress.rs -->";

/// The block in this language under the mark.
fn block(language: &str) -> String {
    let document = std::fs::read_to_string("docs/HANDLERS.md").expect("the tests run at the root of the repository");
    let fence = format!("```{language}\n");
    let blocks = document.split(MARK).skip(1).filter_map(|rest| rest.trim_start().strip_prefix(&fence));
    let blocks: Vec<_> = blocks.filter_map(|rest| Some(rest.split_once("```")?.0.to_owned())).collect();
    let [block] = &blocks[..] else { panic!("docs/HANDLERS.md has {} blocks of {language}", blocks.len()) };
    block.clone()
}

#[tokio::test]
async fn the_lines_of_the_document_do_what_they_say() {
    let directory = tempfile::tempdir().unwrap();
    let handlers = directory.path().join("handlers.toml");
    std::fs::write(&handlers, block("toml")).unwrap();
    let handlers = handlers.to_str().unwrap();
    let dev = Role::start(&["dev", "--in-memory", "--listen", "127.0.0.1:0", "--handlers", handlers]).await;
    let script = format!("set -e\nherdsman() {{ \"$HERDSMAN\" \"$@\"; }}\n{}", block("sh"));
    let mut shell = tokio::process::Command::from(Command::new("sh"));
    shell.args(["-c", &script]).env("HERDSMAN", HERDSMAN).env("HERDSMAN_SERVER", dev.url());
    let output = timeout(LIMIT, shell.output()).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {told}", output.status);
    assert!(told.contains("walk-1 RUNNING on dev (attempt 1)\nwalk-1 25% step 1 of 4\n"), "{told}");
    assert!(told.ends_with("walk-1 SUCCEEDED on dev (attempt 1)\n"), "{told}");
    let logged = String::from_utf8_lossy(&output.stdout);
    assert!(logged.ends_with("step 1\nstep 2\nstep 3\nstep 4\n"), "{logged}");
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_go_on_with_the_next_attempt_when_a_worker_is_lost_and_across_a_change_of_the_leader() {
    let script =
        Script::new("echo attempt $HERDSMAN_ATTEMPT >&2; until_told go-$HERDSMAN_ATTEMPT; echo on >&2; until_told end");
    let handlers = Handlers::new();
    let tree = format!("{}{}", shared().address(), fresh_chroot());
    let mut cluster = Cluster::start(tree, 2, 2, &["--handlers", &handlers.file()]).await;
    let tasks = &mut cluster.tasks().await;
    submit(tasks, request("one", "script", &script.payload())).await;
    let following = {
        let server = cluster.clients[0].url();
        tokio::spawn(async move { herdsman(&["logs", "--follow", "--server", &server, "one"]).await })
    };
    let output = async |tasks: &mut TaskServiceClient<Channel>, attempt: i32, expected: &str| {
        eventually(expected, LIMIT, async || {
            let request = ReadTaskOutputRequest { task_id: "one".into(), attempt, ..ReadTaskOutputRequest::default() };
            let mut pieces = tasks.read_task_output(request).await.ok()?.into_inner();
            let mut read = Vec::new();
            while let Ok(Some(piece)) = pieces.message().await {
                read.extend_from_slice(&piece.data);
            }
            (read == expected.as_bytes()).then_some(())
        })
        .await;
    };
    output(tasks, 1, "attempt 1\n").await;
    let leader = cluster.leader().await;
    cluster.masters[leader].kill();
    script.tell("go-1");
    output(tasks, 1, "attempt 1\non\n").await;

    let worker = get(tasks, "one").await.worker_id;
    let worker: usize = worker.trim_start_matches("worker-").parse().unwrap();
    cluster.workers[worker].kill();
    output(tasks, 2, "attempt 2\n").await;
    let lost = ReadTaskOutputRequest { task_id: "one".into(), attempt: 1, ..ReadTaskOutputRequest::default() };
    let lost = tasks.read_task_output(lost).await.unwrap().into_inner().message().await.unwrap_err();
    assert_eq!(lost.code(), Code::NotFound, "{lost:?}");
    script.tell("go-2");
    script.tell("end");
    assert_eq!(ended(tasks, "one").await.attempt, 2);
    let said = following.await.unwrap().well();
    assert_eq!(said.text(), "attempt 1\non\nattempt 2\non\n", "{said:?}");
    assert!(said.stderr.contains("attempt 1 is over"), "{said:?}");
}

#[tokio::test]
async fn logs_say_what_is_wrong_in_one_line() {
    let dev = Role::start(&["dev", "--in-memory", "--listen", "127.0.0.1:0"]).await;
    let server = dev.url();
    let unknown = herdsman(&["logs", "--server", &server, "unknown"]).await;
    assert!(unknown.one_line(1).contains("no such task"), "{unknown:?}");
    herdsman(&["submit", "--server", &server, "--kind", "noop", "--task-id", "quiet", "--watch"]).await.well();
    let quiet = herdsman(&["logs", "--server", &server, "--follow", "quiet"]).await;
    assert!(quiet.one_line(1).contains("nothing is kept of attempt 1"), "{quiet:?}");
}

fn percent(task: &Task) -> Option<f64> {
    task.progress.as_ref()?.fraction.map(|fraction| (fraction * 100.0).round())
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_goes_on_across_a_change_of_the_leader() {
    let script = Script::new(
        "echo 40% >&$HERDSMAN_PROGRESS_FD; until_told go; echo 80% >&$HERDSMAN_PROGRESS_FD; until_told end",
    );
    let handlers = Handlers::new();
    let tree = format!("{}{}", shared().address(), fresh_chroot());
    let mut cluster = Cluster::start(tree, 2, 1, &["--handlers", &handlers.file()]).await;
    let tasks = &mut cluster.tasks().await;
    submit(tasks, request("one", "script", &script.payload())).await;
    let before = eventually("it is at 40%", LIMIT, async || {
        let task = get(tasks, "one").await;
        (percent(&task) == Some(40.0)).then_some(task)
    })
    .await;
    let mut events = tasks
        .watch_task(WatchTaskRequest { task_id: "one".into(), after_revision: before.revision })
        .await
        .unwrap()
        .into_inner();

    let leader = cluster.leader().await;
    cluster.masters[leader].kill();
    let mut last = before.clone();
    while !(last.revision > before.revision && percent(&last) == Some(40.0)) {
        let event = timeout(LIMIT, events.message()).await.unwrap().unwrap().expect("it still runs");
        last = event.task.unwrap();
    }
    assert_eq!((last.attempt, last.state()), (1, TaskState::Running), "the worker's hello brought it back");
    script.tell("go");
    while percent(&last) != Some(80.0) {
        last = timeout(LIMIT, events.message()).await.unwrap().unwrap().expect("it still runs").task.unwrap();
    }
    script.tell("end");
    assert_eq!(ended(tasks, "one").await.attempt, 1);
}

#[tokio::test]
async fn a_task_is_shown_with_its_progress() {
    let script = Script::new(
        r#"echo '{"fraction": 0.4, "message": "on", "details": {"done": 4}}' >&$HERDSMAN_PROGRESS_FD; until_told end"#,
    );
    let handlers = Handlers::new();
    let dev = Role::start(&["dev", "--in-memory", "--listen", "127.0.0.1:0", "--handlers", &handlers.file()]).await;
    let server = dev.url();
    let submit =
        ["submit", "--server", &server, "--kind", "script", "--payload", &script.payload(), "--task-id", "one"];
    herdsman(&submit).await.well();
    let shown = eventually("its progress is shown", LIMIT, async || {
        let shown = herdsman(&["get", "--server", &server, "one"]).await.well();
        shown.text().contains("progress").then_some(shown)
    })
    .await;
    assert!(shown.text().contains("40% on (done=4)\n"), "{shown:?}");
    let list = herdsman(&["list", "--server", &server, "--output", "json"]).await.well().objects();
    assert_eq!(list[0]["progress"]["fraction"], 0.4, "{list:?}");
    script.tell("end");
}
