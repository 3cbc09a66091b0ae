//! What runs inside a guard. Plain blocking code: no runtime to start, so that a guard costs little more than its
//! process.

use std::{
    ffi::OsString,
    io::{self, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::{Errno, retry_on_intr},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid},
};

use super::{PROGRESS_FD, Word};
use crate::domain::MAX_PAYLOAD_BYTES;

/// The program could not be guarded at all; the worker sees it as a guard that said nothing.
const CANNOT_GUARD: i32 = 125;
/// How long processes that survived the end of their program are hunted for: a killed process that is not gone by then
/// sits in the kernel, where nobody can do anything about it.
const HUNT_LIMIT: Duration = Duration::from_secs(1);
/// Between two looks for survivors: a killed process needs about so long to go.
const HUNT_PAUSE: Duration = Duration::from_millis(2);

/// There are two events, and each comes once.
const EVENTS: usize = 2;

/// What the worker asked for: `<payload bytes> <grace ms> <program> <argument>…`.
struct Orders {
    payload_bytes: usize,
    grace: Duration,
    program: OsString,
    arguments: Vec<OsString>,
}

/// Returns the exit status of the guard.
pub(super) fn run(arguments: impl Iterator<Item = OsString>) -> i32 {
    let Some(orders) = parse(arguments) else {
        eprintln!("a guard is started by a worker, not by hand");
        return CANNOT_GUARD;
    };
    match guard(&orders) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("cannot guard {}: {error}", orders.program.display());
            CANNOT_GUARD
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = OsString>) -> Option<Orders> {
    let mut number = || arguments.next()?.to_str()?.parse::<u64>().ok();
    let payload_bytes = usize::try_from(number()?).ok().filter(|&bytes| bytes <= MAX_PAYLOAD_BYTES)?;
    let grace = Duration::from_millis(number()?);
    Some(Orders { payload_bytes, grace, program: arguments.next()?, arguments: arguments.collect() })
}

enum Event {
    ProgramEnded,
    /// The worker closed its end, or died.
    Stop,
}

fn guard(orders: &Orders) -> io::Result<()> {
    // Processes that leave the program's group, and lose their parent, become children of the guard and are found.
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let progress = receive_descriptor(io::stdin())?;
    let mut worker = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut payload = vec![0; orders.payload_bytes];
    worker.read_exact(&mut payload)?;

    let spawned = Command::new(&orders.program)
        .args(&orders.arguments)
        .env(PROGRESS_FD, progress.as_raw_fd().to_string())
        .stdin(Stdio::piped())
        .process_group(0)
        .spawn();
    // It ends when the program, and what it started, has closed it.
    drop(progress);
    let mut program = match spawned {
        Ok(program) => program,
        Err(error) => return worker.write_all(Word::Refused(error.to_string()).line().as_bytes()),
    };
    let group = Pid::from_child(&program);
    // From here on a worker that is gone shows at the other end of the lifeline; a write has nothing to add.
    let _ = worker.write_all(Word::Started(group.as_raw_nonzero().get()).line().as_bytes());

    feed(&mut program, payload);
    stand_by(&events(group, worker.try_clone()?), group, orders.grace);
    // The program is dead but not reaped: its number, and so its group's, cannot be anybody else's yet.
    kill_group(group, Signal::KILL);
    let status = program.wait()?;
    hunt_survivors();
    let _ = worker.write_all(word_of(status).line().as_bytes());
    Ok(())
}

/// What the worker sent ahead of the payload. It is inherited by what is started from here on, which is the program.
fn receive_descriptor(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut carried = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    retry_on_intr(|| recvmsg(&socket, &mut [IoSliceMut::new(&mut byte)], &mut carried, RecvFlags::empty()))?;
    let descriptors = carried.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    descriptors.flatten().next().ok_or_else(|| io::Error::other("the worker sent no descriptor for the progress"))
}

/// A program may read its input late, in part, or never.
fn feed(program: &mut Child, payload: Vec<u8>) {
    if let Some(mut stdin) = program.stdin.take() {
        thread::spawn(move || drop(stdin.write_all(&payload)));
    }
}

fn events(program: Pid, mut worker: UnixStream) -> mpsc::Receiver<Event> {
    let (send, receive) = mpsc::sync_channel(EVENTS);
    let ended = send.clone();
    thread::spawn(move || {
        let how = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(program), how), Err(Errno::INTR)) {}
        drop(ended.send(Event::ProgramEnded));
    });
    thread::spawn(move || {
        // The worker has nothing more to say: whatever comes means stop.
        while matches!(worker.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::Interrupted) {}
        drop(send.send(Event::Stop));
    });
    receive
}

/// Returns when the program has ended, by itself or by force.
fn stand_by(events: &mpsc::Receiver<Event>, group: Pid, grace: Duration) {
    if !matches!(events.recv(), Ok(Event::Stop)) {
        return;
    }
    kill_group(group, Signal::TERM);
    if events.recv_timeout(grace).is_err() {
        kill_group(group, Signal::KILL);
        let _ = events.recv();
    }
}

/// A group that is already empty is what is wanted.
fn kill_group(group: Pid, signal: Signal) {
    let _ = kill_process_group(group, signal);
}

/// Kills and reaps what the program left behind outside its group.
#[allow(clippy::disallowed_methods, reason = "a guard has no runtime whose threads a sleep could hold up")]
fn hunt_survivors() {
    let start = Instant::now();
    while start.elapsed() < HUNT_LIMIT {
        match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Err(Errno::CHILD) => return,
            Ok(Some(_)) | Err(_) => {}
            Ok(None) => {
                for child in children() {
                    let _ = kill_process(child, Signal::KILL);
                }
                thread::sleep(HUNT_PAUSE);
            }
        }
    }
}

/// The children of this process, as the kernel lists them for each of its threads.
fn children() -> Vec<Pid> {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    let lists = threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let numbers = lists.flat_map(|list| list.split_whitespace().map(str::parse).collect::<Vec<_>>());
    numbers.flatten().filter_map(Pid::from_raw).collect()
}

fn word_of(status: ExitStatus) -> Word {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(status), _) => Word::Exited(status),
        (None, signal) => Word::Killed(signal.unwrap_or_default()),
    }
}
