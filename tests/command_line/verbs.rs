//! Verbs that do what was asked for.

use std::{io::Write, process::Stdio, time::Duration};

use super::cluster;
use crate::support::{
    eventually,
    process::{Role, herdsman, herdsman_with},
};

const LIMIT: Duration = Duration::from_mins(1);

const VERBS: [&str; 23] = [
    "dev",
    "master",
    "worker",
    "client",
    "submit",
    "watch",
    "logs",
    "get",
    "explain",
    "list",
    "cancel",
    "retry",
    "delete",
    "workers",
    "drain",
    "undrain",
    "queues",
    "queue",
    "cluster",
    "bench",
    "inspect",
    "health",
    "completions",
];

#[tokio::test]
async fn every_verb_explains_itself() {
    let overview = herdsman(&["--help"]).await.well();
    for verb in VERBS {
        assert!(overview.text().contains(&format!("\n  {verb} ")), "{verb} is not in the overview");
        let help = herdsman(&[verb, "--help"]).await.well();
        assert!(help.text().contains("Usage: herdsman"), "{help:?}");
    }
    for verb in [
        "dev", "worker", "submit", "watch", "logs", "explain", "list", "cancel", "retry", "delete", "drain", "queue",
        "bench", "inspect", "health",
    ] {
        let help = herdsman(&[verb, "--help"]).await.well();
        assert!(help.text().contains("\nExamples:\n"), "{verb} has no examples: {help:?}");
    }
    let nothing = herdsman(&[]).await;
    assert_eq!(nothing.status, Some(2), "{nothing:?}");
    assert!(nothing.stderr.contains("Usage: herdsman"), "{nothing:?}");
}

#[tokio::test]
async fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let script = herdsman(&["completions", shell]).await.well();
        assert!(script.text().contains("payload-lines"), "{shell}: {script:?}");
    }
}

#[tokio::test]
async fn the_result_of_a_watched_task_is_on_stdout_byte_for_byte() {
    let cluster = cluster(&[]).await;
    let server = cluster.url();
    let said = herdsman(&["submit", "--server", &server, "--kind", "echo", "--payload", "hi", "--watch"]).await.well();
    assert_eq!(said.stdout, b"hi");
    assert!(said.stderr.contains("SUCCEEDED"), "{said:?}");

    let binary = [0, 255, b'\n', 128, 0];
    let arguments = ["submit", "--kind", "echo", "--payload-file", "-", "--watch"];
    let said = herdsman_with(&arguments, &[("HERDSMAN_SERVER", &server)], &binary).await.well();
    assert_eq!(said.stdout, binary);
}

#[tokio::test]
async fn a_submit_says_the_id_and_the_id_leads_to_the_task() {
    let cluster = cluster(&[]).await;
    let server = cluster.url();
    let submit = ["submit", "--server", &server, "--kind", "echo", "--payload", "some text", "--label", "owner=ada"];
    let said = herdsman(&submit).await.well();
    let id = said.text().trim();
    assert_eq!(herdsman(&["watch", "--server", &server, id]).await.well().stdout, b"some text");

    let shown = herdsman(&["get", "--server", &server, id]).await.well();
    for part in [id, "SUCCEEDED", "some text", "owner=ada", "\nfence "] {
        assert!(shown.text().contains(part), "{part}: {shown:?}");
    }
    let object = &herdsman(&["get", "--server", &server, "--output", "json", id]).await.well().objects()[0];
    assert_eq!(object["taskId"], id);
    assert_eq!(object["state"], "TASK_STATE_SUCCEEDED");
    assert_eq!(object["spec"]["payload"], "c29tZSB0ZXh0");
    assert_eq!(object["result"], object["spec"]["payload"]);
    assert!(object["createTime"].as_str().unwrap().ends_with('Z'), "{object}");
}

