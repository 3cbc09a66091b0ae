//! Three ZooKeeper servers that need two, each on a host of its own; the last one's disk is small enough to be filled.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use super::{
    network::{Host, run, said},
    process::{Place, Process, Recipe},
};
use crate::{
    proof::evidence::{Directory, Role},
    support::{eventually, zookeeper::class_path},
};

pub const CLIENT_PORT: u16 = 2181;
const SERVERS: u8 = 3;
/// The last byte of the first server's address.
const FIRST_HOST: u8 = 11;
/// An ensemble is up within 3 s on an idle machine.
const START_LIMIT: Duration = Duration::from_mins(2);
/// For one answer to a four-letter word.
const WORD_LIMIT: Duration = Duration::from_secs(2);
/// Room on the last server's disk while it is not full: more than any run writes. Only what is written takes memory.
const ROOM: &str = "4g";
/// What a full disk still has: less than one more block of a transaction log.
const NO_ROOM: u64 = 4096;

#[derive(Debug)]
pub struct Ensemble {
    pub servers: Vec<Process>,
    data: Vec<PathBuf>,
}

impl Ensemble {
    pub async fn start(place: &Place) -> Self {
        let mut ensemble = Self { servers: Vec::new(), data: Vec::new() };
        for number in 1..=SERVERS {
            ensemble.add(number, place);
        }
        // On a file system of its own, in memory, whose size is ours to say.
        let small = ensemble.data.last().expect("there are three").display().to_string();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={ROOM}"), "proof", &small]);
        for (number, data) in (1..=SERVERS).zip(&ensemble.data) {
            std::fs::write(data.join("myid"), number.to_string()).expect("a file of ours");
        }
        ensemble.servers.iter().for_each(Process::start);
        ensemble.serves().await;
        ensemble
    }

    fn add(&mut self, number: u8, place: &Place) {
        let directory = &place.directory;
        let name = format!("zookeeper-{number}");
        let host = Host::new(&name, FIRST_HOST + number - 1);
        let data = directory.join(format!("{name}.data"));
        std::fs::create_dir(&data).expect("a directory of ours");
        let members = (1..=SERVERS).map(|number| format!("server.{number}={}:2888:3888\n", Self::address(number)));
        let config = format!(
            "tickTime=500\ninitLimit=20\nsyncLimit=5\ndataDir={}\nclientPort={CLIENT_PORT}\nclientPortAddress={}\n\
             admin.enableServer=false\n4lw.commands.whitelist=*\nmaxClientCnxns=0\npreAllocSize=1024\n{}",
            data.display(),
            host.address,
            members.collect::<String>()
        );
        let config_path = directory.join(format!("{name}.cfg"));
        std::fs::write(&config_path, config).expect("a file of ours");
        let recipe = Recipe {
            name,
            role: Role::ZooKeeper,
            program: "java".into(),
            arguments: ["-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", class_path()]
                .into_iter()
                .chain(["org.apache.zookeeper.server.quorum.QuorumPeerMain"])
                .map(str::to_owned)
                .chain([config_path.display().to_string()])
                .collect(),
            environment: Vec::new(),
        };
        self.servers.push(Process::new(recipe, host, place));
        self.data.push(data);
    }

    fn address(number: u8) -> Ipv4Addr {
        let [a, b, c] = super::network::NET;
        Ipv4Addr::new(a, b, c, FIRST_HOST + number - 1)
    }

    /// For a connect string.
    pub fn addresses(&self) -> String {
        let address = |server: &Process| format!("{}:{CLIENT_PORT}", server.host.address);
        self.servers.iter().map(address).collect::<Vec<_>>().join(",")
    }

    /// Waits until every server serves.
    pub async fn serves(&self) {
        for server in &self.servers {
            let what = format!("{} serves", server.name);
            eventually(&what, START_LIMIT, async || mode(server).map(drop)).await;
        }
    }

    /// The server that leads, by its place. None: nobody does.
    pub fn leader(&self) -> Option<usize> {
        self.servers.iter().position(|server| mode(server).as_deref() == Some("leader"))
    }

    /// The sessions that a host has, by number.
    pub fn sessions_of(&self, host: &Host) -> Vec<i64> {
        let from = format!("/{}:", host.address);
        let answers = self.servers.iter().filter_map(|server| word(server.host.address, "cons"));
        let lines = answers.flat_map(|answer| answer.lines().map(str::to_owned).collect::<Vec<_>>());
        lines.filter(|line| line.trim().starts_with(&from)).filter_map(|line| session(&line)).collect()
    }

    /// The last server's disk has no room left; waits until the server meets it. Some end, some look for a leader for
    /// ever.
    pub async fn fill_disk(&self) -> &Process {
        let server = self.servers.last().expect("there are three");
        self.resize(&(self.used_bytes() + NO_ROOM).to_string());
        let what = format!("{} has met its full disk", server.name);
        eventually(&what, START_LIMIT, async || mode(server).is_none().then_some(())).await;
        server
    }

    /// There is room again, and the server is started anew.
    pub fn empty_disk(&self) {
        self.resize(ROOM);
        let server = self.servers.last().expect("there are three");
        server.kill();
        server.start();
    }

    fn used_bytes(&self) -> u64 {
        let small = self.data.last().expect("there are three");
        let told = said(Command::new("df").args(["--block-size=1", "--output=used"]).arg(small));
        told.lines().last().and_then(|line| line.trim().parse().ok()).expect("df says a number below its heading")
    }

    fn resize(&self, size: &str) {
        let small = self.data.last().expect("there are three").display().to_string();
        run("mount", &["-o", &format!("remount,size={size}"), &small]);
    }

    /// Copies the transaction logs of every server to the evidence.
    pub fn keep_transaction_logs(&self, evidence: &Directory) {
        for (server, data) in self.servers.iter().zip(&self.data) {
            evidence.keep_transaction_logs(&server.name, data).expect("files of ours");
        }
    }
}

/// `leader`, `follower`; None while it serves nobody.
fn mode(server: &Process) -> Option<String> {
    let answer = word(server.host.address, "srvr")?;
    answer.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
}

/// The session in a line of `cons`: `… sid=0x1000a…,…`.
fn session(line: &str) -> Option<i64> {
    let number = line.split_once("sid=0x")?.1.split(',').next()?;
    u64::from_str_radix(number, 16).ok().map(u64::cast_signed)
}

fn word(address: Ipv4Addr, word: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&(address, CLIENT_PORT).into(), WORD_LIMIT).ok()?;
    stream.set_read_timeout(Some(WORD_LIMIT)).ok()?;
    stream.write_all(word.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
