//! Attempts that take too long, or are silent for too long: they are told to stop, and given up if they do not.

use std::{
    future::pending,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    crew::STOP_LIMIT,
    executor::{Ended, ended},
    handler::HandlerError,
};
use crate::domain::{Failure, TaskSpec, Timeout};

/// When a handler last said something. Cheap to clone, and to say.
#[derive(Debug, Clone)]
pub struct Pulse {
    start: Instant,
    /// Milliseconds after the start.
    last: Arc<AtomicU64>,
}

impl Pulse {
    fn new() -> Self {
        Self { start: Instant::now(), last: Arc::default() }
    }

    pub fn beat(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }

    /// Resolves when nothing was said for so long.
    async fn silent(&self, limit: Duration) {
        loop {
            let last = self.last.load(Ordering::Relaxed);
            sleep_until(self.start + Duration::from_millis(last) + limit).await;
            if self.last.load(Ordering::Relaxed) == last {
                return;
            }
        }
    }
}

/// What an attempt may take.
#[derive(Debug)]
pub struct Limits {
    start_to_close: Option<Duration>,
    heartbeat: Option<(Duration, Pulse)>,
}

impl Limits {
    /// From now on. None: whatever it takes.
    pub fn of(spec: &TaskSpec) -> Option<Self> {
        let policy = spec.policy.as_ref()?;
        let start_to_close = policy.timeout(Timeout::StartToClose);
        let heartbeat = policy.timeout(Timeout::Heartbeat).map(|limit| (limit, Pulse::new()));
        (start_to_close.is_some() || heartbeat.is_some()).then_some(Self { start_to_close, heartbeat })
    }

    pub fn pulse(&self) -> Option<Pulse> {
        self.heartbeat.as_ref().map(|(_, pulse)| pulse.clone())
    }

    /// Runs a handler to its end, if that comes in time.
    pub async fn keep(
        self,
        cancelled: &CancellationToken,
        running: impl Future<Output = Result<Bytes, HandlerError>>,
    ) -> Ended {
        let mut running = pin!(running);
        let over = tokio::select! {
            biased;
            result = &mut running => return ended(result),
            over = self.over() => over,
        };
        let message = match over {
            (Timeout::Heartbeat, limit) => format!("the attempt was silent for longer than its heartbeat of {limit:?}"),
            (which, limit) => format!("the attempt took longer than its {} timeout of {limit:?}", which.name()),
        };
        tracing::info!("{message}: stopping it");
        cancelled.cancel();
        let what = match timeout(STOP_LIMIT, running).await {
            Ok(Ok(_)) => String::new(),
            Ok(Err(error)) => format!(": {}", error.message),
            Err(_) => {
                tracing::error!("its handler did not stop within {STOP_LIMIT:?}: left behind");
                format!("; its handler did not stop within {STOP_LIMIT:?}, and was left behind")
            }
        };
        let Failure { message, .. } = HandlerError::new(message + &what).into();
        Ended::Failed(Failure::timed_out(over.0, message))
    }

    async fn over(&self) -> (Timeout, Duration) {
        let attempt = async {
            let Some(limit) = self.start_to_close else { return pending().await };
            sleep(limit).await;
            (Timeout::StartToClose, limit)
        };
        let silence = async {
            let Some((limit, pulse)) = &self.heartbeat else { return pending().await };
            pulse.silent(*limit).await;
            (Timeout::Heartbeat, *limit)
        };
        tokio::select! {
            biased;
            over = attempt => over,
            over = silence => over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Policy, Timeouts};

    fn limits(start_to_close: Option<u64>, heartbeat: Option<u64>) -> Limits {
        let [start_to_close, heartbeat] = [start_to_close, heartbeat].map(|limit| limit.map(Duration::from_secs));
        let timeouts = Some(Timeouts { start_to_close, heartbeat, ..Timeouts::default() });
        let policy = Some(Box::new(Policy { timeouts, ..Policy::default() }));
        Limits::of(&TaskSpec { policy, ..TaskSpec::new("work".parse().unwrap(), b"") }).expect("there are limits")
    }

    fn failed(ended: Ended) -> Failure {
        match ended {
            Ended::Failed(failure) => failure,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_goes_on_speaking_goes_on_and_is_stopped_when_it_falls_silent() {
        let limits = limits(None, Some(10));
        let (pulse, cancelled, start) = (limits.pulse().unwrap(), CancellationToken::new(), Instant::now());
        let running = async {
            for _ in 0..5 {
                sleep(Duration::from_secs(7)).await;
                pulse.beat();
            }
            cancelled.cancelled().await;
            Err(HandlerError::new("told to stop"))
        };
        let failure = failed(limits.keep(&cancelled, running).await);
        assert_eq!(failure.timeout, Some(Timeout::Heartbeat));
        assert!(failure.message.ends_with("heartbeat of 10s: told to stop"), "{failure:?}");
        assert_eq!(start.elapsed().as_secs(), 5 * 7 + 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_does_not_stop_is_left_behind() {
        let (cancelled, start) = (CancellationToken::new(), Instant::now());
        let failure = failed(limits(Some(3), None).keep(&cancelled, pending()).await);
        assert_eq!(failure.timeout, Some(Timeout::StartToClose));
        assert!(failure.message.contains("left behind") && cancelled.is_cancelled(), "{failure:?}");
        assert_eq!(start.elapsed(), Duration::from_secs(3) + STOP_LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_in_time_ends_as_it_does() {
        let limits = || limits(Some(3), Some(2));
        let token = CancellationToken::new();
        let good = limits().keep(&token, async { Ok(Bytes::from_static(b"good")) }).await;
        assert_eq!(good, Ended::Succeeded(Arc::from(&b"good"[..])));
        let bad = limits().keep(&token, async { Err(HandlerError::permanent("bad")) }).await;
        assert!(failed(bad).permanent && !token.is_cancelled());
    }
}
