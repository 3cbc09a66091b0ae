//! The leader's clocks: the only place of the master where time is asked.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    domain::{Monotonic, Now},
    runtime::wall_clock::WallClock,
};

/// Where the monotonic clock of a process starts: high enough that the age of anything stored can be subtracted.
const ORIGIN_MS: u64 = 1 << 42;

#[derive(Debug, Clone)]
pub(super) struct Clock {
    start: Instant,
    wall: WallClock,
}

impl Clock {
    pub fn start(wall: WallClock) -> Self {
        Self { start: Instant::now(), wall }
    }

    pub fn now(&self) -> Now {
        Now { monotonic: self.monotonic(Instant::now()), wall: self.wall.read() }
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
