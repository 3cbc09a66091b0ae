//! A mailbox between the hub, which fills it, and one stream, which empties it.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::mailbox::{Mailbox, Next};

#[derive(Debug)]
pub(super) struct Slot {
    /// Never held across an await, nor while anything else is locked.
    mailbox: Mutex<Mailbox>,
    filled: Notify,
}

impl Slot {
    pub(super) fn new(mailbox: Mailbox) -> Self {
        Self { mailbox: Mutex::new(mailbox), filled: Notify::new() }
    }

    /// Changes the mailbox and wakes the stream.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut Mailbox) -> T) -> T {
        let result = self.with(change);
        self.filled.notify_one();
        result
    }

    /// The next thing to tell, and whether the stream has to ask for a step of first states.
    pub(super) fn next(&self) -> (Next, bool) {
        self.with(|mailbox| (mailbox.next(), mailbox.wants_step()))
    }

    /// Resolves when the mailbox was filled since the last time.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    fn with<T>(&self, work: impl FnOnce(&mut Mailbox) -> T) -> T {
        // A mailbox is whole between its methods, even if one panicked.
        work(&mut self.mailbox.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
