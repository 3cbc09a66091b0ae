//! Following a task to its end, whatever happens in between.

use std::time::Duration;

use super::cluster;
use crate::support::{
    eventually,
    process::{Role, herdsman},
};

const LIMIT: Duration = Duration::from_mins(1);

fn handlers(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[tokio::test]
async fn a_task_that_failed_is_status_1_and_says_why() {
    let file = handlers("[handlers.fail]\nprogram = \"/bin/sh\"\nargs = [\"-c\", \"echo no luck >&2; exit 7\"]\n");
    let cluster = cluster(&["--handlers", file.path().to_str().unwrap()]).await;
    let server = cluster.url();
    let said = herdsman(&["submit", "--server", &server, "--kind", "fail", "--task-id", "f", "--watch"]).await;
    assert_eq!(said.status, Some(1), "{said:?}");
    assert_eq!(said.text(), "", "a failure has no result");
    assert!(said.stderr.contains("herdsman: task f FAILED: HANDLER (exit status 7)"), "{said:?}");
    assert!(said.stderr.contains("no luck"), "{said:?}");

    let again = herdsman(&["watch", "--server", &server, "f"]).await;
    assert_eq!(again.status, Some(1), "{again:?}");
    let both = herdsman(&["submit", "--server", &server, "--kind", "fail", "--count", "3", "--watch"]).await;
    assert_eq!(both.status, Some(1), "{both:?}");
    assert!(both.stderr.contains("3 submitted, 0 succeeded, 3 failed"), "{both:?}");
}

#[tokio::test]
async fn a_task_that_is_cancelled_ends_its_watch_with_status_1() {
    let cluster = cluster(&[]).await;
    let server = cluster.url();
    let submit = ["submit", "--server", &server, "--kind", "sleep", "--payload", "1h", "--task-id", "long"];
    herdsman(&submit).await.well();
    let watching = {
        let server = server.clone();
        tokio::spawn(async move { herdsman(&["watch", "--server", &server, "--output", "json", "long"]).await })
    };
    eventually("it runs", LIMIT, async || {
        let task = &herdsman(&["get", "--server", &server, "--output", "json", "long"]).await.well().objects()[0];
        (task["state"] == "TASK_STATE_RUNNING").then_some(())
    })
    .await;
    for _ in 0..2 {
        assert_eq!(herdsman(&["cancel", "--server", &server, "long"]).await.well().text(), "long CANCELLED\n");
    }
    let watched = watching.await.unwrap();
    assert_eq!(watched.status, Some(1), "{watched:?}");
    assert_eq!(watched.objects().last().unwrap()["state"], "TASK_STATE_CANCELLED");
}

#[tokio::test]
async fn json_has_every_state_once_and_the_result_at_the_end() {
    let cluster = cluster(&[]).await;
    let server = cluster.url();
    let submit = ["submit", "--server", &server, "--output", "json", "--kind", "echo", "--payload", "hi", "--watch"];
    let events = herdsman(&submit).await.well().objects();
    let revisions: Vec<u64> = events.iter().map(|e| e["revision"].as_str().unwrap().parse().unwrap()).collect();
    assert!(revisions.is_sorted_by(|earlier, later| earlier < later), "{events:?}");
    let last = events.last().unwrap();
    assert_eq!((last["state"].as_str(), last["result"].as_str()), (Some("TASK_STATE_SUCCEEDED"), Some("aGk=")));
}

#[tokio::test]
async fn a_watch_goes_on_when_everything_was_killed_and_started_again() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let mut first = Role::start(&["dev", "--data-dir", data, "--listen", "127.0.0.1:0"]).await;
    let (server, address) = (first.url(), first.address().to_string());
    for id in ["one", "two"] {
        let submit = ["submit", "--server", &server, "--kind", "sleep", "--payload", "3s", "--task-id", id];
        herdsman(&submit).await.well();
    }
    let watch = |ids: &'static [&'static str]| {
        let server = server.clone();
        tokio::spawn(async move { herdsman(&[&["watch", "--server", &server], ids].concat()).await })
    };
    let (single, several) = (watch(&["one"]), watch(&["one", "two"]));
    eventually("both run", LIMIT, async || {
        let running = herdsman(&["list", "--server", &server, "--state", "running", "--output", "json"]).await.well();
        (running.objects().len() == 2).then_some(())
    })
    .await;
    first.kill();
    let _second = Role::start(&["dev", "--data-dir", data, "--listen", &address]).await;
    single.await.unwrap().well();
    let several = several.await.unwrap().well();
    let mut lines: Vec<_> = several.text().lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["one SUCCEEDED", "two SUCCEEDED"]);
}

#[tokio::test]
async fn a_stop_is_prompt_when_idle_and_at_once_when_asked_twice() {
    let mut idle = cluster(&[]).await;
    idle.terminate();
    assert!(idle.ended(LIMIT).await.success());

    let mut busy = cluster(&[]).await;
    let server = busy.url();
    herdsman(&["submit", "--server", &server, "--kind", "sleep", "--payload", "1h", "--task-id", "long"]).await.well();
    eventually("it runs", LIMIT, async || {
        let task = &herdsman(&["get", "--server", &server, "--output", "json", "long"]).await.well().objects()[0];
        (task["state"] == "TASK_STATE_RUNNING").then_some(())
    })
    .await;
    busy.terminate();
    eventually("the first signal is taken", LIMIT, async || {
        busy.log().iter().any(|line| line.contains("SIGTERM")).then_some(())
    })
    .await;
    busy.terminate();
    assert_eq!(busy.ended(LIMIT).await.code(), Some(130));
}
