//! A leader that hangs must not live on through its client's pings: a thread of its own looks at the driver's pulse and
//! ends the process when there is none.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// Looks without a pulse after which the process ends. Looks are counted instead of time, so that a process that was
/// stopped as a whole, and whose driver goes on with it, is left alone.
const LOOKS: u32 = 10;

/// What the driver beats each time that it turns.
#[derive(Debug, Clone)]
pub(super) struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// Starts the watch over a driver, until the pulse is dropped. The driver has to beat at least once in a tenth of
    /// `limit`.
    pub fn start(limit: Duration) -> Self {
        let pulse = Self(Arc::new(AtomicU64::new(0)));
        let watched = Arc::downgrade(&pulse.0);
        let spawned = thread::Builder::new().name("watchdog".into()).spawn(move || watch(&watched, limit / LOOKS));
        if let Err(error) = spawned {
            tracing::error!(%error, "leading without a watchdog");
        }
        pulse
    }

    /// Nobody looks: where time is simulated, a thread that counts real time knows nothing.
    #[cfg(test)]
    pub fn unwatched(_: Duration) -> Self {
        Self(Arc::default())
    }

    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[allow(clippy::disallowed_methods, reason = "it has a thread of its own, which must not need the runtime")]
fn watch(pulse: &Weak<AtomicU64>, look: Duration) {
    let (mut seen, mut without) = (0, 0);
    while let Some(beats) = pulse.upgrade().map(|pulse| pulse.load(Ordering::Relaxed)) {
        without = if beats == seen { without + 1 } else { 0 };
        seen = beats;
        if without > LOOKS {
            tracing::error!("the driver hangs; ending the process, so that another master can lead");
            std::process::abort();
        }
        thread::sleep(look);
    }
}
