//! One process of the cluster, on a host of its own: started, killed, paused, started again, and with knobs for its disk
//! and its clock.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::PathBuf,
    process::{Child, Stdio},
    sync::Mutex,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::network::Host;
use crate::{
    proof::evidence::{self, Clock, Lines, ProcessEvent, Role},
    support::eventually,
};

/// Longer than any role or server takes to stop when it is asked to.
const STOP_LIMIT: Duration = Duration::from_mins(1);
/// Where the knobs lie in their file, as tests/proof/shim.c has them.
const SYNC_DELAY_AT: u64 = 0;
const CLOCK_OFFSET_AT: u64 = 8;

/// Tells apart, in the environment of a worker and of all that it starts, the lives of one process.
pub const LIFE: &str = "PROOF_LIFE";

/// How it is started.
#[derive(Debug)]
pub struct Recipe {
    pub name: String,
    pub role: Role,
    pub program: String,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
}

/// What all processes of a cluster share.
#[derive(Debug, Clone)]
pub struct Place {
    /// Where their files are.
    pub directory: PathBuf,
    /// The library of tests/proof/shim.c.
    pub shim: PathBuf,
    pub clock: Clock,
    /// Where their lives are written down.
    pub lives: Lines<evidence::Process>,
}

#[derive(Debug)]
pub struct Process {
    pub name: String,
    pub host: Host,
    recipe: Recipe,
    place: Place,
    knobs: (PathBuf, File),
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    child: Option<Child>,
    /// How often it was started.
    lives: u32,
    /// It is meant to run: one that ends by itself is started again.
    wanted: bool,
}

impl Process {
    /// Does not start it.
    pub fn new(recipe: Recipe, host: Host, place: &Place) -> Self {
        let path = place.directory.join(format!("{}.knobs", recipe.name));
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(true).read(true).write(true).open(&path).expect("a file of ours");
        file.set_len(CLOCK_OFFSET_AT + 8).expect("a file of ours");
        let (place, name) = (place.clone(), recipe.name.clone());
        Self { name, host, recipe, place, knobs: (path, file), state: Mutex::default() }
    }

    /// Starts it, without waiting until it is ready.
    pub fn start(&self) {
        let mut state = self.state.lock().expect("nobody panics with it");
        assert!(state.child.is_none(), "{} runs already", self.name);
        self.spawn(&mut state);
        state.wanted = true;
    }

    fn spawn(&self, state: &mut State) {
        state.lives += 1;
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).expect("a file of ours");
        let mut command = self.host.command(&self.recipe.program);
        command
            .args(&self.recipe.arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LD_PRELOAD", &self.place.shim)
            .env("PROOF_KNOBS", &self.knobs.0)
            .env(LIFE, self.life(state))
            .envs(self.recipe.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        state.child = Some(command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.name)));
        self.tell(state, ProcessEvent::Started);
    }

    fn life(&self, state: &State) -> String {
        format!("{}.{}", self.name, state.lives)
    }

    /// Writes down what happened to it.
    fn tell(&self, state: &State, event: ProcessEvent) {
        if let Some(child) = &state.child {
            let (role, name, life, pid) = (self.recipe.role, self.name.clone(), self.life(state), child.id());
            let at = self.place.clock.now();
            self.place.lives.write(&evidence::Process { role, name, life, pid, at, event });
        }
    }

    /// kill -9, and it stays down.
    pub fn kill(&self) {
        let mut state = self.state.lock().expect("nobody panics with it");
        state.wanted = false;
        if let Some(child) = &mut state.child {
            child.kill().expect("it is ours");
            child.wait().expect("it is ours");
            self.forget(&mut state);
        }
    }

    /// SIGTERM, waits for its end, and it stays down.
    pub async fn stop(&self) {
        self.state.lock().expect("nobody panics with it").wanted = false;
        self.signal(Signal::TERM, ProcessEvent::Asked);
        eventually(&format!("{} stops", self.name), STOP_LIMIT, async || self.has_ended().then_some(())).await;
    }

    fn has_ended(&self) -> bool {
        self.reap(&mut self.state.lock().expect("nobody panics with it"))
    }

    /// Whether it is down.
    fn reap(&self, state: &mut State) -> bool {
        let runs = |child: &mut Child| child.try_wait().expect("it is ours").is_none();
        if state.child.as_mut().is_some_and(runs) {
            return false;
        }
        self.forget(state);
        true
    }

    fn forget(&self, state: &mut State) {
        self.tell(state, ProcessEvent::Ended);
        state.child = None;
    }

    /// Starts it again if it has ended though it is meant to run; says whether.
    pub fn revive(&self) -> bool {
        let mut state = self.state.lock().expect("nobody panics with it");
        let revived = state.wanted && self.reap(&mut state);
        if revived {
            self.spawn(&mut state);
        }
        revived
    }

    /// SIGSTOP: it holds its connections and does nothing.
    pub fn pause(&self) {
        self.signal(Signal::STOP, ProcessEvent::Paused);
    }

    pub fn go_on(&self) {
        self.signal(Signal::CONT, ProcessEvent::Resumed);
    }

    fn signal(&self, signal: Signal, event: ProcessEvent) {
        let state = self.state.lock().expect("nobody panics with it");
        if let Some(child) = &state.child {
            // It may have ended by itself a moment ago.
            let _ = kill_process(Pid::from_child(child), signal);
            self.tell(&state, event);
        }
    }

    /// None: it is down.
    pub fn pid(&self) -> Option<Pid> {
        self.state.lock().expect("nobody panics with it").child.as_ref().map(Pid::from_child)
    }

    /// What every sync to disk takes longer than it needs. Our roles write nothing; it is for ZooKeeper.
    pub fn delay_syncs(&self, delay: Duration) {
        self.turn(SYNC_DELAY_AT, i64::try_from(delay.as_millis()).expect("a short delay"));
    }

    /// By how much its wall clock is wrong, from now on.
    pub fn set_clock_ahead(&self, seconds: i64) {
        self.turn(CLOCK_OFFSET_AT, seconds);
    }

    fn turn(&self, at: u64, value: i64) {
        self.knobs.1.write_all_at(&value.to_ne_bytes(), at).expect("a file of ours");
    }

    fn log_path(&self) -> PathBuf {
        self.place.directory.join(format!("{}.log", self.name))
    }

    /// All that it has logged, over all its lives.
    pub fn log(&self) -> Vec<u8> {
        std::fs::read(self.log_path()).unwrap_or_default()
    }

    /// Its resident memory, in bytes; None: it is down.
    pub fn resident_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?.as_raw_nonzero())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    }
}
