//! Handlers to try a cluster with.

use async_trait::async_trait;
use bytes::Bytes;

use crate::worker::handler::{Attempt, Handler, HandlerError};

/// Returns its payload.
pub(super) struct Echo;

#[async_trait]
impl Handler for Echo {
    async fn run(&self, attempt: Attempt) -> Result<Bytes, HandlerError> {
        Ok(attempt.payload)
    }
}

/// Returns nothing, at once.
pub(super) struct Noop;

#[async_trait]
impl Handler for Noop {
    async fn run(&self, _attempt: Attempt) -> Result<Bytes, HandlerError> {
        Ok(Bytes::new())
    }
}

/// Sleeps for the time in its payload, such as `250ms` or `1m 30s`.
pub(super) struct Sleep;

#[async_trait]
impl Handler for Sleep {
    async fn run(&self, attempt: Attempt) -> Result<Bytes, HandlerError> {
        let text = std::str::from_utf8(&attempt.payload)
            .map_err(|_| HandlerError::new("the payload of a sleep must be a time such as 250ms, is not text"))?;
        let time = humantime::parse_duration(text.trim()).map_err(|error| {
            let shown = text.chars().take(40).collect::<String>();
            HandlerError::new(format!("the payload of a sleep must be a time such as 250ms, is {shown:?}: {error}"))
        })?;
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(Bytes::new()),
            () = attempt.cancelled.cancelled() => Err(HandlerError::new("woken before its time: cancelled")),
        }
    }
}
