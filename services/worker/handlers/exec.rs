//! Programs as handlers: payload on standard input, result from standard output, standard error is the log, the exit
//! status is the outcome. Nothing of a task ever reaches a shell, and its payload never reaches a command line.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf, pin::pin, str::FromStr, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join3;
use tokio_util::sync::CancellationToken;

use super::{output, progress};
use crate::{
    domain::{FailureReason, MAX_RESULT_BYTES},
    worker::{
        guard::{End, Guard, Launch, Outputs},
        handler::{Attempt, Handler, HandlerError},
    },
};

/// How long the outputs are read on after the program and all that it started are gone: what is in a pipe is there at
/// once.
const OUTPUT_LIMIT: Duration = Duration::from_secs(1);

/// A program that runs the tasks of one kind.
#[derive(Debug)]
pub struct Exec {
    pub(super) guard: Guard,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<Template>,
    pub(super) environment: BTreeMap<String, String>,
    /// Variables of the worker that are passed on.
    pub(super) passed: Vec<String>,
    pub(super) directory: Option<PathBuf>,
    pub(super) grace: Duration,
}

#[async_trait]
impl Handler for Exec {
    async fn run(&self, attempt: Attempt) -> Result<Bytes, HandlerError> {
        let launch = Launch {
            program: &self.program,
            arguments: self.arguments.iter().map(|argument| argument.fill(&attempt).into()).collect(),
            environment: self.environment(&attempt),
            directory: self.directory.as_ref(),
            grace: self.grace,
            payload: &attempt.payload,
        };
        let started = self.guard.start(launch).await;
        let (child, Outputs { stdout, stderr, progress: reports }) =
            started.map_err(|error| HandlerError::new(error.to_string()))?;

        let (too_large, enough) = (CancellationToken::new(), CancellationToken::new());
        let stop = async {
            tokio::select! {
                () = attempt.cancelled.cancelled() => {}
                () = too_large.cancelled() => {}
            }
        };
        let end = async {
            let end = child.end(stop).await;
            (end, tokio::time::Instant::now() + OUTPUT_LIMIT)
        };
        let log = attempt.reporter.log();
        let mut reading = pin!(join3(
            output::result(stdout, &too_large, &enough),
            output::log(stderr, &attempt.task_id, &log, &enough),
            progress::follow(reports, &attempt.reporter, &enough),
        ));
        let mut end = pin!(end);
        // Both go on at once; the outputs may close long before the program ends, or be held open after it.
        let ((end, limit), early) = tokio::select! {
            end = &mut end => (end, None),
            outputs = &mut reading => ((&mut end).await, Some(outputs)),
        };
        let (result, log, ()) = if let Some(outputs) = early {
            outputs
        } else {
            tokio::select! {
                outputs = &mut reading => outputs,
                () = tokio::time::sleep_until(limit) => {
                    enough.cancel();
                    reading.await
                }
            }
        };
        match result {
            Some(result) => self.outcome(&end, result, &log),
            None => Err(too_large_result()),
        }
    }
}

impl Exec {
    fn environment(&self, attempt: &Attempt) -> BTreeMap<OsString, OsString> {
        let own = [
            ("HERDSMAN_TASK_ID", attempt.task_id.to_string()),
            ("HERDSMAN_ATTEMPT", attempt.attempt.to_string()),
            ("HERDSMAN_FENCE", attempt.fence.0.to_string()),
            ("HERDSMAN_KIND", attempt.kind.to_string()),
            ("HERDSMAN_QUEUE", attempt.queue.to_string()),
        ];
        let trace = attempt.traceparent.as_deref().map(|trace| ("TRACEPARENT".into(), trace.into()));
        let passed = self.passed.iter().filter_map(|name| Some((name.into(), std::env::var_os(name)?)));
        let configured = self.environment.iter().map(|(name, value)| (name.into(), value.into()));
        let own = own.into_iter().map(|(name, value)| (name.into(), value.into()));
        passed.chain(configured).chain(own).chain(trace).collect()
    }

    fn outcome(&self, end: &End, result: Vec<u8>, log: &str) -> Result<Bytes, HandlerError> {
        let program = self.program.display();
        let (what, exit_status) = match *end {
            End::Exited(0) => return Ok(result.into()),
            End::Exited(status) => (format!("{program} exited with status {status}"), Some(status)),
            End::Killed(signal) => (format!("{program} was killed by {}", signal_name(signal)), None),
            End::Unguarded => (format!("{program} lost its guard and was killed"), None),
        };
        let message = if log.is_empty() { what } else { format!("{what}: {log}") };
        Err(HandlerError { exit_status, ..HandlerError::new(message) })
    }
}

fn too_large_result() -> HandlerError {
    let message = format!("the result is larger than {MAX_RESULT_BYTES} bytes");
    HandlerError { reason: FailureReason::ResultTooLarge, ..HandlerError::new(message) }
}

/// The signals that end programs, by the names that people know them by.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal} ({name})")
}

/// One argument of a program, with places for what Herdsman itself knows of an attempt. All of it follows the grammar of
/// ids, so that no task can add an option to a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    TaskId,
    Attempt,
    Kind,
    Queue,
}

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error(
        "unknown placeholder {{{0}}}; there are {{task_id}} {{attempt}} {{kind}} {{queue}}; a brace is {{{{ or }}}}"
    )]
    Unknown(String),
    #[error("a {{ without its }}; a brace is {{{{ or }}}}")]
    Open,
    #[error("a }} without its {{; a brace is {{{{ or }}}}")]
    Close,
    #[error("has a NUL byte")]
    Nul,
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match c {
                '\0' => return Err(TemplateError::Nul),
                '{' | '}' if rest.as_str().starts_with(c) => literal.extend(rest.next()),
                '}' => return Err(TemplateError::Close),
                '{' => {
                    let (name, after) = rest.as_str().split_once('}').ok_or(TemplateError::Open)?;
                    rest = after.chars();
                    pieces.push(Piece::Text(std::mem::take(&mut literal)));
                    pieces.push(placeholder(name)?);
                }
                c => literal.push(c),
            }
        }
        pieces.push(Piece::Text(literal));
        Ok(Self(pieces))
    }
}

fn placeholder(name: &str) -> Result<Piece, TemplateError> {
    match name {
        "task_id" => Ok(Piece::TaskId),
        "attempt" => Ok(Piece::Attempt),
        "kind" => Ok(Piece::Kind),
        "queue" => Ok(Piece::Queue),
        other => Err(TemplateError::Unknown(other.to_owned())),
    }
}

impl Template {
    fn fill(&self, attempt: &Attempt) -> String {
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::TaskId => attempt.task_id.to_string(),
                Piece::Attempt => attempt.attempt.to_string(),
                Piece::Kind => attempt.kind.to_string(),
                Piece::Queue => attempt.queue.to_string(),
            })
            .collect()
    }
}
