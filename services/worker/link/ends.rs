//! The two ends of a link that this side holds: one that speaks, one that listens. Each may be dropped in the middle of a
//! wait and waited for again; nothing is lost by it.

use std::{future::poll_fn, pin::Pin};

use futures::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{
    domain::Term,
    runtime::heartbeat::{HEARTBEAT, LINK_IDLE_LIMIT},
    wire::{InvalidField, LeaderToWorker, WorkerToLeader},
    worker::crew::Overrun,
};

/// Where messages to the leader go in.
pub type Outgoing = Pin<Box<dyn Sink<WorkerToLeader, Error = LinkError> + Send>>;
/// Where messages of the leader come out.
pub type Incoming = Pin<Box<dyn Stream<Item = Result<LeaderToWorker, LinkError>> + Send>>;

/// Why there is no link, or no longer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    #[error("{0}")]
    Unreachable(String),
    /// The leader does not want this link; `reason` is for machines.
    #[error("refused, {reason}: {message}")]
    Refused { reason: String, message: String },
    #[error("the link broke: {0}")]
    Broken(String),
    #[error("no welcome within {LINK_IDLE_LIMIT:?}")]
    NoWelcome,
    #[error("nothing heard for {LINK_IDLE_LIMIT:?}")]
    Silent,
    #[error("the leader said goodbye")]
    Goodbye,
    #[error("the link ended without a goodbye")]
    Ended,
    #[error("it leads in term {welcomed}, this worker was already welcomed to term {highest}")]
    LowerTerm { welcomed: Term, highest: Term },
    #[error("there is a leader of term {0}")]
    Succeeded(Term),
    #[error("it sent what is not valid: {0}")]
    Invalid(#[from] InvalidField),
    #[error("it sent a message out of turn")]
    OutOfTurn,
    #[error(transparent)]
    Overrun(#[from] Overrun),
}

/// Sends one message at a time, and a heartbeat when there has been none for a while.
pub(super) struct Speaker {
    outgoing: Outgoing,
    next: Option<WorkerToLeader>,
    unflushed: bool,
    silent_since: Instant,
}

impl Speaker {
    pub fn new(outgoing: Outgoing) -> Self {
        Self { outgoing, next: None, unflushed: false, silent_since: Instant::now() }
    }

    /// Can take a message.
    pub fn is_free(&self) -> bool {
        self.next.is_none()
    }

    /// Gives it a message, to be sent by [`Speaker::feed`] or [`Speaker::pump`].
    pub fn say(&mut self, message: WorkerToLeader) {
        self.next = Some(message);
    }

    /// Sends what it was given as far as others may still travel with it.
    pub async fn feed(&mut self) -> Result<(), LinkError> {
        if self.next.is_some() {
            poll_fn(|cx| self.outgoing.as_mut().poll_ready(cx)).await?;
            if let Some(message) = self.next.take() {
                self.outgoing.as_mut().start_send(message)?;
                self.silent_since = Instant::now();
                self.unflushed = true;
            }
        }
        Ok(())
    }

    /// Sends what it was given, or waits until a heartbeat is due and sends that.
    pub async fn pump(&mut self) -> Result<(), LinkError> {
        if self.next.is_none() && !self.unflushed {
            sleep_until(self.silent_since + HEARTBEAT).await;
            self.next = Some(WorkerToLeader::Heartbeat);
        }
        self.feed().await?;
        poll_fn(|cx| self.outgoing.as_mut().poll_flush(cx)).await?;
        self.unflushed = false;
        Ok(())
    }

    /// Sends what it still holds and the last messages, and closes its end.
    pub async fn finish(mut self, last: Vec<WorkerToLeader>) -> Result<(), LinkError> {
        for message in self.next.take().into_iter().chain(last) {
            self.outgoing.feed(message).await?;
        }
        self.outgoing.close().await
    }
}

/// Hears one message at a time, or that there has been silence for too long.
pub(super) struct Listener {
    incoming: Incoming,
    heard: Instant,
}

impl Listener {
    pub fn new(incoming: Incoming) -> Self {
        Self { incoming, heard: Instant::now() }
    }

    /// A message that is there. None: there is none.
    pub fn hear_more(&mut self) -> Option<Result<LeaderToWorker, LinkError>> {
        self.incoming.next().now_or_never().map(|message| message.unwrap_or(Err(LinkError::Ended)))
    }

    pub async fn hear(&mut self) -> Result<LeaderToWorker, LinkError> {
        match timeout_at(self.heard + LINK_IDLE_LIMIT, self.incoming.next()).await {
            Ok(Some(message)) => {
                self.heard = Instant::now();
                message
            }
            Ok(None) => Err(LinkError::Ended),
            Err(_) => Err(LinkError::Silent),
        }
    }
}
