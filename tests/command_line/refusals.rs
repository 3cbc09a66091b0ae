//! What cannot be done is said in one line, and in the exit status.

use std::time::{Duration, Instant};

use super::cluster;
use crate::support::process::{Said, herdsman, herdsman_with};

/// The promise for everything that cannot be tried.
const CLEAR_WITHIN: Duration = Duration::from_secs(10);

/// Asserts status 2 and one line that contains `part`, in time.
async fn cannot(arguments: &[&str], part: &str) -> Said {
    let start = Instant::now();
    let said = herdsman(arguments).await;
    assert!(said.one_line(2).contains(part), "{part}: {said:?}");
    assert!(start.elapsed() < CLEAR_WITHIN, "{:?}: {said:?}", start.elapsed());
    assert_eq!(said.text(), "", "nothing on stdout");
    said
}

/// Asserts status 1 and one line that contains `part`.
async fn refused(arguments: &[&str], part: &str) {
    let said = herdsman(arguments).await;
    assert!(said.one_line(1).contains(part), "{part}: {said:?}");
}

/// A port on which nobody listens.
fn dead_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn wrong_options_are_named() {
    cannot(&["submit", "--knd", "x"], "--knd").await;
    cannot(&["submit"], "--kind").await;
    cannot(&["nonsense"], "nonsense").await;
    cannot(&["get"], "TASK_ID").await;
    cannot(&["submit", "--kind", "x", "--label", "novalue"], "KEY=VALUE").await;
    cannot(&["submit", "--kind", "x", "--priority", "10"], "--priority").await;
    cannot(&["submit", "--kind", "x", "--payload", "a", "--payload-file", "b"], "--payload-file").await;
    cannot(&["submit", "--kind", "x", "--count", "0"], "--count").await;
    cannot(&["list", "--state", "tired"], "tired").await;
    cannot(&["list", "--server", "https://127.0.0.1:7070"], "https").await;
    cannot(&["master"], "--zookeeper").await;
    cannot(&["master", "--output", "json"], "--output").await;
    cannot(&["worker", "--zookeeper", "127.0.0.1:1", "--id", "../x"], "--id").await;
    cannot(&["worker", "--zookeeper", "127.0.0.1:1", "--session-timeout", "soon"], "--session-timeout").await;
    for label in ["Zone=A", "=a", &format!("zone={}", "a".repeat(256))] {
        cannot(&["worker", "--zookeeper", "127.0.0.1:1", "--label", label], "--label").await;
    }
    let labels: Vec<_> = (0..33).flat_map(|n| ["--label".to_owned(), format!("l{n}=x")]).collect();
    let labels: Vec<_> = labels.iter().map(String::as_str).collect();
    cannot(&[&["worker", "--zookeeper", "127.0.0.1:1"], &labels[..]].concat(), "--label").await;
    for slots in ["0", "1001"] {
        cannot(&["worker", "--zookeeper", "127.0.0.1:1", "--slots", slots], "--slots").await;
        cannot(&["dev", "--in-memory", "--slots", slots], "--slots").await;
    }
    cannot(&["dev", "--listen", "nowhere"], "--listen").await;
    cannot(&["dev", "--in-memory", "--data-dir", "/tmp"], "--data-dir").await;
}

#[tokio::test]
async fn options_of_a_bench_that_do_not_fit_are_named() {
    for (options, named) in [
        (&["--limit"][..], "--zookeeper"),
        (&["--rate", "0"], "--rate"),
        (&["--rate", "10", "--outstanding", "5"], "--outstanding"),
        (&["--rate", "10", "--next-after", "end"], "--next-after"),
        (&["--outstanding", "0"], "--outstanding"),
        (&["--tasks", "5", "--for", "1s"], "--for"),
        (&["--for", "soon"], "--for"),
        (&["--mode", "many"], "--mode"),
        (&["--batch", "10"], "--batch"),
        (&["--mode", "batch", "--batch", "1001"], "--batch"),
        (&["--mode", "batch", "--batch", "1000", "--payload", "65536"], "--batch"),
        (&["--payload", "65537"], "--payload"),
        (&["--payload", "64", "--text", "250ms"], "--text"),
        (&["--watch", "all"], "--watch"),
        (&["--label", "novalue"], "--label"),
        (&["--rounds", "0"], "--rounds"),
        (&["--server", "nowhere"], "--server"),
    ] {
        cannot(&[&["bench"], options].concat(), named).await;
    }
}

#[tokio::test]
async fn an_environment_variable_is_an_option_and_a_wrong_one_is_named() {
    let said = herdsman_with(&["list"], &[("HERDSMAN_SERVER", "nowhere")], b"").await;
    assert!(said.one_line(2).contains("HOST:PORT"), "{said:?}");
    let said = herdsman_with(&["dev", "--in-memory"], &[("HERDSMAN_LOG", "a=b=c")], b"").await;
    assert!(said.one_line(2).contains("HERDSMAN_LOG"), "{said:?}");
}

