//! `inspect` reads what is in ZooKeeper when nobody else is there.

use crate::support::{
    process::{Role, herdsman},
    zookeeper,
};

#[tokio::test]
async fn a_task_can_be_read_when_every_service_is_dead() {
    let place = format!("{}{}", zookeeper::shared().address(), zookeeper::fresh_chroot());
    let mut roles = Vec::new();
    for role in ["master", "worker", "client"] {
        roles.push(Role::start(&[role, "--zookeeper", &place, "--listen", "127.0.0.1:0"]).await);
    }
    let server = roles[2].url();
    let submit = ["submit", "--server", &server, "--kind", "echo", "--payload", "hi", "--task-id", "t", "--watch"];
    herdsman(&submit).await.well();
    herdsman(&["queue", "set", "--server", &server, "mail", "--max-starts-per-second", "0.5"]).await.well();
    roles.iter_mut().for_each(Role::kill);

    let entries = herdsman(&["inspect", "--zookeeper", &place, "--output", "json"]).await.well().objects();
    let of = |what: &str| entries.iter().filter(|entry| entry["what"] == what).collect::<Vec<_>>();
    let (tasks, statuses) = (of("task"), of("status"));
    assert_eq!((tasks.len(), statuses.len()), (1, 1), "{entries:?}");
    assert!(tasks[0]["path"].as_str().unwrap().ends_with("/t"), "{tasks:?}");
    assert_eq!(tasks[0]["value"]["spec"]["kind"], "echo", "{tasks:?}");

    let queues = of("queue");
    assert_eq!((queues.len(), &queues[0]["path"]), (1, &"/queues/mail".into()), "{entries:?}");
    assert_eq!(queues[0]["value"]["maxStartsPer1000Seconds"], 500, "{queues:?}");

    let buckets = of("directory").iter().filter(|entry| entry["path"].as_str().unwrap().starts_with("/tasks/")).count();
    assert_eq!(buckets, 1, "only the one with the task in it: {entries:?}");

    let path = tasks[0]["path"].as_str().unwrap();
    let said = herdsman(&["inspect", "--zookeeper", &place, path]).await.well();
    assert!(said.text().starts_with(&format!("{path} [task, ")), "{said:?}");

    let missing = herdsman(&["inspect", "--zookeeper", &place, "/no/such"]).await;
    assert!(missing.one_line(1).contains("/no/such"), "{missing:?}");
}
