#![doc = include_str!("ARCHITECTURE.md")]

pub mod domain;
pub mod runtime;
pub mod store;
pub mod wire;

pub mod client;
pub mod master;
pub mod worker;

pub mod cli;
