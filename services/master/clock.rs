//! The leader's clocks: the only place of the master where time is asked.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::domain::{Monotonic, Now, Wall};

/// Where the monotonic clock of a process starts: high enough that the age of anything stored can be subtracted.
const ORIGIN_MS: u64 = 1 << 42;

#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { monotonic: self.monotonic(Instant::now()), wall: Wall(millis(wall)) }
    }

    pub fn monotonic(&self, at: Instant) -> Monotonic {
        Monotonic(ORIGIN_MS + millis(at.saturating_duration_since(self.start)))
    }

    pub fn instant(&self, at: Monotonic) -> Instant {
        self.start + Duration::from_millis(at.0.saturating_sub(ORIGIN_MS))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
