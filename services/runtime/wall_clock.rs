//! The clock on the wall: for people, wrong at times, set back and forth by others. Nothing is decided by it that a
//! wrong clock could harm; what waits, waits on a monotonic one.

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::domain::Wall;

/// A clock that can be asked. Cheap to clone.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> Wall + Send + Sync>);

impl WallClock {
    /// The machine's.
    pub fn system() -> Self {
        Self::new(|| {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Wall(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
        })
    }

    /// One that says what it is told to.
    pub fn new(read: impl Fn() -> Wall + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    pub fn read(&self) -> Wall {
        (self.0)()
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WallClock").field(&self.read()).finish()
    }
}
