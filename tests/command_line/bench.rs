//! `bench` measures what is there, says what is wrong, and ends.

use serde_json::Value;

use super::cluster;
use crate::support::{process::herdsman, zookeeper};

/// Runs a bench with `--output json`, well, and gives its one object.
async fn report(arguments: &[&str]) -> Value {
    let said = herdsman(&[&["bench", "--output", "json"], arguments].concat()).await.well();
    let mut objects = said.objects();
    assert_eq!(objects.len(), 1, "{said:?}");
    objects.remove(0)
}

fn number(object: &Value, name: &str) -> f64 {
    object[name].as_f64().unwrap_or_else(|| panic!("{name} is not a number in {object}"))
}

#[tokio::test]
async fn a_bench_submits_what_it_was_told_and_counts_every_end() {
    let cluster = cluster(&["--slots", "64"]).await;
    let server = cluster.url();
    for (pace, mode, calls) in [
        (&["--mode", "batch", "--batch", "70"][..], "batch", 70),
        (&["--outstanding", "20", "--next-after", "end"], "unary", 1),
        (&["--rate", "1000"], "unary", 1),
        (&["--rate", "1000", "--mode", "batch", "--batch", "70", "--connections", "3"], "batch", 70),
    ] {
        let report = report(&[&["--server", &server, "--tasks", "230", "--label", "who=ada"], pace].concat()).await;
        assert!(number(&report, "completed_per_s") > 0.0, "{report}");
        assert!(number(&report, "end_p50_ms") <= number(&report, "end_p99_ms"), "{report}");
        assert_eq!(report["cluster"]["slots"], 64, "{report}");
        assert_eq!((&report["work"]["mode"], &report["work"]["batch"]), (&mode.into(), &calls.into()), "{report}");
        let tasks = &report["rounds"][0]["tasks"];
        for what in ["submitted", "accepted", "succeeded"] {
            assert_eq!(tasks[what], 230, "{what}: {report}");
        }
        // The tasks are where the report says, and the first one, by which the bench sees that all is well, with them.
        let label = format!("bench={}-1", report["run"].as_str().unwrap());
        let list = [
            "list", "--server", &server, "--limit", "1000", "--label", &label, "--label", "who=ada", "--output", "json",
        ];
        assert_eq!(herdsman(&list).await.well().objects().len(), 231);
    }
}

