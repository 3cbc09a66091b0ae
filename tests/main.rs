//! One integration binary: the real `herdsman` as processes, a real ZooKeeper, generated clients.

#![allow(clippy::disallowed_methods, reason = "the bans keep servers up; a test may block its own thread")]

mod support;

mod behaviour;
mod client_service;
mod cluster;
mod command_line;
mod debugging;
mod draining;
mod floors;
mod patience;
mod placement;
mod progress;
mod proof;
mod store_contract;
mod telemetry;
mod worker_service;
mod zookeeper_store;
