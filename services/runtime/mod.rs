//! What every role stands on: one port served with limits, connections out, logs and traces, signals.
//!
//! It knows nothing of tasks, workers and leaders, and decides nothing about them.

pub mod backoff;
pub mod bundled_links;
pub mod dial;
pub mod heartbeat;
pub mod open_files;
pub mod serve;
pub mod shutdown;
pub mod telemetry;
pub mod wall_clock;
