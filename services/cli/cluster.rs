//! `workers` and `cluster`: the cluster as its leader sees it.

use clap::Args;

use super::{
    exit::Failure,
    list::age,
    output::Output,
    server::{Server, call},
};
use crate::wire::proto::v1;

#[derive(Debug, Args)]
pub(super) struct Workers {
    #[command(flatten)]
    server: Server,
}

impl Workers {
    pub(super) async fn run(self, output: &Output) -> Result<(), Failure> {
        let mut client = self.server.cluster().await?;
        let reply = client.list_workers(call(v1::ListWorkersRequest {})).await?.into_inner();
        if output.is_json() {
            return reply.workers.iter().try_for_each(|worker| output.json(worker));
        }
        let rows = reply.workers.into_iter().map(row).collect();
        output.table(&["WORKER", "STATE", "BUSY", "SLOTS", "KINDS", "QUEUES", "ADDRESS", "VERSION"], rows)
    }
}

fn row(worker: v1::Worker) -> Vec<String> {
    let state = worker.state().as_str_name().trim_start_matches("WORKER_STATE_").to_owned();
    vec![
        worker.worker_id,
        state,
        worker.busy_slots.to_string(),
        worker.slots.to_string(),
        worker.kinds.join(","),
        worker.queues.join(","),
        worker.address,
        worker.version,
    ]
}

#[derive(Debug, Args)]
pub(super) struct Cluster {
    #[command(flatten)]
    server: Server,
}

impl Cluster {
    pub(super) async fn run(self, output: &Output) -> Result<(), Failure> {
        let mut client = self.server.cluster().await?;
        let reply = client.get_cluster(call(v1::GetClusterRequest {})).await?.into_inner();
        if output.is_json() { output.json(&reply) } else { output.fields(&describe(&reply)) }
    }
}

fn describe(cluster: &v1::GetClusterResponse) -> [(&'static str, String); 11] {
    let leader = cluster.leader.clone().unwrap_or_default();
    let tasks = cluster.tasks.unwrap_or_default();
    [
        (
            "leader",
            format!(
                "{} (term {}, for {}, version {})",
                leader.address,
                leader.term,
                age(leader.lead_time.as_ref()),
                leader.version
            ),
        ),
        ("standbys", cluster.standbys.to_string()),
        ("workers", cluster.workers.to_string()),
        ("slots", format!("{} ({} busy)", cluster.slots, cluster.busy_slots)),
        ("pending", tasks.pending.to_string()),
        ("assigned", tasks.assigned.to_string()),
        ("running", tasks.running.to_string()),
        ("succeeded", tasks.succeeded.to_string()),
        ("failed", tasks.failed.to_string()),
        ("cancelled", tasks.cancelled.to_string()),
        ("corrupt records", cluster.corrupt_records.to_string()),
    ]
}
