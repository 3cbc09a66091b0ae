//! What attempts write to their logs: of each the end, in memory, for whoever reads it, while it runs and for a while
//! after. A reader never holds up the writer: what is too old is dropped, and the reader is told how much.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::domain::{AttemptId, Fence, TaskId, WorkerOffer};

/// What is kept of one attempt's output, in bytes: some hundred lines, enough to see what went wrong.
pub const KEPT_BYTES: usize = 64 * 1024;
/// Most attempts that have ended of which something is kept, and most bytes of them together: those of the last minutes on
/// a busy worker, at a price that nobody notices.
const MAX_ENDED: usize = 1_000;
const MAX_ENDED_BYTES: usize = 32 * 1024 * 1024;
/// Most logs of attempts that run. There are no more than slots; what a handler leaves behind that writes on after its
/// attempt's end takes a place too, and must not take more than these.
const MAX_OPEN: usize = 2 * WorkerOffer::MAX_SLOTS as usize;
/// Most bytes of one piece: it is copied for each reader.
const PIECE_BYTES: usize = 16 * 1024;

/// The end of what one attempt writes.
#[derive(Debug, Default)]
pub struct Log {
    kept: Mutex<Kept>,
    grown: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: VecDeque<u8>,
    /// Everything that was ever written, in bytes.
    written: u64,
    ended: bool,
}

/// Some of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins, in bytes from the beginning.
    pub offset: u64,
    pub data: Bytes,
    /// How much of what was asked for was dropped before it.
    pub skipped: u64,
    /// The attempt has ended, and this is the end of its log.
    pub last: bool,
}

impl Log {
    /// Takes what was written. Nothing counts after the end.
    pub fn write(&self, bytes: &[u8]) {
        let mut kept = self.lock();
        if kept.ended || bytes.is_empty() {
            return;
        }
        let newest = &bytes[bytes.len().saturating_sub(KEPT_BYTES)..];
        let over = (kept.bytes.len() + newest.len()).saturating_sub(KEPT_BYTES);
        kept.bytes.drain(..over);
        kept.bytes.extend(newest);
        kept.written += bytes.len() as u64;
        drop(kept);
        self.grown.notify_waiters();
    }

    /// The last of it.
    pub fn tail(&self, most: usize) -> Vec<u8> {
        let kept = self.lock();
        kept.bytes.range(kept.bytes.len().saturating_sub(most)..).copied().collect()
    }

    /// So much before the present end.
    pub fn before_end(&self, bytes: u64) -> u64 {
        self.lock().written.saturating_sub(bytes)
    }

    /// The next piece from this offset on. None: there is none yet.
    pub fn piece(&self, from: u64) -> Option<Piece> {
        let kept = self.lock();
        let oldest = kept.written - kept.bytes.len() as u64;
        let offset = from.max(oldest);
        let start = usize::try_from(offset - oldest).unwrap_or(usize::MAX).min(kept.bytes.len());
        let data: Bytes = kept.bytes.range(start..).take(PIECE_BYTES).copied().collect();
        let last = kept.ended && start + data.len() == kept.bytes.len();
        (last || !data.is_empty()).then(|| Piece { offset, data, skipped: offset - from, last })
    }

    /// The same, as soon as there is one.
    pub async fn next(&self, from: u64) -> Piece {
        loop {
            // Begun before the look, so that what is written in between wakes it.
            let grown = self.grown.notified();
            if let Some(piece) = self.piece(from) {
                return piece;
            }
            grown.await;
        }
    }

    /// Nothing more comes. Returns what is kept, in bytes.
    fn end(&self) -> usize {
        let mut kept = self.lock();
        kept.ended = true;
        kept.bytes.shrink_to_fit();
        let bytes = kept.bytes.len();
        drop(kept);
        self.grown.notify_waiters();
        bytes
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Whole between its methods, even if one panicked.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The logs of a worker. An attempt that writes nothing and that nobody reads has none, and costs nothing.
#[derive(Debug, Default)]
pub struct Logs {
    shelf: Mutex<Shelf>,
    /// Logs of attempts that run.
    open: AtomicUsize,
}

#[derive(Debug, Default)]
struct Shelf {
    logs: BTreeMap<AttemptId, Arc<Log>>,
    /// Of the attempts that have ended, the oldest first, with what is kept of each.
    ended: VecDeque<(AttemptId, usize)>,
    ended_bytes: usize,
}

impl Logs {
    /// The log of an attempt that runs, made if there is none. Beyond the limit it is one that nobody finds.
    pub fn open(&self, attempt: &AttemptId) -> Arc<Log> {
        let mut all = self.lock();
        if let Some(log) = all.logs.get(attempt) {
            return log.clone();
        }
        let log = Arc::<Log>::default();
        if self.open.load(Ordering::Relaxed) < MAX_OPEN {
            self.open.fetch_add(1, Ordering::Relaxed);
            all.logs.insert(attempt.clone(), log.clone());
        }
        log
    }

    /// A log that is there; without a fence the newest under this number. Looks at all.
    pub fn find(&self, task_id: &TaskId, attempt: u32, fence: Option<Fence>) -> Option<Arc<Log>> {
        let all = self.lock();
        let found = all.logs.iter().rev().find(|(id, _)| id.is(task_id, attempt, fence));
        found.map(|(_, log)| log.clone())
    }

    /// The attempt has ended.
    pub fn end(&self, attempt: &AttemptId) {
        if self.open.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut all = self.lock();
        let Some(log) = all.logs.get(attempt) else { return };
        let bytes = log.end();
        self.open.fetch_sub(1, Ordering::Relaxed);
        all.ended.push_back((attempt.clone(), bytes));
        all.ended_bytes += bytes;
        while all.ended.len() > MAX_ENDED || all.ended_bytes > MAX_ENDED_BYTES {
            let Some((oldest, bytes)) = all.ended.pop_front() else { break };
            all.ended_bytes -= bytes;
            all.logs.remove(&oldest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
