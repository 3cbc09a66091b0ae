//! How the process ends when what was asked for did not come true: one line on stderr, and a status.

use std::{fmt, io::Write, process::ExitCode};

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// What a shell reports for a program whose reader went away: 128 + SIGPIPE.
const PIPE_CLOSED: u8 = 141;

/// Why what was asked for did not come true.
#[derive(Debug)]
pub(super) enum Failure {
    /// It could not be tried, or nobody answered: status 2.
    Unable(anyhow::Error),
    /// It was tried, and refused: status 1.
    Refused(anyhow::Error),
    /// It did not come true, and everything has been said about it: status 1.
    Untrue,
    /// Nobody reads the output any more; nothing is to be said.
    PipeClosed,
}

impl Failure {
    pub(super) fn unable(reason: impl fmt::Display) -> Self {
        Self::Unable(anyhow::anyhow!("{reason}"))
    }

    /// The same, with what it is about before it.
    pub(super) fn about(self, what: impl fmt::Display) -> Self {
        match self {
            Self::Unable(error) => Self::Unable(anyhow::anyhow!("{what}: {error:#}")),
            Self::Refused(error) => Self::Refused(anyhow::anyhow!("{what}: {error:#}")),
            Self::Untrue | Self::PipeClosed => self,
        }
    }

    /// Says it, once, and gives the exit status.
    pub(super) fn tell(self) -> ExitCode {
        match self {
            Self::Unable(error) => {
                complain(format!("{error:#}"));
                ExitCode::from(2)
            }
            Self::Refused(error) => {
                complain(format!("{error:#}"));
                ExitCode::FAILURE
            }
            Self::Untrue => ExitCode::FAILURE,
            Self::PipeClosed => ExitCode::from(PIPE_CLOSED),
        }
    }
}

/// One line on stderr for the person who waits; stdout is for results.
pub(super) fn note(text: impl fmt::Display) {
    // There is nobody left to tell that stderr is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// One line on stderr about what went wrong, whatever is in the text.
pub(super) fn complain(text: impl fmt::Display) {
    let line = text.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    note(format_args!("herdsman: {line}"));
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let error = anyhow::anyhow!(describe(&status));
        if in_doubt(&status) { Self::Unable(error) } else { Self::Refused(error) }
    }
}

/// Whether the call may be repeated as it is: nobody answered, or the answer was lost. A status with a source was made
/// at this end, by the transport.
pub(super) fn in_doubt(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) || std::error::Error::source(status).is_some()
}

fn describe(status: &Status) -> String {
    let violations = status.get_details_bad_request().map(|details| details.field_violations).unwrap_or_default();
    let message = match violations.as_slice() {
        [] => status.message().to_owned(),
        all => all.iter().map(|v| format!("{}: {}", v.field, v.description)).collect::<Vec<_>>().join("; "),
    };
    let task = status.get_details_error_info().and_then(|info| info.metadata.get("task_id").cloned());
    let cause = innermost(status).filter(|cause| !message.contains(cause)).map(|cause| format!(": {cause}"));
    format!(
        "{}{message}{} ({})",
        task.map(|id| format!("task {id}: ")).unwrap_or_default(),
        cause.unwrap_or_default(),
        code_name(status.code())
    )
}

fn innermost(status: &Status) -> Option<String> {
    let mut source = std::error::Error::source(status)?;
    while let Some(next) = source.source() {
        source = next;
    }
    Some(source.to_string())
}

/// The name of a code as the gRPC documentation writes it.
pub(super) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
