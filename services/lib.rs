#![doc = include_str!("ARCHITECTURE.md")]
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "the bans keep servers up; a test may block its own thread")
)]

pub mod domain;
pub mod runtime;
pub mod store;
pub mod wire;

pub mod client;
pub mod master;
pub mod worker;

pub mod cli;

#[cfg(test)]
mod proof;
