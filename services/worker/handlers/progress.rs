//! What a program writes to the descriptor that `HERDSMAN_PROGRESS_FD` names: how far it is, a line each time.
//!
//! ```text
//! {"fraction": 0.4, "message": "resizing", "details": {"done": 40, "of": 100}}
//! 40% resizing
//! resizing
//! {}
//! ```
//!
//! What a line does not say stays as it was; an empty one says that the program is alive. A line that cannot be read is
//! logged and counted, and costs the program nothing.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use serde_json::Value;
use tokio::{io::AsyncRead, time::Instant};
use tokio_util::sync::CancellationToken;

use super::output::read;
use crate::{
    domain::{Fraction, Progress},
    worker::handler::Reporter,
};

/// Longest line, in bytes: the largest progress, with every other character escaped.
const MAX_LINE_BYTES: usize = 8 * 1024;
/// Lines that are looked at one by one each second. Two a second are sent, so beyond this only the last of what comes at
/// once is looked at: a program that writes as fast as it can costs its worker hardly more than the reading.
const LINES_PER_SECOND: u32 = 100;
const SECOND: Duration = Duration::from_secs(1);

/// Reads to the end, or until `enough` is cancelled.
pub(super) async fn follow(mut pipe: impl AsyncRead + Unpin, reporter: &Reporter, enough: &CancellationToken) {
    let mut lines = Lines::new(reporter);
    while let Some(bytes) = read(&mut pipe, enough).await {
        lines.take(&bytes);
    }
    lines.end();
}

struct Lines<'a> {
    reporter: &'a Reporter,
    line: Vec<u8>,
    /// The line is longer than what is kept of it.
    too_long: bool,
    last: Progress,
    second: Instant,
    in_second: u32,
    /// One was bad in this second, and told.
    complained: bool,
}

impl<'a> Lines<'a> {
    fn new(reporter: &'a Reporter) -> Self {
        let (second, last) = (Instant::now(), Progress::default());
        Self { reporter, line: Vec::new(), too_long: false, last, second, in_second: 0, complained: false }
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.second.elapsed() >= SECOND {
            (self.second, self.in_second, self.complained) = (Instant::now(), 0, false);
        }
        let mut parts = bytes.split_inclusive(|&byte| byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            let Some(text) = part.strip_suffix(b"\n") else {
                self.grow(part);
                break;
            };
            self.grow(text);
            let last = parts.peek().is_none_or(|next| !next.ends_with(b"\n"));
            if last || self.in_second < LINES_PER_SECOND {
                self.in_second = self.in_second.saturating_add(1);
                self.look();
            }
            self.line.clear();
            self.too_long = false;
        }
    }

    fn grow(&mut self, text: &[u8]) {
        let room = MAX_LINE_BYTES - self.line.len();
        self.too_long |= text.len() > room;
        self.line.extend_from_slice(&text[..text.len().min(room)]);
    }

    fn end(&mut self) {
        if !self.line.is_empty() {
            self.look();
        }
    }