#[tokio::test]
async fn the_same_submit_again_is_the_same_task() {
    let cluster = cluster(&[]).await;
    let server = cluster.url();
    let submit = ["submit", "--server", &server, "--kind", "echo", "--task-id", "twice", "--payload", "x"];
    for _ in 0..2 {
        assert_eq!(herdsman(&submit).await.well().text(), "twice\n");
    }
    assert_eq!(herdsman(&["list", "--server", &server, "--output", "json"]).await.well().objects().len(), 1);
}

#[tokio::test]
async fn a_file_of_lines_is_a_task_a_line() {
    let cluster = cluster(&[]).await;
    let server = cluster.url();
    let arguments =
        ["submit", "--server", &server, "--kind", "echo", "--payload-lines", "-", "--task-id", "line", "--watch"];
    let said = herdsman_with(&arguments, &[], b"one\n\ntwo words\nthree").await.well();
    let mut lines: Vec<_> = said.text().lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["line-1 SUCCEEDED one", "line-2 SUCCEEDED two words", "line-3 SUCCEEDED three"]);
    assert!(said.stderr.contains("3 submitted, 3 succeeded"), "{said:?}");
}

#[tokio::test]
async fn many_tasks_are_submitted_and_watched_to_the_last() {
    let cluster = cluster(&["--slots", "64"]).await;
    let server = cluster.url();
    let arguments = ["submit", "--server", &server, "--kind", "noop", "--count", "1234", "--watch"];
    let said = herdsman(&arguments).await.well();
    assert_eq!(said.text().lines().filter(|line| line.ends_with(" SUCCEEDED")).count(), 1_234);

    let listed = herdsman(&["list", "--server", &server, "--limit", "1200", "--output", "json"]).await.well();
    assert_eq!(listed.objects().len(), 1_200, "pages through to the limit and no further");
    assert!(listed.stderr.contains("--limit"), "says that there are more: {listed:?}");
    let all = herdsman(&["list", "--server", &server, "--limit", "5000", "--output", "json"]).await.well();
    assert_eq!(all.objects().len(), 1_234);
    assert_eq!(all.stderr, "");
}

