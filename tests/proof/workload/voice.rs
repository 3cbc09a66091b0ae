//! One generated client: what it asks and is told is written down, before the one and after the other.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use std::time::Duration;

use herdsman::wire::proto::v1::{
    CancelTaskRequest, GetTaskRequest, ListTasksRequest, SubmitTaskRequest, Task, TaskFilter, TaskSpec, TaskState,
    task_service_client::TaskServiceClient,
};
use tokio::time::{sleep, timeout};
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint},
};

use super::Counts;
use crate::proof::{
    cluster::Cluster,
    evidence::{Call, Clock, Directory, Lines, Outcome, Said, Spec, Told},
};

/// After it the client gives an answer up: longer than a failover, shorter than the server's own limit.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// For a connection: what stands still or is cut off answers no SYN, or no ping.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// Before the same is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

pub type Tasks = TaskServiceClient<Channel>;

#[derive(Clone)]
pub struct Voice {
    name: Arc<str>,
    tasks: Tasks,
    history: Lines<Said>,
    clock: Clock,
    operations: Arc<AtomicU64>,
    pub counts: Arc<Counts>,
}

impl Voice {
    /// One for each client service.
    pub fn of_each(cluster: &Cluster, evidence: &Directory) -> Vec<Self> {
        let history = Lines::append(&evidence.history()).expect("a file of ours");
        let (operations, counts) = (Arc::default(), Arc::default());
        let voice = |(url, client): (String, &crate::proof::cluster::process::Process)| Self {
            name: client.name.as_str().into(),
            tasks: tasks(url),
            history: history.clone(),
            clock: cluster.clock,
            operations: Arc::clone(&operations),
            counts: Arc::clone(&counts),
        };
        cluster.urls().into_iter().zip(&cluster.clients).map(voice).collect()
    }

    pub async fn submit(&self, id: &str, spec: &TaskSpec) -> Outcome {
        let call = Call::Submit { task: id.into(), spec: Spec::from(spec) };
        let request = SubmitTaskRequest { task_id: id.into(), spec: Some(spec.clone()) };
        let mut tasks = self.tasks.clone();
        self.ask(call, async move { tasks.submit_task(limited(request)).await.map(|reply| reply.into_inner().task) })
            .await
    }

    /// The same again, until it is known to be in or refused.
    pub async fn submit_until_known(&self, id: &str, spec: &TaskSpec) -> Outcome {
        loop {
            match self.submit(id, spec).await {
                Outcome::Unknown { .. } => sleep(RETRY_PAUSE).await,
                known => return known,
            }
        }
    }

    pub async fn cancel(&self, id: &str) -> Outcome {
        let request = CancelTaskRequest { task_id: id.into() };
        let mut tasks = self.tasks.clone();
        let call = Call::Cancel { task: id.into() };
        self.ask(call, async move { tasks.cancel_task(limited(request)).await.map(|reply| reply.into_inner().task) })
            .await
    }

    /// None: it is not known, or there is none.
    pub async fn get(&self, id: &str) -> Option<Told> {
        let request = GetTaskRequest { task_id: id.into() };
        let mut tasks = self.tasks.clone();
        let call = Call::Get { task: id.into() };
        let outcome = self
            .ask(call, async move { tasks.get_task(limited(request)).await.map(|reply| reply.into_inner().task) })
            .await;
        match outcome {
            Outcome::Ok { told } => Some(*told),
            Outcome::Refused { .. } | Outcome::Unknown { .. } => None,
        }
    }

    async fn ask(&self, call: Call, asking: impl Future<Output = Result<Option<Task>, Status>>) -> Outcome {
        let op = self.operations.fetch_add(1, Ordering::Relaxed);
        self.history.write(&Said::Asked { op, client: self.name.to_string(), at: self.clock.now(), call });
        // The server may be unable to say that time is up.
        let answer = timeout(CALL_LIMIT, asking).await;
        let outcome = match answer {
            Ok(Ok(task)) => Outcome::Ok { told: Box::new(Told::from(&task.expect("an answer has its task"))) },
            Ok(Err(status)) => Outcome::of_error(&status),
            Err(_) => Outcome::Unknown { code: "no answer".into(), reason: None, retry: false },
        };
        self.history.write(&Said::Answered { op, at: self.clock.now(), outcome: outcome.clone() });
        self.count(&outcome);
        outcome
    }

    fn count(&self, outcome: &Outcome) {
        let counts = &self.counts;
        match outcome {
            Outcome::Ok { .. } => counts.ok.fetch_add(1, Ordering::Relaxed),
            Outcome::Refused { .. } => counts.refused.fetch_add(1, Ordering::Relaxed),
            Outcome::Unknown { retry, .. } => {
                counts.told_to_retry.fetch_add(u64::from(*retry), Ordering::Relaxed);
                counts.unknown.fetch_add(1, Ordering::Relaxed)
            }
        };
    }

    /// The tasks that have not ended. None: it is not known.
    pub async fn open(&self) -> Option<Vec<Task>> {
        let states = [TaskState::Pending, TaskState::Assigned, TaskState::Running].map(i32::from).to_vec();
        let filter = Some(TaskFilter { states, ..TaskFilter::default() });
        let mut request = ListTasksRequest { filter, page_size: 1_000, page_token: String::new() };
        let mut open = Vec::new();
        loop {
            let page = self.tasks.clone().list_tasks(limited(request.clone())).await.ok()?.into_inner();
            open.extend(page.tasks);
            if page.next_page_token.is_empty() {
                // Asked often, and answered by looking at every task there is.
                sleep(RETRY_PAUSE).await;
                return Some(open);
            }
            request.page_token = page.next_page_token;
        }
    }
}

fn limited<T>(request: T) -> Request<T> {
    let mut request = Request::new(request);
    request.set_timeout(CALL_LIMIT);
    request
}

/// A connection that is made when it is needed, and made anew when it is dead.
pub fn tasks(url: String) -> Tasks {
    let endpoint = Endpoint::from_shared(url).expect("a URL of ours").connect_timeout(CONNECT_LIMIT);
    let endpoint = endpoint.http2_keep_alive_interval(CONNECT_LIMIT).keep_alive_timeout(CONNECT_LIMIT);
    TaskServiceClient::new(endpoint.keep_alive_while_idle(true).connect_lazy())
}

pub fn spec(kind: &str, payload: &str) -> TaskSpec {
    TaskSpec { kind: kind.into(), payload: payload.as_bytes().to_vec().into(), ..TaskSpec::default() }
}
