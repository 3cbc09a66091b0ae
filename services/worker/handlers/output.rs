//! What a program writes, within bounds: its result, and its log.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{MAX_RESULT_BYTES, TaskId},
    worker::logs::Log,
};

/// Read at once: a pipe's own buffer is as large as a result may be.
const READ_BYTES: usize = 8 * 1024;
/// Longest line of a log, in bytes; the rest of a longer one is dropped.
const MAX_LINE_BYTES: usize = 1024;
/// Lines that one attempt may log each second: a program in a loop must not drown its worker's log.
const MAX_LINES_PER_SECOND: u32 = 50;
const SECOND: Duration = Duration::from_secs(1);
/// How much of the end of the log goes into the message of a failure, in bytes: half of what a message may have.
const TAIL_BYTES: usize = 2 * 1024;

/// Reads a result to its end. None, with `too_large` cancelled and the pipe closed: it is larger than a result may be.
/// Ends early, with what there is, when `enough` is cancelled.
pub(super) async fn result(
    mut stdout: impl AsyncRead + Unpin,
    too_large: &CancellationToken,
    enough: &CancellationToken,
) -> Option<Vec<u8>> {
    let mut result = Vec::new();
    while let Some(bytes) = read(&mut stdout, enough).await {
        if result.len() + bytes.len() > MAX_RESULT_BYTES {
            too_large.cancel();
            return None;
        }
        result.extend_from_slice(&bytes);
    }
    Some(result)
}

/// Logs what comes: as it is to the attempt's log, line by line to the worker's. Returns the end of it.
pub(super) async fn log(
    mut stderr: impl AsyncRead + Unpin,
    task_id: &TaskId,
    log: &Log,
    enough: &CancellationToken,
) -> String {
    let mut lines = Lines::new(task_id);
    while let Some(bytes) = read(&mut stderr, enough).await {
        log.write(&bytes);
        lines.take(&bytes);
    }
    lines.end();
    String::from_utf8_lossy(&log.tail(TAIL_BYTES)).trim().to_owned()
}

/// None: it has ended, or nobody waits for more.
pub(super) async fn read(pipe: &mut (impl AsyncRead + Unpin), enough: &CancellationToken) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(READ_BYTES);
    tokio::select! {
        read = pipe.read_buf(&mut bytes) => read.ok().filter(|&read| read > 0).map(|_| bytes),
        () = enough.cancelled() => None,
    }
}

/// Cuts a stream of bytes into lines of the log.
struct Lines<'a> {
    task_id: &'a TaskId,
    line: Vec<u8>,
    second: Instant,
    in_second: u32,
    dropped: u64,
}

impl<'a> Lines<'a> {
    fn new(task_id: &'a TaskId) -> Self {
        Self { task_id, line: Vec::new(), second: Instant::now(), in_second: 0, dropped: 0 }
    }

    fn take(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, ends) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            let room = MAX_LINE_BYTES - self.line.len();
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                self.write();
            }
        }
    }

    fn end(&mut self) {
        if !self.line.is_empty() {
            self.write();
        }
        self.own_up();
    }

    fn write(&mut self) {
        let line = std::mem::take(&mut self.line);
        if self.second.elapsed() >= SECOND {
            self.own_up();
            self.second = Instant::now();
            self.in_second = 0;
        }
        if self.in_second == MAX_LINES_PER_SECOND {
            self.dropped += 1;
            return;
        }
        self.in_second += 1;
        // A program must not move the cursor of whoever reads the log.
        let text = String::from_utf8_lossy(&line).replace(|c: char| c.is_control() && c != '\t', "\u{fffd}");
        tracing::info!(task_id = %self.task_id, "stderr: {text}");
    }

    fn own_up(&mut self) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            tracing::warn!(task_id = %self.task_id, dropped, "stderr: more than {MAX_LINES_PER_SECOND} lines a second");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> TaskId {
        "t".parse().unwrap()
    }

    #[tokio::test]
    async fn a_result_of_exactly_the_limit_is_a_result_and_one_byte_more_is_not() {
        let (too_large, enough) = (CancellationToken::new(), CancellationToken::new());
        let most = vec![7; MAX_RESULT_BYTES];
        assert_eq!(result(&most[..], &too_large, &enough).await, Some(most));
        assert!(!too_large.is_cancelled());
        assert_eq!(result(&vec![7; MAX_RESULT_BYTES + 1][..], &too_large, &enough).await, None);
        assert!(too_large.is_cancelled());
    }

    #[tokio::test]
    async fn only_the_end_of_a_long_log_is_kept() {
        let text = format!("{}the end\n", "x".repeat(100_000));
        let tail = log(text.as_bytes(), &task(), &Log::default(), &CancellationToken::new()).await;
        assert_eq!(tail.len(), TAIL_BYTES - 1, "the newline is trimmed");
        assert!(tail.ends_with("xthe end"));
    }

    #[test]
    fn lines_are_bounded_in_length_and_number() {
        let task = task();
        let mut lines = Lines::new(&task);
        lines.take(&vec![b'x'; 10 * MAX_LINE_BYTES]);
        assert_eq!(lines.line.len(), MAX_LINE_BYTES);
        lines.take("\n".repeat(1_000).as_bytes());
        assert_eq!((lines.in_second, lines.dropped), (MAX_LINES_PER_SECOND, 1_000 - u64::from(MAX_LINES_PER_SECOND)));
    }
}
