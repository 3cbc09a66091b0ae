//! Real ZooKeeper servers for tests: alone or three together, on free loopback ports, in directories of their own. They
//! can be killed, paused and started again on the same port and data, and they end with their test.
//!
//! Nothing is skipped: a test that needs ZooKeeper fails, with what to install, where there is none.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock, mpsc},
    time::{Duration, Instant},
};

use herdsman::store::zookeeper::ZooKeeperOptions;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use zookeeper_client::Client;

/// Shorter than the program's own default, so that a test that waits for an expiry is not slow; not the least that the
/// servers allow (1 s), so that a busy machine does not expire sessions by itself.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(2);
/// A server answers within 0.3 s on an idle machine, an ensemble within 3 s.
const START_LIMIT: Duration = Duration::from_mins(1);
/// For one answer to a four-letter word.
const WORD_LIMIT: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(25);

/// One ZooKeeper server: killed when dropped.
pub struct Server {
    port: u16,
    directory: TempDir,
    main_class: &'static str,
    process: Mutex<Option<Child>>,
}

impl Server {
    /// A server of its own; prefer [`shared`] where the test does not stop it.
    pub fn start() -> Self {
        let server = Self::prepare("org.apache.zookeeper.server.ZooKeeperServerMain", free_port(), "");
        server.restart();
        server
    }

    fn prepare(main_class: &'static str, port: u16, more: &str) -> Self {
        let directory = tempfile::Builder::new().prefix(&directory_prefix()).tempdir().expect("a temporary directory");
        let data = directory.path().join("data");
        std::fs::create_dir(&data).expect("a data directory");
        let config = format!(
            "tickTime=500\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n\
             4lw.commands.whitelist=*\nmaxClientCnxns=0\npreAllocSize=1024\n{more}",
            data.display()
        );
        std::fs::write(directory.path().join("zoo.cfg"), config).expect("a configuration file");
        Self { port, directory, main_class, process: Mutex::new(None) }
    }

    /// Starts it (again), on the same port and data, and waits until it answers.
    pub fn restart(&self) {
        self.launch();
        self.wait_until("answers imok", |server| server.word("ruok").as_deref() == Some("imok"));
    }

    fn launch(&self) {
        let log = std::fs::File::options().create(true).append(true).open(self.log_path()).expect("a log file");
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
            .args([class_path(), self.main_class, "zoo.cfg"])
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log);
        let mut process = self.process.lock().expect("no test panics with it");
        assert!(process.is_none(), "the server runs already");
        *process = Some(spawn(command));
    }

    fn runs(&self) -> bool {
        self.process.lock().expect("no test panics with it").is_some()
    }

    fn wait_until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !condition(self) {
            let exited = self.process.lock().expect("no test panics with it").as_mut().map(Child::try_wait);
            if let Some(Ok(Some(status))) = exited {
                panic!("ZooKeeper ended with {status} before it {what}:\n{}", self.log());
            }
            assert!(start.elapsed() < START_LIMIT, "not within {START_LIMIT:?}: ZooKeeper {what}:\n{}", self.log());
            std::thread::sleep(LOOK);
        }
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// kill -9.
    pub fn kill(&self) {
        if let Some(mut process) = self.process.lock().expect("no test panics with it").take() {
            process.kill().expect("the process is ours");
            process.wait().expect("the process is ours");
        }
    }

    /// It stops answering, and its connections stay open.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.lock().expect("no test panics with it");
        let id = process.as_ref().expect("the server runs").id();
        let id = Pid::from_raw(i32::try_from(id).expect("a process id")).expect("not zero");
        kill_process(id, signal).expect("the process is ours");
    }

    /// `standalone`, `leader`, `follower`; None while it serves nobody.
    pub fn mode(&self) -> Option<String> {
        let answer = self.word("srvr")?;
        answer.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
    }

    fn word(&self, word: &str) -> Option<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect_timeout(&address, WORD_LIMIT).ok()?;
        stream.set_read_timeout(Some(WORD_LIMIT)).ok()?;
        stream.write_all(word.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Three servers that need two.
pub struct Ensemble {
    pub servers: Vec<Server>,
}

impl Ensemble {
    pub fn start() -> Self {
        let ports: Vec<[u16; 3]> = (0..3).map(|_| [free_port(), free_port(), free_port()]).collect();
        let members = ports
            .iter()
            .zip(1..)
            .map(|([_, quorum, election], id)| format!("server.{id}=127.0.0.1:{quorum}:{election}"));
        let members = format!("initLimit=20\nsyncLimit=10\n{}\n", members.collect::<Vec<_>>().join("\n"));
        let main_class = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
        let servers: Vec<_> = ports.iter().map(|[client, ..]| Server::prepare(main_class, *client, &members)).collect();
        for (id, server) in servers.iter().enumerate() {
            let file = server.directory.path().join("data/myid");
            std::fs::write(file, (id + 1).to_string()).expect("a file in our directory");
        }
        let ensemble = Self { servers };
        ensemble.restart();
        ensemble
    }

    /// Every server's address, for a connect string.
    pub fn addresses(&self) -> String {
        self.servers.iter().map(Server::address).collect::<Vec<_>>().join(",")
    }

    /// Starts all servers that do not run, and waits until all serve.
    pub fn restart(&self) {
        let gone = self.servers.iter().filter(|server| !server.runs());
        gone.for_each(Server::launch);
        for server in &self.servers {
            server.wait_until("serves", |server| server.mode().is_some());
        }
    }

    /// The server that leads the ensemble.
    pub fn leader(&self) -> &Server {
        let leads = |server: &&Server| server.mode().as_deref() == Some("leader");
        self.servers.iter().find(leads).expect("an ensemble that serves has a leader")
    }
}

/// The one standalone server of this test process: for every test that leaves it running. It ends with the process.
pub fn shared() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        remove_leftovers();
        Server::start()
    })
}