#[tokio::test]
async fn what_failed_is_retried_and_deleted_by_a_filter() {
    let cluster = cluster(&[]).await;
    let server = cluster.url();
    for (id, payload) in [("bad", "a while"), ("good", "1ms")] {
        herdsman(&["submit", "--server", &server, "--kind", "sleep", "--task-id", id, "--payload", payload])
            .await
            .well();
        herdsman(&["watch", "--server", &server, id]).await;
    }
    let said = herdsman(&["retry", "--server", &server, "--state", "failed", "--ended-from", "1h"]).await.well();
    assert_eq!(said.text(), "bad.r1 retries bad\n");
    herdsman(&["watch", "--server", &server, "bad.r1"]).await;
    let said = herdsman(&["retry", "--server", &server, "good", "--new-id", "better"]).await.well();
    assert_eq!(said.text(), "better retries good\n");
    let shown = herdsman(&["get", "--server", &server, "better"]).await.well();
    assert!(shown.text().contains("retry of"), "{shown:?}");

    let said = herdsman(&["delete", "--server", &server, "--reason", "handler"]).await.well();
    assert_eq!(said.text(), "bad deleted\nbad.r1 deleted\n");
    let said = herdsman(&["delete", "--server", &server, "bad", "good"]).await;
    assert_eq!((said.status, said.text()), (Some(1), "good deleted\n"), "{said:?}");
    assert!(said.stderr.contains("bad") && said.stderr.contains("NOT_FOUND"), "{said:?}");
    for wrong in [&["delete"][..], &["delete", "a", "--state", "failed"], &["retry", "a", "b", "--new-id", "c"]] {
        assert_eq!(herdsman(&[wrong, &["--server", &server]].concat()).await.status, Some(2), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_list_shows_what_the_filter_says() {
    let cluster = cluster(&[]).await;
    let server = cluster.url();
    for (id, kind, label) in [("a", "echo", "n=1"), ("b", "echo", "n=2"), ("c", "nobody-serves-this", "n=1")] {
        let arguments = ["submit", "--server", &server, "--kind", kind, "--task-id", id, "--label", label];
        herdsman(&arguments).await.well();
    }
    herdsman(&["watch", "--server", &server, "a", "b"]).await.well();
    let ids = async |filter: &[&str]| {
        let arguments = [&["list", "--server", &server, "--output", "json"], filter].concat();
        let objects = herdsman(&arguments).await.well().objects();
        objects.iter().map(|object| object["taskId"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&[]).await, ["a", "b", "c"]);
    assert_eq!(ids(&["--state", "pending"]).await, ["c"]);
    assert_eq!(ids(&["--state", "pending,SUCCEEDED", "--label", "n=1"]).await, ["a", "c"]);
    assert_eq!(ids(&["--kind", "echo", "--limit", "1"]).await, ["a"]);
    assert_eq!(ids(&["--queue", "another"]).await, [""; 0]);

    let table = herdsman(&["list", "--server", &server]).await.well();
    let rows: Vec<_> = table.text().lines().collect();
    assert_eq!(rows.len(), 4, "{table:?}");
    assert!(rows[0].starts_with("TASK ") && rows[3].contains("PENDING"), "{table:?}");
}

#[tokio::test]
async fn workers_and_cluster_say_what_is_there() {
    let cluster = cluster(&["--slots", "3"]).await;
    let server = cluster.url();
    herdsman(&["submit", "--server", &server, "--kind", "noop", "--watch"]).await.well();
    let workers = herdsman(&["workers", "--server", &server, "--output", "json"]).await.well().objects();
    assert_eq!(workers.len(), 1);
    assert_eq!(workers[0]["slotCount"], 3);
    assert_eq!(workers[0]["state"], "WORKER_STATE_READY");
    assert!(workers[0]["kinds"].as_array().unwrap().iter().any(|kind| kind == "echo"), "{workers:?}");
    let state = &herdsman(&["cluster", "--server", &server, "--output", "json"]).await.well().objects()[0];
    assert_eq!((&state["tasks"]["succeeded"], &state["tasks"]["failed"]), (&"1".into(), &"0".into()), "zeros too");
    for verb in ["workers", "cluster"] {
        let said = herdsman(&[verb, "--server", &server]).await.well();
        assert!(said.text().lines().count() > 1, "{said:?}");
    }
}

#[tokio::test]
async fn queues_are_paused_set_and_shown_and_a_restart_keeps_what_holds() {
    let directory = tempfile::tempdir().unwrap();
    let dev = ["dev", "--data-dir", directory.path().to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let mut cluster = Role::start(&dev).await;
    let server = cluster.url();
    let paused = herdsman(&["queue", "pause", "--server", &server, "default"]).await.well();
    assert!(paused.text().lines().nth(1).is_some_and(|line| line.starts_with("default  PAUSED")), "{paused:?}");
    let set = ["queue", "set", "--server", &server, "mail", "--weight", "3", "--max-starts-per-second", "0.5"];
    let set = herdsman(&[&set[..], &["--max-running", "10", "--max-pending", "1000"]].concat()).await.well();
    let row: Vec<_> = set.text().lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert_eq!(row, ["mail", "OPEN", "0", "0", "0", "3", "10", "0.5/s", "1000"]);
    herdsman(&["submit", "--server", &server, "--kind", "noop", "--task-id", "waits"]).await.well();
    cluster.terminate();
    assert!(cluster.ended(LIMIT).await.success());

    let cluster = Role::start(&dev).await;
    let server = cluster.url();
    let queues = herdsman(&["queues", "--server", &server, "--output", "json"]).await.well().objects();
    let told: Vec<_> =
        queues.iter().map(|queue| [&queue["name"], &queue["state"], &queue["tasks"]["pending"]]).collect();
    assert_eq!(told, [["default", "QUEUE_STATE_PAUSED", "1"], ["mail", "QUEUE_STATE_OPEN", "0"]]);
    assert_eq!(queues[1]["settings"]["maxStartsPerSecond"], 0.5);
    herdsman(&["queue", "resume", "--server", &server, "default"]).await.well();
    herdsman(&["watch", "--server", &server, "waits"]).await.well();
    let shown = herdsman(&["queues", "--server", &server]).await.well();
    assert_eq!(shown.text().lines().count(), 3, "{shown:?}");
    let nothing = herdsman(&["queue", "set", "--server", &server, "mail"]).await;
    assert!(nothing.one_line(2).contains("--weight"), "{nothing:?}");
    let wrong = herdsman(&["queue", "set", "--server", &server, "mail", "--weight", "0"]).await;
    assert!(wrong.one_line(1).contains("weight: must be 1 to 1000"), "{wrong:?}");
}

#[tokio::test]
async fn health_is_an_exit_status() {
    let cluster = cluster(&[]).await;
    let server = cluster.url();
    eventually("it has a leader", LIMIT, async || {
        let said = herdsman(&["health", "--server", &server]).await;
        let (status, word) = if said.status == Some(0) { (0, "SERVING\n") } else { (1, "NOT_SERVING\n") };
        assert_eq!((said.status, said.text()), (Some(status), word), "{said:?}");
        (status == 0).then_some(())
    })
    .await;
    let unknown = herdsman(&["health", "--server", &server, "--service", "no.such.Service"]).await;
    assert!(unknown.one_line(1).contains("NOT_FOUND"), "{unknown:?}");
    drop(cluster);
    let gone = herdsman(&["health", "--server", &server]).await;
    assert!(gone.one_line(1).contains("refused"), "nobody there is an answer: {gone:?}");
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_error_to_tell() {
    let cluster = cluster(&[]).await;
    let server = cluster.url();
    herdsman(&["submit", "--server", &server, "--kind", "noop", "--count", "50", "--task-id", "x"]).await.well();
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", r#""$0" list --server "$1" | true; echo "status ${PIPESTATUS[0]}""#]);
    shell.args([env!("CARGO_BIN_EXE_herdsman"), &server]).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || shell.output().unwrap()).await.unwrap();
    std::io::stderr().write_all(&output.stderr).unwrap();
    assert!(output.stderr.is_empty(), "quiet");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("status 141") || said.contains("status 0"), "no panic: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_returns_when_the_worker_is_empty() {
    let cluster = cluster(&[]).await;
    let server = cluster.url();
    let submit = ["submit", "--server", &server, "--kind", "sleep", "--task-id", "runs", "--payload", "1h"];
    herdsman(&submit).await.well();
    let running = async || {
        let shown = herdsman(&["get", "--server", &server, "runs"]).await.well();
        shown.text().contains("RUNNING").then_some(())
    };
    eventually("the task runs", LIMIT, running).await;
    let drained = herdsman(&["drain", "--server", &server, "dev", "--output", "json"]).await.well();
    assert_eq!(drained.objects()[0]["state"], "WORKER_STATE_DRAINING");
    let mut waits = std::process::Command::new(env!("CARGO_BIN_EXE_herdsman"));
    waits.args(["drain", "--server", &server, "dev", "--wait"]);
    let mut child = waits.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    assert_eq!(line, "worker dev holds 1 attempt\n");
    assert_eq!(child.try_wait().unwrap(), None);
    herdsman(&["cancel", "--server", &server, "runs"]).await.well();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("DRAINED"), "{output:?}");
    let shown = herdsman(&["undrain", "--server", &server, "dev"]).await.well();
    assert!(shown.text().contains("READY"), "{shown:?}");
    let unknown = herdsman(&["drain", "--server", &server, "dve"]).await;
    assert_eq!(unknown.status, Some(1));
    assert_eq!(unknown.stderr, "herdsman: worker dve: there is no such worker (NOT_FOUND)\n");
}
