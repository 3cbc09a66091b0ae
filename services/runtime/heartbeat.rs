//! The rhythm of every link, the same at both of its ends.

use std::time::Duration;

/// How often each end of a link says that it is there, when it has nothing else to say.
pub const HEARTBEAT: Duration = Duration::from_secs(1);

/// A link on which nothing came for so long is given up by the end that waits: three heartbeats missed, so that one
/// late heartbeat on a busy machine costs nothing, and below the session timeout, so that a link never outlives the
/// session that it leans on by much.
pub const LINK_IDLE_LIMIT: Duration = Duration::from_secs(3);