#[tokio::test]
async fn nobody_there_is_said_in_time() {
    let server = format!("http://127.0.0.1:{}", dead_port());
    for verb in [
        &["list"][..],
        &["get", "x"],
        &["watch", "x"],
        &["cancel", "x"],
        &["workers"],
        &["cluster"],
        &["bench"],
        &["submit", "--kind", "x"],
        &["submit", "--kind", "x", "--count", "10"],
    ] {
        cannot(&[verb, &["--server", &server]].concat(), "refused").await;
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_in_time() {
    // Accepts by its backlog, and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", silent.local_addr().unwrap());
    cannot(&["list", "--server", &server], "herdsman: ").await;
}

#[tokio::test]
async fn a_cluster_that_hangs_is_given_up_in_time_and_asked_again_with_success() {
    let cluster = cluster(&[]).await;
    let server = cluster.url();
    herdsman(&["submit", "--server", &server, "--kind", "noop", "--watch"]).await.well();
    cluster.pause();
    cannot(&["cluster", "--server", &server], "herdsman: ").await;
    cluster.go_on();
    herdsman(&["cluster", "--server", &server]).await.well();
}

#[tokio::test]
async fn a_zookeeper_that_is_not_there_is_said_in_time() {
    let zookeeper = format!("127.0.0.1:{}", dead_port());
    for role in ["master", "worker", "client"] {
        cannot(&[role, "--zookeeper", &zookeeper, "--listen", "127.0.0.1:0"], &zookeeper).await;
    }
    cannot(&["inspect", "--zookeeper", &zookeeper], &zookeeper).await;
    cannot(&["bench", "--limit", "--zookeeper", &zookeeper], &zookeeper).await;
}

#[tokio::test]
async fn a_taken_port_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    cannot(&["dev", "--in-memory", "--listen", &address], &address).await;
    cannot(&["dev", "--in-memory", "--demo", "--listen", &address], &address).await;
    cannot(&["master", "--zookeeper", "127.0.0.1:1", "--listen", &address], &address).await;
}

#[tokio::test]
async fn an_address_that_others_reach_needs_a_word() {
    cannot(&["dev", "--in-memory", "--listen", "0.0.0.0:0"], "--insecure").await;
    cannot(&["client", "--zookeeper", "127.0.0.1:1", "--listen", "0.0.0.0:0"], "--insecure").await;
}

#[tokio::test]
async fn a_broken_handlers_file_is_said_with_its_place() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    for (text, part) in [
        ("[handlers.x", "line 1"),
        ("", "handlers"),
        ("[handlers.x]\nprogram = \"relative\"", "handlers.x"),
        ("[handlers.x]\nprogram = \"/no/such/program\"", "/no/such/program"),
        ("[handlers.x]\nprogram = \"/bin/true\"\nshell = true", "shell"),
    ] {
        std::fs::write(path, text).unwrap();
        let said = cannot(&["dev", "--in-memory", "--listen", "127.0.0.1:0", "--handlers", path], part).await;
        assert!(said.stderr.contains(path), "{said:?}");
    }
    cannot(&["worker", "--zookeeper", "127.0.0.1:1", "--handlers", "/no/such/file"], "/no/such/file").await;
}

#[tokio::test]
async fn a_data_directory_has_one_process_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let arguments = ["dev", "--data-dir", path, "--listen", "127.0.0.1:0"];
    let _first = crate::support::process::Role::start(&arguments).await;
    cannot(&arguments, path).await;
}

#[tokio::test]
async fn what_the_server_refuses_is_said_with_its_code() {
    let cluster = cluster(&[]).await;
    let server = cluster.url();
    let at = |arguments: &[&'static str]| [arguments, &["--server", &server]].concat().join("\n");
    for (arguments, part) in [
        (&["get", "unknown"][..], "NOT_FOUND"),
        (&["watch", "unknown"], "NOT_FOUND"),
        (&["cancel", "unknown"], "NOT_FOUND"),
        (&["get", "../x"], "INVALID_ARGUMENT"),
        (&["submit", "--kind", "Not A Kind"], "spec.kind"),
        (&["submit", "--kind", "echo", "--task-id", "x/y"], "task_id"),
        (&["list", "--queue", "UPPER"], "queues"),
    ] {
        refused(&at(arguments).split('\n').collect::<Vec<_>>(), part).await;
    }
    herdsman(&["submit", "--server", &server, "--kind", "echo", "--task-id", "t", "--watch"]).await.well();
    refused(&["submit", "--server", &server, "--kind", "noop", "--task-id", "t"], "ALREADY_EXISTS").await;
    refused(&["cancel", "--server", &server, "t"], "FAILED_PRECONDITION").await;
}

#[tokio::test]
async fn a_payload_that_is_too_large_is_said_before_anything_is_sent() {
    let arguments = ["submit", "--kind", "echo", "--payload-file", "-"];
    let said = herdsman_with(&arguments, &[], &vec![0; 65_537]).await;
    assert!(said.one_line(2).contains("65536"), "{said:?}");
}