    fn look(&mut self) {
        let read = if self.too_long {
            Err(format!("a line has at most {MAX_LINE_BYTES} bytes"))
        } else {
            parse(&self.line, &self.last)
        };
        match read {
            Ok(Some(progress)) => {
                self.last = progress.clone();
                self.reporter.progress(progress);
            }
            Ok(None) => self.reporter.alive(),
            Err(problem) => {
                self.reporter.invalid();
                if !std::mem::replace(&mut self.complained, true) {
                    tracing::warn!("a line of progress is left out: {problem}");
                }
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    fraction: Option<f64>,
    message: Option<String>,
    details: Option<BTreeMap<String, Value>>,
}

/// What a line says, after the one before it. None: that the program is alive.
fn parse(line: &[u8], last: &Progress) -> Result<Option<Progress>, String> {
    let text = std::str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?.trim();
    let said = if text.is_empty() {
        return Ok(None);
    } else if text.starts_with('{') {
        serde_json::from_str(text).map_err(|error| error.to_string())?
    } else {
        plain(text)
    };
    let Line { fraction, message, details } = said;
    if fraction.is_none() && message.is_none() && details.is_none() {
        return Ok(None);
    }
    let mut progress = last.clone();
    if let Some(fraction) = fraction {
        progress.fraction = Some(Fraction::new(fraction).ok_or("fraction: must be 0 to 1")?);
    }
    if let Some(details) = details {
        progress.details =
            details.into_iter().map(|(key, value)| Ok((key, word(value)?))).collect::<Result<_, String>>()?;
        progress.message = "".into();
        progress.check().map_err(|problem| problem.to_string())?;
    }
    let message = message.unwrap_or_else(|| last.message.to_string());
    Ok(Some(progress.message(message)))
}

/// `40% resizing`, `40%`, or just a text.
fn plain(text: &str) -> Line {
    let percent = text.split_once('%').and_then(|(number, rest)| {
        let number: f64 = number.trim_end().parse().ok()?;
        (0.0..=100.0).contains(&number).then_some((number / 100.0, rest.trim()))
    });
    let (fraction, message) = percent.map_or((None, text), |(fraction, rest)| (Some(fraction), rest));
    Line { fraction, message: (!message.is_empty()).then(|| message.to_owned()), details: None }
}

/// Numbers and truth values as they are written.
fn word(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(format!("details: a value must be a text, a number, true or false, is {value}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        domain::{AttemptId, Fence, MAX_PROGRESS_BYTES},
        worker::desk::Desk,
    };

    /// A desk, and the way to it.
    fn desk() -> (Arc<Desk>, Reporter) {
        let desk = Arc::new(Desk::default());
        let attempt = AttemptId { task_id: "t".parse().unwrap(), attempt: 1, fence: Fence(1) };
        (desk.clone(), Reporter::new(attempt, desk, None))
    }

    fn read(line: &str) -> Option<Progress> {
        parse(line.as_bytes(), &Progress::new(0.1).message("before").detail("n", 1)).unwrap()
    }

    #[test]
    fn what_a_line_does_not_say_stays() {
        let before = Progress::new(0.1).message("before").detail("n", 1);
        let all = read(r#"{"fraction": 0.4, "message": "on", "details": {"done": 40, "ok": true, "file": "a"}}"#);
        let expected = Progress::new(0.4).detail("done", 40).detail("ok", true).detail("file", "a").message("on");
        assert_eq!(all, Some(expected));
        let further = |fraction: f64| Progress { fraction: Fraction::new(fraction), ..before.clone() };
        assert_eq!(read(r#"{"fraction": 1}"#), Some(further(1.0)));
        assert_eq!(read("40%"), Some(further(0.4)));
        assert_eq!(read(" 12.5% on "), Some(further(0.125).message("on")));
        assert_eq!(read("on"), Some(before.clone().message("on")));
        assert_eq!(read("140% on"), Some(before.clone().message("140% on")), "a text");
        assert_eq!((read("{}"), read(" ")), (None, None));
        let long = "x".repeat(2 * MAX_PROGRESS_BYTES);
        assert_eq!(read(&long).unwrap().message.len(), MAX_PROGRESS_BYTES - 2, "cut to what is left by the details");
    }

    #[test]
    fn a_bad_line_is_refused_with_the_reason() {
        let refused = |line: &str| parse(line.as_bytes(), &Progress::default()).unwrap_err();
        assert_eq!(refused(r#"{"fraction": 1.5}"#), "fraction: must be 0 to 1");
        assert!(refused(r#"{"percent": 40}"#).contains("unknown field"));
        assert!(refused(r#"{"details": {"a": [1]}}"#).contains("details"));
        assert!(refused(r#"{"details": {"": 1}}"#).contains("key"));
        assert!(refused(r#"{"fraction":"#).contains("EOF"));
        let many: Vec<_> = (0..17).map(|at| format!("\"{at}\": 1")).collect();
        assert!(refused(&format!("{{\"details\": {{{}}}}}", many.join(","))).contains("at most 16"));
        assert!(parse(b"\xff", &Progress::default()).is_err());
    }

    #[tokio::test]
    async fn a_flood_costs_little_and_its_last_line_counts() {
        let (desk, reporter) = desk();
        let mut flood = vec![b'x'; 3 * MAX_LINE_BYTES];
        flood.extend_from_slice(b"\n{\n");
        flood.extend_from_slice("{\"fraction\": 0.5}\n".repeat(50_000).as_bytes());
        flood.extend_from_slice(b"99% nearly\n100% done");
        follow(&flood[..], &reporter, &CancellationToken::new()).await;
        let said = desk.take().into_values().next().flatten();
        assert_eq!(said, Some(Progress::new(1.0).message("done")));
        assert_eq!(desk.invalid(), 2, "the line that never ends, and the one that is no JSON");
    }

    #[test]
    fn beyond_the_pace_only_the_last_of_what_comes_at_once_is_looked_at() {
        let (desk, reporter) = desk();
        let mut lines = Lines::new(&reporter);
        lines.take("{\n".repeat(1_000).as_bytes());
        assert!(desk.invalid() <= u64::from(LINES_PER_SECOND) + 1, "{}", desk.invalid());
        lines.take(b"1%\n2%\n3%\n4");
        assert_eq!(desk.take().into_values().next().flatten(), Some(Progress::new(0.03)));
    }
}
