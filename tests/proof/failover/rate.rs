//! How much a cluster accepts while several clients submit as fast as they are answered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use herdsman::wire::proto::v1::task_service_client::TaskServiceClient;
use tokio::{task::JoinSet, time::sleep};
use tonic::transport::Channel;
use tonic_types::StatusExt;

use crate::support::cluster::{LIMIT, request};

/// More than one commit can be on its way for, few enough that none waits for long.
const CLIENTS: usize = 16;
/// A rate is taken over so long: hundreds of submits, and short beside what is measured.
const WINDOW: Duration = Duration::from_millis(250);
/// The rate to come back to is the median of as many windows.
const WINDOWS_BEFORE: usize = 9;
/// A window as good as this is as good as those before: they differ by as much among themselves.
const FULL_PERCENT: u64 = 90;

pub struct Load {
    accepted: Arc<AtomicU64>,
    /// End with it.
    _clients: JoinSet<()>,
}

impl Load {
    pub fn start(tasks: &TaskServiceClient<Channel>, run: &str) -> Self {
        let accepted = Arc::new(AtomicU64::new(0));
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            clients.spawn(keep_submitting(tasks.clone(), format!("{run}-{client}"), accepted.clone()));
        }
        Self { accepted, _clients: clients }
    }

    /// Submits accepted in a window; the median of several.
    pub async fn rate_before(&self) -> u64 {
        self.window().await;
        let mut rates = Vec::new();
        for _ in 0..WINDOWS_BEFORE {
            rates.push(self.window().await);
        }
        rates.sort_unstable();
        rates[WINDOWS_BEFORE / 2]
    }

    /// Until the end of the first window as good as those before.
    pub async fn full_again(&self, before: u64) {
        let start = Instant::now();
        while self.window().await * 100 < before * FULL_PERCENT {
            assert!(start.elapsed() < LIMIT, "the rate of {before} submits in {WINDOW:?} does not come back");
        }
    }

    async fn window(&self) -> u64 {
        let before = self.accepted.load(Ordering::Relaxed);
        sleep(WINDOW).await;
        self.accepted.load(Ordering::Relaxed) - before
    }
}

/// One submit after the other; one that is refused is repeated when the refusal says.
async fn keep_submitting(mut tasks: TaskServiceClient<Channel>, name: String, accepted: Arc<AtomicU64>) {
    for number in 0_u64.. {
        let request = request(&format!("{name}-{number}"), "noop", "");
        while let Err(refused) = tasks.submit_task(request.clone()).await {
            let retry = refused.get_error_details().retry_info().and_then(|info| info.retry_delay);
            sleep(retry.unwrap_or_else(|| panic!("{refused:?}"))).await;
        }
        accepted.fetch_add(1, Ordering::Relaxed);
    }
}
