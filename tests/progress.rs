//! Progress through the whole: the document's own lines, and a change of the leader in the middle.

use std::process::Command;

use herdsman::wire::proto::v1::{Task, TaskState, WatchTaskRequest};
use tokio::time::timeout;

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
