//! What a master uses of the machine that it runs on, beside its store: everything that a simulation has to put its own
//! thing in the place of.

use std::{sync::Arc, time::Duration};

use super::{standby, watchdog::Pulse};
use crate::runtime::wall_clock::WallClock;

#[derive(Clone)]
pub(super) struct Machine {
    pub clock: WallClock,
    /// Starts the watch over a driver.
    pub watchdog: fn(Duration) -> Pulse,
    /// How a standby reaches the leader.
    pub dial: Arc<dyn standby::Dial>,
}

impl Machine {
    /// This one.
    pub fn here() -> Self {
        Self { clock: WallClock::system(), watchdog: Pulse::start, dial: Arc::new(standby::Grpc) }
    }
}
