//! The real binary: roles that live as long as their test, and verbs that are run to their end.

use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use super::eventually;

pub const HERDSMAN: &str = env!("CARGO_BIN_EXE_herdsman");
/// A role that has not started within this hangs; generous, because all tests run at once.
const START_LIMIT: Duration = Duration::from_secs(30);
/// A verb that has not ended within this hangs.
const VERB_LIMIT: Duration = Duration::from_mins(1);
/// Lines of log that are shown of each process when a test fails.
const SHOWN_LINES: usize = 60;

/// Only what is set on purpose reaches the binary. `HERDSMAN_TEST_BINARY` names another build of it: measuring wants the
/// one that is optimised.
fn command(arguments: &[&str]) -> Command {
    let binary = std::env::var_os("HERDSMAN_TEST_BINARY").unwrap_or_else(|| HERDSMAN.into());
    let mut command = Command::new(binary);
    command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// A role, running as a process of its own. Ends with its test; a test that fails shows its log.
pub struct Role {
    name: String,
    child: Child,
    log: Arc<Mutex<VecDeque<String>>>,
    address: Option<SocketAddr>,
}

impl Role {
    /// Starts `herdsman ARGUMENTS…` and waits until it listens; say `--listen 127.0.0.1:0`.
    pub async fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[]).await
    }

    /// The same, with environment variables.
    pub async fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut role = Self::spawn(arguments, environment);
        // In `dev` and `node` all three services listen; the one that is meant says so in a line of its own.
        let ready = match arguments[0] {
            "dev" => "the cluster is up",
            "node" => "the node is up",
            _ => "listening",
        };
        let what = format!("{} listens", role.name);
        let address = eventually(&what, START_LIMIT, async || {
            if let Some(status) = role.child.try_wait().unwrap() {
                panic!("{} ended with {status}\n{}", role.name, role.shown());
            }
            let ready = role.events(ready).pop()?;
            Some(ready["address"].as_str().unwrap().parse().unwrap())
        })
        .await;
        role.address = Some(address);
        role
    }

    /// Starts it without waiting.
    pub fn spawn(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = command(arguments);
        command.env("HERDSMAN_LOG", "info,herdsman=debug").envs(environment.iter().copied());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let (lines, stderr) = (Arc::clone(&log), child.stderr.take().unwrap());
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push_back(line);
            }
        });
        Self { name: arguments.join(" "), child, log, address: None }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address.expect("it was waited for")
    }

    /// For `--server`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The events of its log with this message.
    pub fn events(&self, message: &str) -> Vec<Value> {
        let log = self.log.lock().unwrap();
        let events = log.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["message"] == message).collect()
    }

    /// All that it wrote to stderr.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().iter().cloned().collect()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGSTOP: it holds its connections and does nothing. Undone by [`Self::go_on`].
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits for its end.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        eventually(&what, limit, async || self.child.try_wait().unwrap()).await
    }

    fn shown(&self) -> String {
        let log = self.log.lock().unwrap();
        let mut text = format!("--- log of herdsman {}, its last lines of {}:\n", self.name, log.len());
        for line in log.iter().skip(log.len().saturating_sub(SHOWN_LINES)) {
            let _ = writeln!(text, "{line}");
        }
        text
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        if thread::panicking() {
            eprint!("{}", self.shown());
        }
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a verb said, and how it ended.
pub struct Said {
    /// None: ended by a signal.
    pub status: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stdout = String::from_utf8_lossy(&self.stdout);
        write!(f, "status {:?}\n--- stdout:\n{stdout}\n--- stderr:\n{}", self.status, self.stderr)
    }
}

impl Said {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("stdout is text")
    }

    /// One JSON object a line.
    pub fn objects(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
    }

    /// Asserts status 0.
    #[track_caller]
    pub fn well(self) -> Self {
        assert_eq!(self.status, Some(0), "{self:?}");
        self
    }

    /// Asserts the status, and that stderr is one line of Herdsman's; returns the line.
    #[track_caller]
    pub fn one_line(&self, status: i32) -> &str {
        assert_eq!(self.status, Some(status), "{self:?}");
        let lines: Vec<_> = self.stderr.lines().filter(|line| !line.starts_with('{')).collect();
        assert_eq!(lines.len(), 1, "one clear line: {self:?}");
        assert!(lines[0].starts_with("herdsman: "), "{self:?}");
        lines[0]
    }
}

/// Runs `herdsman ARGUMENTS…` to its end.
pub async fn herdsman(arguments: &[&str]) -> Said {
    herdsman_with(arguments, &[], b"").await
}

/// The same, with environment variables, and something to read from stdin.
pub async fn herdsman_with(arguments: &[&str], environment: &[(&str, &str)], input: &[u8]) -> Said {
    let mut command = tokio::process::Command::from(command(arguments));
    command.envs(environment.iter().copied()).kill_on_drop(true);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feed = async move {
        // One that reads nothing may end before everything is written.
        let _ = stdin.write_all(input).await;
    };
    let run = async { tokio::join!(feed, child.wait_with_output()).1.unwrap() };
    let output = tokio::time::timeout(VERB_LIMIT, run).await;
    let output = output.unwrap_or_else(|_| panic!("herdsman {} did not end", arguments.join(" ")));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Said { status: output.status.code(), stdout: output.stdout, stderr }
}
