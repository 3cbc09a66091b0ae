//! The worker: holds a link to the leader, runs what it is told, reports until it is acknowledged.
//!
//! It decides nothing about tasks, and writes nothing to the store but its own membership.
//!
//! - [`handler`]: what a team writes; [`handlers`]: what comes with Herdsman; [`guard`]: why a program that a handler
//!   starts never outlives its worker
//! - `crew` owns what runs and what is to be reported (`slots`, `executor`), and the graceful stop
//! - [`link`] finds the leader and carries messages between it and the crew; `membership` follows it
//! - [`run`]: the one door

mod crew;
mod desk;
mod executor;
pub mod guard;
pub mod handler;
pub mod handlers;
pub mod link;
mod logs;
mod membership;
mod metrics;
mod patience;
mod service;
mod slots;

pub use service::{DEFAULT_DRAIN, Error, Options, run};

/// What the simulator drives, beside the link.
#[cfg(test)]
pub mod simulated {
    pub use super::{crew::Crew, membership::keep, metrics::Metrics};
}
