//! A whole cluster of real processes, each in a network of its own: three ZooKeeper servers, three masters, three workers,
//! two client services. Everything that can be done to it is a method here or of a [`Process`].

mod doors;
mod ensemble;
mod expiry;
pub mod network;
pub mod process;
pub mod sights;

use std::{net::SocketAddr, path::Path, time::Duration};

use network::{Host, run};
use process::{LIFE, Place, Process, Recipe};
use serde_json::Value;
use zookeeper_client::Client;

pub use self::ensemble::Ensemble;
use crate::{
    proof::evidence::{Clock, Directory, Lines, Role},
    support::{
        cluster::{LIMIT, tasks, workers_are_ready},
        eventually,
        process::HERDSMAN,
    },
};

pub const MASTERS: u8 = 3;
pub const WORKERS: u8 = 3;
pub const CLIENTS: u8 = 2;
/// Attempts that a worker runs at once.
pub const SLOTS: u32 = 24;
/// Twice the least that these servers grant: a busy machine does not expire sessions by itself.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(2);

/// The last byte of the first address of each role.
const FIRST_MASTER: u8 = 21;
const FIRST_WORKER: u8 = 31;
const FIRST_CLIENT: u8 = 41;
const PORT: u16 = 7070;
/// Where the tree lies in ZooKeeper.
pub const CHROOT: &str = "/herdsman";
/// Nothing is removed during a proof: the end is compared with everything that was promised.
const KEEP_ALL: [&str; 8] = [
    "--retain-finished",
    "30d",
    "--retain-finished-count",
    "10000000",
    "--retain-failed",
    "30d",
    "--retain-failed-count",
    "10000000",
];
/// The wait for a question to ZooKeeper.
const QUESTION_LIMIT: Duration = Duration::from_secs(2);

pub struct Cluster {
    /// Everything that is written down has its moments from here.
    pub clock: Clock,
    pub ensemble: Ensemble,
    pub masters: Vec<Process>,
    pub workers: Vec<Process>,
    pub clients: Vec<Process>,
}

impl Cluster {
    /// Starts everything, and waits until a task could run. Once a test process; its files go to `directory`.
    pub async fn start(directory: &Path) -> Self {
        network::lay();
        let (shim, handler) = (directory.join("shim.so"), directory.join("handler"));
        compile("shim.c", &["-shared", "-fPIC"], &shim);
        compile("handler.c", &[], &handler);
        let handlers = write_handlers(directory, &handler);
        let evidence = Directory::new(directory);
        let lives = Lines::append(&evidence.processes()).expect("a file of ours");
        let place = Place { directory: directory.into(), shim, clock: Clock::start(), lives };
        let ensemble = Ensemble::start(&place).await;
        let zookeeper = format!("{}{CHROOT}", ensemble.addresses());
        let roles = Roles { place: &place, zookeeper: &zookeeper };
        let slots = SLOTS.to_string();
        let masters = roles.prepare(Role::Master, MASTERS, FIRST_MASTER, |_| KEEP_ALL.map(str::to_owned).to_vec());
        let workers = roles.prepare(Role::Worker, WORKERS, FIRST_WORKER, |name| {
            ["--id", name, "--slots", &slots, "--handlers", &handlers].map(str::to_owned).to_vec()
        });
        let clients = roles.prepare(Role::Client, CLIENTS, FIRST_CLIENT, |_| Vec::new());
        let cluster = Self { clock: place.clock, ensemble, masters, workers, clients };
        cluster.roles().for_each(Process::start);
        cluster.is_ready().await;
        cluster
    }

    /// Masters, workers and client services.
    pub fn roles(&self) -> impl Iterator<Item = &Process> {
        self.masters.iter().chain(&self.workers).chain(&self.clients)
    }

    pub fn all(&self) -> impl Iterator<Item = &Process> {
        self.ensemble.servers.iter().chain(self.roles())
    }

    /// Waits until every client service answers, and every worker gets tasks.
    pub async fn is_ready(&self) {
        self.ensemble.serves().await;
        for client in &self.clients {
            tasks(&url(client)).await;
            workers_are_ready(&url(client), self.workers.len()).await;
        }
    }

    /// For generated clients, one of each client service.
    pub fn urls(&self) -> Vec<String> {
        self.clients.iter().map(url).collect()
    }

