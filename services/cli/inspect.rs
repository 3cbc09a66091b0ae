//! `inspect`: what is in ZooKeeper, decoded.

use std::{ops::ControlFlow, time::Duration};

use clap::Args;
use serde_json::json;

use super::{exit::Failure, options::duration, output::Output};
use crate::store::{
    StoreError,
    zookeeper::{Entry, ZooKeeperOptions, inspect},
};

#[derive(Debug, Args)]
#[command(after_help = "\
Reads only. Works while no master is up. A node that does not decode is shown with the reason,
and makes the exit status 1. Directories of tasks with nothing in them are left out.

Examples:
  herdsman inspect --zookeeper zk1:2181
  herdsman inspect --zookeeper zk1:2181 /master
  herdsman inspect --zookeeper zk1:2181 --output json /tasks | jq 'select(.what == \"task\")'")]
pub(super) struct Inspect {
    /// Servers of ZooKeeper, and the node that everything lies under; without one, /herdsman
    #[arg(long, env = "HERDSMAN_ZOOKEEPER", value_name = "HOST:PORT[,HOST:PORT…][/CHROOT]", hide_env_values = true)]
    zookeeper: String,
    /// Session timeout, for the time of reading
    #[arg(long, env = "HERDSMAN_SESSION_TIMEOUT", default_value = "4s", value_name = "DURATION", value_parser = duration, hide_env_values = true)]
    session_timeout: Duration,
    /// The node to begin at
    #[arg(default_value = "/", value_name = "PATH")]
    path: String,
}

impl Inspect {
    pub(super) async fn run(self, output: &Output) -> Result<(), Failure> {
        if !self.path.starts_with('/') {
            return Err(Failure::unable(format!("{:?} is not the path of a node: it must begin with /", self.path)));
        }
        let options = ZooKeeperOptions { servers_and_chroot: self.zookeeper, session_timeout: self.session_timeout };
        let (mut shown, mut all_decode) = (Ok(()), true);
        inspect(&options, &self.path, &mut |entry| {
            all_decode &= entry.value.is_ok();
            if is_empty(&entry) && entry.path != self.path {
                return ControlFlow::Continue(());
            }
            shown = if output.is_json() { output.line(object(&entry)) } else { output.line(describe(&entry)) };
            if shown.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .await
        .map_err(|error| match error {
            StoreError::Broken(_) => Failure::Refused(error.into()),
            other => Failure::unable(other),
        })?;
        shown?;
        if all_decode { Ok(()) } else { Err(Failure::Untrue) }
    }
}

/// A bucket or a worker's directory with nothing in it, of which there are hundreds.
fn is_empty(entry: &Entry) -> bool {
    entry.what == "directory" && entry.children == 0 && matches!(entry.value, Ok(serde_json::Value::Null))
}

fn object(entry: &Entry) -> serde_json::Value {
    let (value, problem) = match &entry.value {
        Ok(value) => (value.clone(), None),
        Err(problem) => (serde_json::Value::Null, Some(problem)),
    };
    json!({
        "path": entry.path,
        "what": entry.what,
        "value": value,
        "problem": problem,
        "bytes": entry.bytes,
        "version": entry.version,
        "ephemeral": entry.ephemeral,
    })
}

fn describe(entry: &Entry) -> String {
    let ephemeral = if entry.ephemeral { ", ephemeral" } else { "" };
    let value = match &entry.value {
        Ok(serde_json::Value::Null) => String::new(),
        Ok(value) => format!(" {value}"),
        Err(problem) => format!(" CORRUPT: {problem}"),
    };
    format!("{} [{}, {} bytes, version {}{ephemeral}]{value}", entry.path, entry.what, entry.bytes, entry.version)
}
