//! A program that a handler starts never outlives its worker, however the worker dies.
//!
//! Between the two stands a guard: this same executable, run once more under another first argument. The worker holds
//! one end of a socket, the guard the other. When the worker's end closes (it closed it to stop the program, or it
//! died, by `kill -9` too) the guard stops the program with everything that the program started: SIGTERM to its
//! process group, SIGKILL after a grace. The program's own end is told through the same socket. A socket instead of a
//! parent-death signal: that one fires at the death of the spawning *thread*, and says nothing in the other direction.
//!
//! The program's standard streams go past the guard, and so does its progress: the worker sends the guard the writing end of
//! a pipe through the socket, ahead of the payload, and the program inherits it.
//!
//! A guard that is itself killed guards nothing; as long as the worker lives, the worker then kills the program's
//! group.

mod child;
mod process;

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

pub use child::{Child, End, Launch, Outputs, StartError};

/// Tells the program the number of the descriptor that it may write its progress to.
const PROGRESS_FD: &str = "HERDSMAN_PROGRESS_FD";

/// The first argument of a guard.
const GUARD: &str = "__herdsman-guard";
/// This program, also when its file was replaced since it started.
const THIS_PROGRAM: &str = if cfg!(target_os = "linux") { "/proc/self/exe" } else { "" };

static ENTERED: AtomicBool = AtomicBool::new(false);

/// Becomes a guard, and never returns, if this process was started as one. To be called first thing in `main` of every
/// program that runs a worker with exec handlers, before it starts threads or reads its arguments.
#[allow(clippy::disallowed_methods, reason = "nothing of this process has begun yet, and main must not go on")]
pub fn enter_if_asked() {
    ENTERED.store(true, Ordering::Relaxed);
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() == Some(OsStr::new(GUARD)) {
        std::process::exit(process::run(arguments));
    }
}

/// This program never called [`enter_if_asked`].
#[derive(Debug, thiserror::Error)]
#[error("exec handlers need herdsman::worker::guard::enter_if_asked() to be called first thing in main")]
pub struct NotEntered;

/// How guards are started.
#[derive(Debug, Clone)]
pub struct Guard {
    executable: PathBuf,
}

impl Guard {
    /// Guards are this program.
    ///
    /// # Errors
    /// It never called [`enter_if_asked`]: run once more it would not be a guard, but whatever it is.
    pub fn this_program() -> Result<Self, NotEntered> {
        if !ENTERED.load(Ordering::Relaxed) {
            return Err(NotEntered);
        }
        if THIS_PROGRAM.is_empty() {
            return std::env::current_exe().map(Self::program).map_err(|_| NotEntered);
        }
        Ok(Self::program(THIS_PROGRAM))
    }

    /// Guards are another program, which calls [`enter_if_asked`]: for a process whose `main` is not its own, such as a
    /// test.
    pub fn program(executable: impl AsRef<Path>) -> Self {
        Self { executable: executable.as_ref().into() }
    }
}

/// What a guard says, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    /// The program runs, in a process group of this number.
    Started(i32),
    /// The program cannot be started.
    Refused(String),
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

/// Longest line of a guard, in bytes: an error of the operating system is far shorter.
const MAX_WORD_BYTES: u64 = 1024;

impl Word {
    fn line(&self) -> String {
        match self {
            Self::Started(group) => format!("started {group}\n"),
            Self::Refused(reason) => format!("refused {}\n", reason.replace('\n', " ")),
            Self::Exited(status) => format!("exited {status}\n"),
            Self::Killed(signal) => format!("killed {signal}\n"),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.trim_end().split_once(' ')?;
        match word {
            "started" => rest.parse().ok().map(Self::Started),
            "refused" => Some(Self::Refused(rest.to_owned())),
            "exited" => rest.parse().ok().map(Self::Exited),
            "killed" => rest.parse().ok().map(Self::Killed),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_guard_are_understood() {
        for word in [Word::Started(17), Word::Refused("no such file".into()), Word::Exited(3), Word::Killed(9)] {
            assert_eq!(Word::parse(&word.line()), Some(word));
        }
        for noise in ["", "started", "started x\n", "Usage: herdsman [OPTIONS]\n"] {
            assert_eq!(Word::parse(noise), None, "{noise:?}");
        }
    }

    #[test]
    fn a_program_that_never_enters_cannot_be_its_own_guard() {
        assert!(Guard::this_program().is_err(), "the main of this test program is not ours");
    }
}
