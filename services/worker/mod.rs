//! The worker: holds a link to the leader, runs what it is told, reports until it is acknowledged.

pub mod handler;
