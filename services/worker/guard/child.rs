//! The worker's side of a guard.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::{
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
    process::{Pid, Signal, kill_process_group},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Take},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf, pipe},
    },
    process::{ChildStderr, ChildStdout, Command},
    time::timeout,
};

use super::{GUARD, Guard, MAX_WORD_BYTES, Word};

/// Longest wait for a guard to say that the program runs: it starts in milliseconds, on a machine that has any left.
const START_LIMIT: Duration = Duration::from_secs(10);
/// What a guard may take beyond the grace of its program before it is held for stuck.
const STOP_MARGIN: Duration = Duration::from_secs(3);

/// What is to be started.
#[derive(Debug)]
pub struct Launch<'a> {
    pub program: &'a Path,
    pub arguments: Vec<OsString>,
    /// All of it: nothing of the worker's own environment is added.
    pub environment: BTreeMap<OsString, OsString>,
    pub directory: Option<&'a PathBuf>,
    /// Between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// Its standard input.
    pub payload: &'a [u8],
}

/// Why a program did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot start a guard for {program}: {reason}")]
    Guard { program: String, reason: String },
    #[error("cannot start {program}: {reason}")]
    Program { program: String, reason: String },
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// Not known: the guard itself ended. Its program was killed.
    Unguarded,
}

/// A program that runs under a guard. Dropped, the guard stops it.
#[derive(Debug)]
pub struct Child {
    guard: tokio::process::Child,
    words: Take<BufReader<OwnedReadHalf>>,
    lifeline: Option<OwnedWriteHalf>,
    group: Pid,
    grace: Duration,
}

/// What the program writes.
#[derive(Debug)]
pub struct Outputs {
    pub stdout: ChildStdout,
    pub stderr: ChildStderr,
    /// What it writes to the descriptor that `HERDSMAN_PROGRESS_FD` names.
    pub progress: pipe::Receiver,
}

impl Guard {
    /// Starts a program.
    ///
    /// # Errors
    /// It did not start; nothing of it is left.
    pub async fn start(&self, launch: Launch<'_>) -> Result<(Child, Outputs), StartError> {
        let program = launch.program.display().to_string();
        let failed = |error: io::Error| StartError::Guard { program: program.clone(), reason: error.to_string() };
        let (mut guard, socket, progress) = self.spawn(&launch).map_err(failed)?;
        let (Some(stdout), Some(stderr)) = (guard.stdout.take(), guard.stderr.take()) else {
            return Err(failed(io::Error::other("it has no outputs")));
        };
        let (words, mut lifeline) = socket.into_split();
        let mut words = BufReader::new(words).take(0);
        let first = async {
            lifeline.write_all(launch.payload).await?;
            next_word(&mut words).await
        };
        let reason = match timeout(START_LIMIT, first).await {
            Ok(Ok(Some(Word::Started(group)))) => match Pid::from_raw(group).filter(|group| !group.is_init()) {
                Some(group) => {
                    let child = Child { guard, words, lifeline: Some(lifeline), group, grace: launch.grace };
                    return Ok((child, Outputs { stdout, stderr, progress }));
                }
                None => format!("its program has the number {group}"),
            },
            Ok(Ok(Some(Word::Refused(reason)))) => return Err(StartError::Program { program, reason }),
            Ok(Ok(word)) => format!("its first word is {word:?}"),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it said nothing for {START_LIMIT:?}"),
        };
        let _ = guard.start_kill();
        Err(StartError::Guard { program, reason })
    }

    fn spawn(&self, launch: &Launch<'_>) -> io::Result<(tokio::process::Child, UnixStream, pipe::Receiver)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (writing, progress) = pipe::pipe()?;
        send_descriptor(&ours, writing.into_blocking_fd()?.as_fd())?;
        let mut command = Command::new(&self.executable);
        command
            .arg0("herdsman-guard")
            .arg(GUARD)
            .arg(launch.payload.len().to_string())
            .arg(launch.grace.as_millis().to_string())
            .arg(launch.program)
            .args(&launch.arguments)
            .env_clear()
            .envs(&launch.environment)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Out of the terminal's reach: Ctrl-C is for the worker, which then drains.
            .process_group(0);
        if let Some(directory) = launch.directory {
            command.current_dir(directory);
        }
        Ok((command.spawn()?, UnixStream::from_std(ours)?, progress))
    }
}

/// A byte that carries the descriptor: the first thing on a socket, so that there is room for it. Not by inheritance:
/// other programs are started meanwhile, and would have it too.
fn send_descriptor(socket: impl AsFd, descriptor: impl AsFd) -> io::Result<()> {
    let descriptors = [descriptor.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut carried = SendAncillaryBuffer::new(&mut space);
    carried.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(socket, &[IoSlice::new(&[0])], &mut carried, SendFlags::empty())?;
    Ok(())
}

impl Child {
    /// Waits until the program, and everything that it started, is gone. `stop` resolves when it is to be stopped.
    pub async fn end(mut self, stop: impl Future<Output = ()>) -> End {
        let word = tokio::select! {
            word = next_word(&mut self.words) => word,
            () = stop => {
                self.lifeline = None;
                let limit = self.grace + STOP_MARGIN;
                timeout(limit, next_word(&mut self.words)).await.unwrap_or(Ok(None))
            }
        };
        let end = match word {
            Ok(Some(Word::Exited(status))) => End::Exited(status),
            Ok(Some(Word::Killed(signal))) => End::Killed(signal),
            Ok(_) | Err(_) => {
                let _ = kill_process_group(self.group, Signal::KILL);
                let _ = self.guard.start_kill();
                End::Unguarded
            }
        };
        // Its last word is its last act; if not, the runtime reaps it when it goes.
        let _ = timeout(STOP_MARGIN, self.guard.wait()).await;
        end
    }
}

/// None: the guard is gone, or says what no guard says.
async fn next_word(words: &mut Take<BufReader<OwnedReadHalf>>) -> io::Result<Option<Word>> {
    words.set_limit(MAX_WORD_BYTES);
    let mut line = String::new();
    words.read_line(&mut line).await?;
    Ok(Word::parse(&line))
}