/// A path that nobody else uses, to be a chroot.
pub fn fresh_chroot() -> String {
    format!("/t-{}", uuid::Uuid::new_v4())
}

/// Options for a tree of the test's own on the shared server.
pub fn fresh_options() -> ZooKeeperOptions {
    options(&shared().address(), &fresh_chroot())
}

pub fn options(servers: &str, chroot: &str) -> ZooKeeperOptions {
    ZooKeeperOptions { servers_and_chroot: format!("{servers}{chroot}"), session_timeout: SESSION_TIMEOUT }
}

/// A client that knows nothing of Herdsman, to see and to do what others might.
pub async fn witness(options: &ZooKeeperOptions) -> Client {
    Client::connect(&options.servers_and_chroot).await.expect("the server is up")
}

/// Starts a process that is killed when this test process ends, however it ends. The kernel's signal follows the thread
/// that started it, so one thread that never ends starts them all.
fn spawn(command: Command) -> Child {
    type Request = (Command, mpsc::Sender<std::io::Result<Child>>);
    static STARTER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (requests, inbox) = mpsc::channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                let _ = reply.send(command.spawn());
            }
        });
        requests
    });
    let (reply, child) = mpsc::channel();
    starter.send((command, reply)).expect("the thread never ends");
    child.recv().expect("the thread never ends").expect("java and setpriv (util-linux) are installed")
}

/// Ports that the kernel gives to nobody by itself: below what Linux takes for outgoing connections by default. A server
/// of an ensemble listens for its followers only while it leads, and nobody else's connection may sit there by then.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port that is free, and that no other server of this process is given.
fn free_port() -> u16 {
    static NEXT: OnceLock<Mutex<u16>> = OnceLock::new();
    let width = u32::from(PORTS.end - PORTS.start);
    // Test processes that run side by side begin far from each other.
    let spread = || u16::try_from(std::process::id().wrapping_mul(7_919) % width).expect("less than the width");
    let mut next = NEXT.get_or_init(|| Mutex::new(PORTS.start + spread())).lock().expect("no test panics with it");
    for _ in PORTS {
        let port = *next;
        *next = if port + 1 == PORTS.end { PORTS.start } else { port + 1 };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("none of the ports {PORTS:?} is free");
}

/// The jars of `ZOOKEEPER_HOME` (in it, or in its lib directory), or those of Debian's packages.
pub fn class_path() -> &'static str {
    static CLASS_PATH: OnceLock<String> = OnceLock::new();
    CLASS_PATH.get_or_init(|| {
        let Some(home) = std::env::var_os("ZOOKEEPER_HOME").map(PathBuf::from) else {
            let jars = Path::new("/usr/share/java");
            assert!(
                jars.join("zookeeper.jar").exists(),
                "these tests need ZooKeeper: apt-get install zookeeper libslf4j-java, or set ZOOKEEPER_HOME"
            );
            return format!("{0}/zookeeper.jar:{0}/slf4j-simple.jar", jars.display());
        };
        let directory = [home.join("lib"), home.clone()].into_iter().find(|directory| has_server_jar(directory));
        let Some(directory) = directory else {
            panic!("ZOOKEEPER_HOME is {}, and there is no zookeeper*.jar in it or in its lib", home.display());
        };
        directory.join("*").display().to_string()
    })
}

fn has_server_jar(directory: &Path) -> bool {
    let names = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.into_iter().any(|name| {
        let name = name.to_string_lossy();
        name.starts_with("zookeeper") && Path::new(name.as_ref()).extension().is_some_and(|end| end == "jar")
    })
}

fn directory_prefix() -> String {
    format!("herdsman-zookeeper-{}-", std::process::id())
}

/// The shared server's directory outlives its process; the next one that comes by removes it.
fn remove_leftovers() {
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix("herdsman-zookeeper-")?.split('-').next());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
