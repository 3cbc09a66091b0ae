//! Labels, selectors and whole nodes, over real processes: workers come, change their labels, and leaders die.

use herdsman::wire::proto::v1::{LabelOperator, LabelRequirement, SubmitTaskRequest, TaskSpec, TaskState};
use serde_json::Value;

use crate::support::{
    cluster::{Cluster, LIMIT, ended, get, leader_of, reaches, request, spec, submit, tasks, workers_are_ready},
    eventually,
    process::{Role, herdsman},
    zookeeper::{fresh_chroot, shared},
};

fn in_zone(id: &str, zone: &str) -> SubmitTaskRequest {
    let requirement =
        LabelRequirement { key: "zone".into(), operator: LabelOperator::In.into(), values: vec![zone.into()] };
    let spec = TaskSpec { selector: vec![requirement], ..spec("sleep", "1h") };
    SubmitTaskRequest { task_id: id.into(), spec: Some(spec) }
}

fn labelled(zone: &str) -> [String; 4] {
    ["--label".into(), format!("zone={zone}"), "--slots".into(), "2".into()]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_label_gets_the_worker_that_comes_with_it_whoever_leads() {
    let tree = format!("{}{}", shared().address(), fresh_chroot());
    let (a, b, c) = (labelled("a"), labelled("b"), labelled("c"));
    let options = |labels: &'static [String; 4]| labels.each_ref().map(String::as_str);
    let [a, b, c] = [a, b, c].map(|labels| options(Box::leak(Box::new(labels))));
    let mut cluster = Cluster::start(tree.clone(), 2, 0, &[]).await;
    let here = cluster.add_worker("here", &a).await;
    cluster.workers_are_ready(1).await;
    let mut tasks = cluster.tasks().await;
    for (id, zone) in [("of-a", "a"), ("of-b", "b"), ("of-c", "c")] {
        submit(&mut tasks, in_zone(id, zone)).await;
    }
    assert_eq!(reaches(&mut tasks, "of-a", TaskState::Running).await.worker_id, "here");

    // A worker comes that matches.
    cluster.add_worker("there", &b).await;
    assert_eq!(reaches(&mut tasks, "of-b", TaskState::Running).await.worker_id, "there");
    assert_eq!(get(&mut tasks, "of-c").await.state(), TaskState::Pending);

    // Another leads, and knows what waits for what.
    let leader = cluster.leader().await;
    cluster.masters[leader].kill();
    submit(&mut tasks, in_zone("again", "b")).await;
    assert_eq!(reaches(&mut tasks, "again", TaskState::Running).await.worker_id, "there");
    assert_eq!(get(&mut tasks, "of-c").await.state(), TaskState::Pending);

    // A worker comes back with another label: what it ran is not for it any more, and what waited is.
    cluster.workers[here].kill();
    cluster.restart_worker(here, "here", &c).await;
    assert_eq!(reaches(&mut tasks, "of-c", TaskState::Running).await.worker_id, "here");
    let lost = get(&mut tasks, "of-a").await;
    assert_eq!((lost.state(), lost.attempt), (TaskState::Pending, 1));

    // The store shows what is required.
    let said = herdsman(&["inspect", "--zookeeper", &tree, "--output", "json", "/tasks"]).await.well();
    let required = |entry: &Value| entry["value"]["spec"]["selector"][0]["values"][0] == "c";
    assert!(said.objects().iter().any(required), "{}", said.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_requires_labels_as_kubernetes_writes_them() {
    let cluster =
        Role::start(&["dev", "--in-memory", "--listen", "127.0.0.1:0", "--label", "zone=a", "--label", "gpu=a100"])
            .await;
    let url = cluster.url();
    let submit = async |id: &str, requires: &[&str]| {
        let requires: Vec<_> = requires.iter().flat_map(|text| ["--require", text]).collect();
        let base = ["submit", "--server", &url, "--kind", "noop", "--task-id", id];
        herdsman(&[&base, &requires[..]].concat()).await
    };
    submit("here", &["gpu=a100", "zone in (a,b),!spot", "gpu", "zone!=c", "spot notin (yes,maybe)"]).await.well();
    submit("elsewhere", &["zone notin (a,b)"]).await.well();
    let mut tasks = tasks(&url).await;
    assert_eq!(ended(&mut tasks, "here").await.state(), TaskState::Succeeded);
    let shown = herdsman(&["get", "--server", &url, "elsewhere"]).await.well();
    assert!(shown.text().contains("requires") && shown.text().contains("zone notin (a,b)"), "{}", shown.text());
    assert!(shown.text().contains("PENDING"), "{}", shown.text());
    let refused = submit("bad", &["zone in (a"]).await;
    assert!(refused.one_line(2).contains("zone in (a"), "the option is named with what was said");
    let contradiction = submit("bad", &["zone=a", "zone=b"]).await;
    assert!(contradiction.one_line(1).contains("spec.selector[1]"), "the field is named");
}

/// One of three nodes, on any ports.
async fn node(tree: &str, id: &str) -> Role {
    let any = "127.0.0.1:0";
    let ports = ["--listen", any, "--master-listen", any, "--worker-listen", any];
    let rest = ["--zookeeper", tree, "--session-timeout", "2s", "--slots", "2", "--id", id];
    Role::start(&[&["node"], &ports[..], &rest].concat()).await
}

fn master_of(node: &Role) -> String {
    let told = node.events("the node is up").pop().expect("it is up");
    told["master"].as_str().expect("where its master listens").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_s_own_node_runs_what_the_others_have_no_room_for_and_work_outlives_it() {
    let tree = format!("{}{}", shared().address(), fresh_chroot());
    let names = ["node-0", "node-1", "node-2"];
    let mut nodes = Vec::new();
    for name in names {
        nodes.push(node(&tree, name).await);
    }
    workers_are_ready(&nodes[0].url(), 3).await;
    let address = leader_of(&nodes[0].url()).await;
    let leader = nodes.iter().position(|node| master_of(node) == address).expect("one of them leads");
    let other = nodes[(leader + 1) % 3].url();
    let mut tasks = tasks(&other).await;

    // The others' slots are filled first, one after the other, then the leader's.
    let mut on = Vec::new();
    for at in 0..6 {
        let id = format!("long-{at}");
        submit(&mut tasks, request(&id, "sleep", "1h")).await;
        on.push(reaches(&mut tasks, &id, TaskState::Running).await.worker_id);
    }
    assert!(on[..4].iter().all(|worker| worker != names[leader]), "{on:?}");
    assert_ne!(on[0], on[1], "the least full first: {on:?}");
    assert!(on[4..].iter().all(|worker| worker == names[leader]), "{on:?}");

    // The node that leads is gone: another leads, and what it ran runs where there is room.
    nodes[leader].kill();
    for id in ["long-0", "long-1"] {
        let cancelled = async || {
            let request = herdsman::wire::proto::v1::CancelTaskRequest { task_id: id.into() };
            tasks.clone().cancel_task(request).await.ok()
        };
        eventually("another leads", LIMIT, cancelled).await;
    }
    for id in ["long-4", "long-5"] {
        let moved = async || Some(get(&mut tasks.clone(), id).await).filter(|task| task.attempt == 2);
        let task = eventually("it runs elsewhere", LIMIT, moved).await;
        assert_ne!(task.worker_id, names[leader]);
        assert_eq!(task.worker_deaths, 1);
    }
    assert_ne!(leader_of(&other).await, address);

    // The node comes back, and has room.
    nodes[leader] = node(&tree, names[leader]).await;
    submit(&mut tasks, request("short", "noop", "")).await;
    assert_eq!(ended(&mut tasks, "short").await.worker_id, names[leader]);
}
