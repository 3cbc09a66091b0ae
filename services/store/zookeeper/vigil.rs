//! Watches over what hangs on a session: the moment it can no longer be counted on, a token says so. Better too early
//! than too late: who holds the token starts over, and a wrong alarm costs no more than that.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use zookeeper_client::{Client, Error, EventType, SessionState};

/// How often within a session timeout the watcher looks at its own clock, to find that the process stood still.
const TICKS: u32 = 10;

/// Cancels `lost` when the session is not connected, when its node at `path` is gone or not as it was created, or when
/// this process has stood still for a whole session timeout. Ends when `lost` is cancelled, by whomever; only then its hold on the session ends.
pub async fn keep_vigil(client: Client, path: String, lost: CancellationToken) {
    let reason = tokio::select! {
        () = lost.cancelled() => return,
        reason = trouble(&client) => reason,
        reason = tampering(&client, &path) => reason,
        reason = standstill(client.session_timeout()) => reason,
    };
    warn!(%path, session = %client.session_id(), %reason, "cannot count on the session any more");
    lost.cancel();
}

/// Resolves when the session is anything but connected, with the reason.
pub async fn trouble(client: &Client) -> String {
    let mut states = client.state_watcher();
    let mut state = client.state();
    while state == SessionState::SyncConnected {
        state = states.changed().await;
    }
    format!("the session is {state}")
}

/// Resolves when the session's node is gone, or somebody else wrote it: others act on what it says. On a session without
/// a connection it does not; that is for [`trouble`].
async fn tampering(client: &Client, path: &str) -> String {
    loop {
        match client.get_and_watch_data(path).await {
            // Deleted and created again in one request, it is there and is not ours.
            Ok((_, stat, _)) if stat.ephemeral_owner != client.session_id().0 => {
                return "its node is another session's".to_owned();
            }
            // Nodes of a session are created and never set.
            Ok((_, stat, _)) if stat.version != 0 => return "its node was overwritten".to_owned(),
            Ok((.., watcher)) => {
                let event = watcher.changed().await;
                if event.event_type == EventType::Session {
                    return format!("the session is {}", event.session_state);
                }
            }
            Err(Error::NoNode) => return "its node is gone".to_owned(),
            Err(error) => return format!("its node cannot be read: {error}"),
        }
    }
}

async fn standstill(session_timeout: Duration) -> String {
    let mut ticks = interval(session_timeout / TICKS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let before = Instant::now();
        ticks.tick().await;
        let gap = before.elapsed();
        if gap > session_timeout {
            return format!("this process stood still for {gap:?}");
        }
    }
}
