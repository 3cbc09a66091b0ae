//! The command line keeps its promises: what goes to stdout, one clear line for what goes wrong, and the exit status.

mod bench;
mod demo;
mod documents;
mod following;
mod inspecting;
mod refusals;
mod verbs;

use super::support::process::Role;

/// A cluster in one process, gone with its test.
async fn cluster(more: &[&str]) -> Role {
    Role::start(&[&["dev", "--in-memory", "--listen", "127.0.0.1:0"], more].concat()).await
}
