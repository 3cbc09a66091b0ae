//! Connections to other services.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

/// Longest wait for a connection: two lost SYNs on a local network, and still below the reconnect grace of a worker.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How often an otherwise quiet connection is probed by an HTTP/2 ping, at both of its ends.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// A connection whose ping is not answered within this is closed.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("{address:?} is not an address of the form host:port")]
    Address { address: String },
    #[error("cannot connect to {address}: {reason}")]
    Unreachable { address: String, reason: String },
    #[error("cannot connect to {address}: no answer within {CONNECT_TIMEOUT:?}")]
    Timeout { address: String },
}

/// Connects to `address` (host:port). The channel keeps itself alive with pings, and connects anew by itself when it is
/// used after a loss.
///
/// # Errors
/// Nobody listens there, the name is unknown, or nothing answered within [`CONNECT_TIMEOUT`].
pub async fn dial(address: &str) -> Result<Channel, DialError> {
    let invalid = || DialError::Address { address: address.into() };
    let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
    if host.is_empty() || host.contains(['/', '@']) || port.parse::<u16>().is_err() {
        return Err(invalid());
    }
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| invalid())?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    // The connect timeout of the endpoint is for one address of the name; this one is for all of them and the handshake.
    match tokio::time::timeout(CONNECT_TIMEOUT, endpoint.connect()).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(DialError::Unreachable { address: address.into(), reason: innermost(&error) }),
        Err(_) => Err(DialError::Timeout { address: address.into() }),
    }
}

/// The cause at the bottom is what a person can act on ("Connection refused"); the layers above say "transport error".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
