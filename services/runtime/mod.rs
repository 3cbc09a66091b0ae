//! What every role stands on: one port served with limits, connections out, logs and traces, signals.
//!
//! It decides nothing about tasks, workers and leaders, and knows no more of them than which links there are.

pub mod backoff;
pub mod bundled_links;
pub mod dial;
pub mod heartbeat;
pub mod near_links;
pub mod open_files;
pub mod serve;
pub mod shutdown;
pub mod telemetry;
pub mod wall_clock;
