//! What the tests share: ZooKeeper servers and Herdsman processes that end with their test.

pub mod cluster;
pub mod process;
pub mod proxy;
pub mod scripts;
pub mod zookeeper;

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until `condition` holds.
///
/// # Panics
/// It did not within the limit; `what` says in words what was waited for.
pub async fn eventually<T>(what: &str, limit: Duration, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(LOOK).await;
    }
}
