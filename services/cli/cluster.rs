//! `workers` and `cluster`: the cluster as its leader sees it.

use clap::Args;
use tonic::transport::Channel;

use super::{
    exit::Failure,
    list::age,
    output::Output,
    server::{Server, call},
};
use crate::wire::proto::v1::{self, cluster_service_client::ClusterServiceClient};

/// Workers asked for at once: the most that a page may have.
const PAGE: i32 = 1_000;

#[derive(Debug, Args)]
pub(super) struct Workers {
    #[command(flatten)]
    server: Server,
}

impl Workers {
    pub(super) async fn run(self, output: &Output) -> Result<(), Failure> {
        show_workers(list_workers(&mut self.server.cluster().await?).await?, output)
    }
}

pub(super) fn show_workers(workers: Vec<v1::Worker>, output: &Output) -> Result<(), Failure> {
    if output.is_json() {
        return workers.iter().try_for_each(|worker| output.json(worker));
    }
    let rows = workers.into_iter().map(row).collect();
    output.table(&["WORKER", "STATE", "BUSY", "SLOTS", "KINDS", "QUEUES", "ADDRESS", "VERSION"], rows)
}

/// All of them, page by page.
pub(super) async fn list_workers(client: &mut ClusterServiceClient<Channel>) -> Result<Vec<v1::Worker>, Failure> {
    let mut workers = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = v1::ListWorkersRequest { page_size: PAGE, page_token };
        let reply = client.list_workers(call(page)).await?.into_inner();
        workers.extend(reply.workers);
        page_token = reply.next_page_token;
        if page_token.is_empty() {
            return Ok(workers);
        }
    }
}

/// That it is drained says the state of a linked one by itself.
fn row(worker: v1::Worker) -> Vec<String> {
    let state = worker.state().as_str_name().trim_start_matches("WORKER_STATE_");
    let away = worker.drained && worker.state() == v1::WorkerState::Disconnected;
    let state = if away { format!("{state},DRAINED") } else { state.to_owned() };
    vec![
        worker.worker_id,
        state,
        worker.busy_slot_count.to_string(),
        worker.slot_count.to_string(),
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
        let cluster = reply.cluster.unwrap_or_default();
        if output.is_json() { output.json(&cluster) } else { output.fields(&describe(&cluster)) }
    }
}

fn describe(cluster: &v1::Cluster) -> [(&'static str, String); 11] {
    let leader = cluster.leader.clone().unwrap_or_default();
    let tasks = cluster.tasks.unwrap_or_default();
    [
        (
            "leader",
            format!(
                "{} (term {}, for {}, version {})",
                leader.address,
                leader.term,
                age(leader.start_time.as_ref()),
                leader.version
            ),
        ),
        ("standbys", cluster.standby_count.to_string()),
        ("workers", cluster.worker_count.to_string()),
        ("slots", format!("{} ({} busy)", cluster.slot_count, cluster.busy_slot_count)),
        ("pending", tasks.pending.to_string()),
        ("assigned", tasks.assigned.to_string()),
        ("running", tasks.running.to_string()),
        ("succeeded", tasks.succeeded.to_string()),
        ("failed", tasks.failed.to_string()),
        ("cancelled", tasks.cancelled.to_string()),
        ("corrupt records", cluster.corrupt_record_count.to_string()),
    ]
}