#[tokio::test]
async fn a_bench_for_a_time_ends_when_all_that_it_submitted_has_ended() {
    let cluster = cluster(&["--slots", "64"]).await;
    let report = report(&["--server", &cluster.url(), "--for", "200ms", "--rounds", "2", "--outstanding", "4"]).await;
    for round in report["rounds"].as_array().unwrap() {
        assert!(number(&round["tasks"], "succeeded") > 0.0, "{report}");
        assert_eq!(round["tasks"]["submitted"], round["tasks"]["succeeded"], "{report}");
    }
    assert_eq!(report["rounds"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_bench_can_watch_each_task_by_a_stream_of_its_own() {
    let cluster = cluster(&["--slots", "64"]).await;
    let sleeping = ["--kind", "sleep", "--text", "20ms", "--watch", "each", "--tasks", "50"];
    let report = report(&[&["--server", &cluster.url()], &sleeping[..]].concat()).await;
    assert_eq!(report["rounds"][0]["tasks"]["succeeded"], 50, "{report}");
    assert!(number(&report, "end_p50_ms") >= 20.0, "{report}");
    assert!(number(&report, "push_p99_ms") < number(&report, "end_p99_ms"), "{report}");
}

#[tokio::test]
async fn a_bench_that_watches_nothing_measures_the_submits_alone() {
    let cluster = cluster(&[]).await;
    let server = cluster.url();
    let alone = ["--watch", "none", "--kind", "nobody-serves-this", "--mode", "batch", "--tasks", "700"];
    let report = report(&[&["--server", &server], &alone[..]].concat()).await;
    assert!(number(&report, "accepted_per_s") > 0.0, "{report}");
    assert!(report.get("completed_per_s").is_none() && report["rounds"][0].get("end_ms").is_none(), "{report}");
    let pending = ["list", "--server", &server, "--state", "pending", "--limit", "1000", "--output", "json"];
    assert_eq!(herdsman(&pending).await.well().objects().len(), 700);
}

#[tokio::test]
async fn the_limit_of_the_store_is_measured_in_turn_with_the_cluster() {
    let cluster = cluster(&["--slots", "64"]).await;
    let place = format!("{}{}", zookeeper::shared().address(), zookeeper::fresh_chroot());
    let arguments =
        ["--limit", "--zookeeper", &place, "--tasks", "250", "--mode", "batch", "--rounds", "3", "--latencies", "20"];
    let report = report(&[&arguments[..], &["--server", &cluster.url()]].concat()).await;
    for name in ["limit_per_s", "completed_per_s", "create_p50_ms", "create_p99_ms", "unloaded_end_p50_ms"] {
        assert!(number(&report, name) > 0.0, "{name}: {report}");
    }
    let of_rounds = |name: &str| {
        let mut all: Vec<_> = report["rounds"].as_array().unwrap().iter().map(|round| number(round, name)).collect();
        all.sort_unstable_by(f64::total_cmp);
        all
    };
    for round in report["rounds"].as_array().unwrap() {
        let ratio = number(round, "completed_per_s") / number(round, "limit_per_s");
        assert!((number(round, "ratio") - ratio).abs() < 1e-9, "{report}");
    }
    for name in ["ratio", "limit_per_s", "latency_ratio_p99"] {
        assert!((number(&report, name) - of_rounds(name)[1]).abs() < 1e-9, "the median of {name}: {report}");
    }

    assert_eq!(report["limit_packing"], false, "a node a task, if nothing is said: {report}");

    // The same tree again, of the store alone; nothing is left in it.
    let arguments = [
        "bench",
        "--limit",
        "--zookeeper",
        &place,
        "--tasks",
        "1200",
        "--rounds",
        "1",
        "--latencies",
        "20",
        "--packing",
        "on",
    ];
    let said = herdsman(&arguments).await.well();
    assert!(said.text().contains("limit of the store"), "{said:?}");
    assert!(!said.text().contains("completed"), "{said:?}");
    let tree = format!("{place}-bench");
    let entries = herdsman(&["inspect", "--zookeeper", &tree, "--output", "json"]).await.well().objects();
    let left: Vec<_> =
        entries.iter().filter(|entry| entry["what"] == "task" || entry["what"] == "assignment").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_bench_whose_tasks_nobody_runs_or_that_fail_says_so() {
    let cluster = cluster(&[]).await;
    let server = cluster.url();
    let failing = herdsman(&["bench", "--server", &server, "--kind", "sleep", "--tasks", "3"]).await;
    // The payload of a bench is not a time.
    assert!(failing.one_line(1).contains("FAILED"), "{failing:?}");
    let nobody = herdsman(&["bench", "--server", &server, "--kind", "nobody-serves-this", "--tasks", "3"]).await;
    assert!(nobody.one_line(2).contains("nobody-serves-this"), "{nobody:?}");
}

#[tokio::test]
async fn a_bench_that_is_refused_says_how_often_and_shows_what_it_measured() {
    let cluster = cluster(&["--max-tasks", "100", "--slots", "8"]).await;
    let arguments =
        ["bench", "--server", &cluster.url(), "--tasks", "300", "--mode", "batch", "--batch", "50", "--output", "json"];
    let said = herdsman(&arguments).await;
    assert!(said.one_line(1).contains("RESOURCE_EXHAUSTED"), "{said:?}");
    let tasks = &said.objects()[0]["rounds"][0]["tasks"];
    // One place has the first task.
    assert_eq!((&tasks["succeeded"], &tasks["refused"]["RESOURCE_EXHAUSTED"]), (&99.into(), &201.into()), "{said:?}");
}