    /// For a connect string of ZooKeeper.
    pub fn zookeeper(&self) -> String {
        format!("{}{CHROOT}", self.ensemble.addresses())
    }

    /// The master that leads, by its place, as `/master` names it.
    pub async fn leader(&self) -> usize {
        eventually("somebody leads", LIMIT, async || self.told_leader().await.map(|(leader, _)| leader)).await
    }

    /// The term that is led now.
    pub async fn term(&self) -> u64 {
        eventually("somebody leads", LIMIT, async || self.told_leader().await.map(|(_, term)| term)).await
    }

    async fn told_leader(&self) -> Option<(usize, u64)> {
        let asking = async {
            let client = Client::connector()
                .with_session_timeout(SESSION_TIMEOUT)
                .with_fail_eagerly()
                .connect(&self.zookeeper())
                .await
                .ok()?;
            client.get_data("/master").await.ok()
        };
        let (data, _) = tokio::time::timeout(QUESTION_LIMIT, asking).await.ok()??;
        let told: Value = serde_json::from_slice(&data).ok()?;
        let host = told["host"].as_str()?;
        let leader = self.masters.iter().position(|master| master.host.address.to_string() == host)?;
        Some((leader, told["term"].as_u64()?))
    }

    /// Ends every session that a process has now, and says how many that were.
    pub fn expire(&self, process: &Process) -> usize {
        let sessions = self.ensemble.sessions_of(&process.host);
        let ended = |session: &&i64| {
            let mut servers = self.ensemble.servers.iter();
            servers.any(|server| expiry::expire(server.host.address, **session).is_ok())
        };
        sessions.iter().filter(ended).count()
    }

    /// The hosts of the ensemble.
    pub fn ensemble_hosts(&self) -> Vec<&Host> {
        hosts(&self.ensemble.servers)
    }
}

pub fn hosts(processes: &[Process]) -> Vec<&Host> {
    processes.iter().map(|process| &process.host).collect()
}

pub fn url(process: &Process) -> String {
    format!("http://{}", listen(&process.host))
}

fn listen(host: &Host) -> SocketAddr {
    (host.address, PORT).into()
}

/// What all roles are started with.
struct Roles<'a> {
    place: &'a Place,
    zookeeper: &'a str,
}

impl Roles<'_> {
    fn prepare(&self, role: Role, count: u8, first: u8, more: impl Fn(&str) -> Vec<String>) -> Vec<Process> {
        let verb = match role {
            Role::Master => "master",
            Role::Worker => "worker",
            Role::Client => "client",
            Role::ZooKeeper => unreachable!("it is none of ours"),
        };
        let session = humantime::format_duration(SESSION_TIMEOUT).to_string();
        let prepare = |at| {
            let name = format!("{verb}-{}", at + 1);
            let host = Host::new(&name, first + at);
            let listen = listen(&host).to_string();
            let base = [verb, "--zookeeper", self.zookeeper, "--listen", &listen, "--insecure"];
            let base = base.into_iter().chain(["--session-timeout", &session]).map(str::to_owned);
            let recipe = Recipe {
                arguments: base.chain(more(&name)).collect(),
                name,
                role,
                program: HERDSMAN.into(),
                environment: vec![("HERDSMAN_LOG".into(), "info".into())],
            };
            Process::new(recipe, host, self.place)
        };
        (0..count).map(prepare).collect()
    }
}

/// The kinds that the program of the tasks knows.
const KINDS: [&str; 5] = ["work", "fail", "poison", "parent", "stubborn"];

fn write_handlers(directory: &Path, handler: &Path) -> String {
    let record = Directory::new(directory).runs();
    std::fs::write(&record, "").expect("a file of ours");
    let (handler, record) = (handler.display(), record.display());
    let section = |kind| {
        format!(
            "[handlers.{kind}]\nprogram = \"{handler}\"\nargs = [\"{record}\", \"{kind}\"]\npass_env = [\"{LIFE}\"]\n"
        )
    };
    let path = directory.join("handlers.toml");
    std::fs::write(&path, KINDS.map(section).concat()).expect("a file of ours");
    path.display().to_string()
}

/// The two programs in C are part of this test.
fn compile(source: &str, options: &[&str], to: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proof").join(source);
    let (source, to) = (source.display().to_string(), to.display().to_string());
    run("cc", &[options, &["-O2", "-o", &to, &source]].concat());
}
