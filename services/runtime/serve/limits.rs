//! What one client, or all of them together, may take of a server. tonic sets none of it by itself.

use std::time::Duration;

/// Largest request of the public API that is read: the 4 MiB that SubmitTasks allows, and so much more that a call that
/// is too large gets our own explanation instead of a decoder's.
pub const MAX_REQUEST_BYTES: usize = 5 * 1024 * 1024;
/// Largest message on a link between Herdsman's services: a request of the public API, or a page of a list (1 MiB), with
/// room for what later versions add.
pub const MAX_LINK_MESSAGE_BYTES: usize = 8 * 1024 * 1024;

/// Most streams at the same time on one connection. A client has one connection for all that it watches, and may follow
/// thousands of tasks by a stream each; more than this wait for an earlier one to end.
pub(super) const MAX_CONCURRENT_STREAMS: u32 = 4_096;
/// Bytes that a connection may send before they are read. h2 also closes a connection whose small frames (under 256
/// bytes) wait unread, each counted as up to 256 bytes, as soon as they make half of this: with 1 MiB, hyper's default,
/// that is 2,100 honest requests that came in one burst to a busy server. This is all of [`MAX_CONCURRENT_STREAMS`],
/// twice.
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Most streams that a client opened and reset before the server looked at them; then the connection is closed. Against
/// rapid resets; a client that cancels a few hundred calls at once is honest.
pub(super) const MAX_PENDING_RESETS: usize = 256;
/// Most streams that the server had to reset for the client's errors; then the connection is closed. What hyper has by
/// default and tonic switches off.
pub(super) const MAX_LOCAL_ERROR_RESETS: usize = 1_024;
/// Largest head of a request: ours have some hundred bytes; a trace context and a token fit well.
pub(super) const MAX_HEADER_LIST_BYTES: u32 = 16 * 1024;

/// Most connections at the same time; more are closed at once, which a client sees sooner than a wait. A cluster has
/// tens of them, and each costs a task and a few KiB.
pub(super) const MAX_CONNECTIONS: usize = 4_096;
/// A connection that has not said within this what it speaks is closed, so that silent ones cannot use up the
/// connections of others.
pub(super) const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(5);
/// How many bytes that takes: the length of the HTTP/2 preface.
pub(super) const FIRST_BYTES: usize = 24;
/// Pause after an accept that failed (as a rule: no file descriptors left), so that the failure does not spin.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a stop waits for requests under way. An idle role is to be gone within a second.
pub(super) const SHUTDOWN_GRACE: Duration = Duration::from_millis(750);
/// How long connections that were cut have to notice; one that does not is stuck in code that never yields.
pub(super) const CUT_GRACE: Duration = Duration::from_millis(200);
