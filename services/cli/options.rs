//! Parts of options that several verbs share.

use std::net::{SocketAddr, ToSocketAddrs};

use crate::wire::{self, proto::v1};

/// `key=value`, as every label is.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    wire::label(key, value).map_err(|problem| format!("must be KEY=VALUE: {problem}"))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// An address to listen on: IP:PORT, or a name that stands for one, as `localhost:7070`.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let hint = "must be IP:PORT, as 127.0.0.1:7070";
    text.to_socket_addrs().ok().and_then(|mut all| all.next()).ok_or_else(|| hint.to_owned())
}

/// host:port, as others reach it.
pub(super) fn host_and_port(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => Ok(text.to_owned()),
        _ => Err("must be HOST:PORT".to_owned()),
    }
}

/// A host's name or address, without a port.
pub(super) fn host(text: &str) -> Result<String, String> {
    let brackets = text.starts_with('[') && text.ends_with(']');
    if text.is_empty() || text.contains('/') || text.contains(':') && !brackets {
        return Err("must be HOST, without a port; an IPv6 address in brackets".to_owned());
    }
    Ok(text.to_owned())
}

/// `4s`, `500ms`, `1m 30s`; at least a millisecond.
pub(super) fn duration(text: &str) -> Result<std::time::Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration.as_millis() == 0 => Err("must be at least 1ms".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; write 4s or 500ms")),
    }
}

/// Whether something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Switch {
    On,
    Off,
}

/// The state of a task, as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum State {
    Pending,
    Assigned,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl From<State> for v1::TaskState {
    fn from(state: State) -> Self {
        match state {
            State::Pending => Self::Pending,
            State::Assigned => Self::Assigned,
            State::Running => Self::Running,
            State::Succeeded => Self::Succeeded,
            State::Failed => Self::Failed,
            State::Cancelled => Self::Cancelled,
        }
    }
}
