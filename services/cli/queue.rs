//! `queues` and `queue`: what waits where, and what holds for it.

use clap::{Args, Subcommand};

use super::{
    Told,
    exit::Failure,
    list::age,
    output::Output,
    server::{Server, call},
};
use crate::wire::proto::v1;

/// Queues asked for at once: the most that a page may have.
const PAGE: i32 = 1_000;

#[derive(Debug, Args)]
pub(super) struct Queues {
    #[command(flatten)]
    server: Server,
}

impl Queues {
    /// All of them, page by page.
    pub(super) async fn run(self, output: &Output) -> Result<(), Failure> {
        let mut client = self.server.cluster().await?;
        let (mut rows, mut page_token) = (Vec::new(), String::new());
        loop {
            let page = v1::ListQueuesRequest { page_size: PAGE, page_token };
            let reply = client.list_queues(call(page)).await?.into_inner();
            for queue in reply.queues {
                if output.is_json() {
                    output.json(&queue)?;
                } else {
                    rows.push(row(&queue));
                }
            }
            page_token = reply.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        if output.is_json() { Ok(()) } else { output.table(&TITLES, rows) }
    }
}

#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  herdsman queue pause nightly
  herdsman queue resume nightly
  herdsman queue set mail --weight 3 --max-running 10
  herdsman queue set mail --max-starts-per-second 0.5 --max-pending 1000
  herdsman queue set mail --max-running 0              takes the limit away"
)]
pub(super) struct Queue {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start nothing of it from now on; what runs goes on
    Pause(Told<Named>),
    /// Start its tasks again
    Resume(Told<Named>),
    /// Show it
    Get(Told<Named>),
    /// Set its weight and its limits; what is not said stays as it is
    Set(Told<Set>),
}

#[derive(Debug, Args)]
struct Named {
    #[command(flatten)]
    server: Server,
    /// The queue; "default" is that of the tasks that name none
    #[arg(value_name = "QUEUE")]
    name: String,
}

#[derive(Debug, Args)]
struct Set {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Settings {
    /// Its share of the starts beside other queues, 1 to 1000; 1 if it was never set
    #[arg(long, env = "HERDSMAN_QUEUE_WEIGHT", value_name = "N", hide_env_values = true)]
    weight: Option<i32>,
    /// Most tasks that run at once; 0: no limit
    #[arg(long, env = "HERDSMAN_QUEUE_MAX_RUNNING", value_name = "N", hide_env_values = true)]
    max_running: Option<i32>,
    /// Most tasks that start in a second, 0.001 or more; 0: no limit
    #[arg(long, env = "HERDSMAN_QUEUE_MAX_STARTS_PER_SECOND", value_name = "N", hide_env_values = true)]
    max_starts_per_second: Option<f64>,
    /// Most tasks that are pending for a submit to be accepted; 0: no limit
    #[arg(long, env = "HERDSMAN_QUEUE_MAX_PENDING", value_name = "N", hide_env_values = true)]
    max_pending: Option<i32>,
}

impl Queue {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (queue, output) = match self.verb {
            Verb::Pause(told) => {
                let (Named { server, name }, output) = told.parts();
                let reply = server.cluster().await?.pause_queue(call(v1::PauseQueueRequest { name })).await?;
                (reply.into_inner().queue, output)
            }
            Verb::Resume(told) => {
                let (Named { server, name }, output) = told.parts();
                let reply = server.cluster().await?.resume_queue(call(v1::ResumeQueueRequest { name })).await?;
                (reply.into_inner().queue, output)
            }
            Verb::Get(told) => {
                let (Named { server, name }, output) = told.parts();
                let reply = server.cluster().await?.get_queue(call(v1::GetQueueRequest { name })).await?;
                (reply.into_inner().queue, output)
            }
            Verb::Set(told) => {
                let (Set { named: Named { server, name }, settings }, output) = told.parts();
                let Settings { weight, max_running, max_starts_per_second, max_pending } = settings;
                let update = v1::UpdateQueueRequest { name, weight, max_running, max_starts_per_second, max_pending };
                let reply = server.cluster().await?.update_queue(call(update)).await?;
                (reply.into_inner().queue, output)
            }
        };
        let queue = queue.unwrap_or_default();
        if output.is_json() { output.json(&queue) } else { output.table(&TITLES, vec![row(&queue)]) }
    }
}

const TITLES: [&str; 10] =
    ["QUEUE", "STATE", "PENDING", "OLDEST", "RUNNING", "ENDED", "WEIGHT", "MAX_RUNNING", "MAX_STARTS", "MAX_PENDING"];

/// Limits that there are not are empty.
fn row(queue: &v1::Queue) -> Vec<String> {
    let tasks = queue.tasks.unwrap_or_default();
    let settings = queue.settings.unwrap_or_default();
    let limit = |limit: i32| if limit == 0 { String::new() } else { limit.to_string() };
    let starts = settings.max_starts_per_second;
    let oldest = queue.oldest_pending_time.as_ref();
    vec![
        queue.name.clone(),
        queue.state().as_str_name().trim_start_matches("QUEUE_STATE_").to_owned(),
        tasks.pending.to_string(),
        oldest.map(|time| age(Some(time))).unwrap_or_default(),
        (tasks.assigned + tasks.running).to_string(),
        (tasks.succeeded + tasks.failed + tasks.cancelled).to_string(),
        settings.weight.to_string(),
        limit(settings.max_running),
        if starts == 0.0 { String::new() } else { format!("{starts}/s") },
        limit(settings.max_pending),
    ]
}
