//! The file that names a worker's programs:
//!
//! ```toml
//! [handlers.wordcount]            # the kind
//! program = "/usr/bin/wc"         # absolute; there is no shell
//! args = ["-w"]                   # may use {task_id} {attempt} {kind} {queue}; {{ and }} are braces
//! env = { LC_ALL = "C" }          # nothing else of the environment is passed on, but HERDSMAN_…
//! pass_env = ["PATH"]             # …and what the worker itself has under these names
//! cwd = "/var/tmp"                # absolute; the worker's own if not set
//! grace = "5s"                    # between SIGTERM and SIGKILL
//! ```
//!
//! What can be wrong is found when the file is loaded, not when a task comes.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use super::exec::{Exec, Template};
use crate::{
    domain::{Kind, WorkerOffer},
    worker::{guard::Guard, handler::Handlers},
};

/// Largest file, in bytes: a thousand bytes for each kind that a worker may serve.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// Between SIGTERM and SIGKILL, if the file says nothing: time to remove a temporary file.
const DEFAULT_GRACE: Duration = Duration::from_secs(5);
/// A slot is held for as long as its program is being stopped.
const MAX_GRACE: Duration = Duration::from_secs(30);
/// Most arguments of a program: enough for any that a person writes down.
const MAX_ARGUMENTS: usize = 64;

/// Why a file of handlers is refused; one line.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read {}: {reason}", file.display())]
    Read { file: PathBuf, reason: io::Error },
    #[error("{}: is larger than {MAX_FILE_BYTES} bytes", file.display())]
    TooLarge { file: PathBuf },
    #[error("{}, line {line}: {problem}", file.display())]
    Syntax { file: PathBuf, line: usize, problem: String },
    #[error("{}: {problem}", file.display())]
    Shape { file: PathBuf, problem: String },
    #[error("{}: handlers.{kind}: {problem}", file.display())]
    Handler { file: PathBuf, kind: String, problem: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    program: PathBuf,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    pass_env: Vec<String>,
    cwd: Option<PathBuf>,
    grace: Option<String>,
}

/// Reads the handlers of a file.
///
/// # Errors
/// Names the file, the kind and the key of the first thing that is wrong.
pub fn load(file: &Path, guard: &Guard) -> Result<Handlers, LoadError> {
    let shape = |problem: String| LoadError::Shape { file: file.into(), problem };
    let mut table = read(file)?;
    let entries = match table.remove("handlers") {
        Some(toml::Value::Table(entries)) if !entries.is_empty() => entries,
        _ => return Err(shape("has no [handlers.<kind>]".into())),
    };
    if let Some(key) = table.keys().next() {
        return Err(shape(format!("unknown key {key:?}; everything is under [handlers.<kind>]")));
    }
    if entries.len() > WorkerOffer::MAX_KINDS {
        return Err(shape(format!("names {} kinds, a worker has at most {}", entries.len(), WorkerOffer::MAX_KINDS)));
    }
    let mut handlers = Handlers::default();
    for (name, value) in entries {
        let wrong = |problem| LoadError::Handler { file: file.into(), kind: name.clone(), problem };
        let kind: Kind = name.parse().map_err(|error| wrong(format!("the kind {error}")))?;
        let entry = value.try_into::<Entry>().map_err(|error| wrong(one_line(error.message())))?;
        handlers = handlers.with(kind, check(entry, guard).map_err(wrong)?);
    }
    Ok(handlers)
}

fn read(file: &Path) -> Result<toml::Table, LoadError> {
    let unreadable = |reason| LoadError::Read { file: file.into(), reason };
    let length = fs::metadata(file).map_err(unreadable)?.len();
    if length > MAX_FILE_BYTES {
        return Err(LoadError::TooLarge { file: file.into() });
    }
    let text = fs::read_to_string(file).map_err(unreadable)?;
    text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        LoadError::Syntax { file: file.into(), line, problem: one_line(error.message()) }
    })
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn check(entry: Entry, guard: &Guard) -> Result<Exec, String> {
    check_program(&entry.program)?;
    if let Some(cwd) = entry.cwd.as_ref().filter(|cwd| !cwd.is_absolute() || !cwd.is_dir()) {
        return Err(format!("cwd: {} is not the absolute path of a directory", cwd.display()));
    }
    if entry.args.len() > MAX_ARGUMENTS {
        return Err(format!("args: must be at most {MAX_ARGUMENTS}, are {}", entry.args.len()));
    }
    let arguments =
        entry.args.iter().map(|text| text.parse::<Template>().map_err(|error| format!("args: {text:?}: {error}")));
    let arguments = arguments.collect::<Result<_, _>>()?;
    entry.env.keys().try_for_each(|name| check_variable("env", name))?;
    entry.pass_env.iter().try_for_each(|name| check_variable("pass_env", name))?;
    if let Some((name, _)) = entry.env.iter().find(|(_, value)| value.contains('\0')) {
        return Err(format!("env: the value of {name} has a NUL byte"));
    }
    let grace = entry.grace.map_or(Ok(DEFAULT_GRACE), |text| {
        humantime::parse_duration(&text).map_err(|error| format!("grace: {text:?}: {error}"))
    })?;
    if grace > MAX_GRACE {
        return Err(format!("grace: must be at most {MAX_GRACE:?}, is {grace:?}"));
    }
    Ok(Exec {
        guard: guard.clone(),
        program: entry.program,
        arguments,
        environment: entry.env,
        passed: entry.pass_env,
        directory: entry.cwd,
        grace,
    })
}

fn check_program(program: &Path) -> Result<(), String> {
    let shown = program.display();
    if !program.is_absolute() {
        return Err(format!("program: {shown:?} is not an absolute path"));
    }
    let metadata = fs::metadata(program).map_err(|error| format!("program: {shown}: {error}"))?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        return Err(format!("program: {shown} is not an executable file"));
    }
    Ok(())
}

fn check_variable(key: &str, name: &str) -> Result<(), String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(format!("{key}: {name:?} is not the name of an environment variable"));
    }
    if name.starts_with("HERDSMAN_") || name == "TRACEPARENT" {
        return Err(format!("{key}: {name} is set by Herdsman itself"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
