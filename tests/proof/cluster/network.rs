//! A network of the cluster's own: a namespace for each process, all on one bridge, and what can go wrong between them.
//!
//! The whole test runs inside a private network, mount and process namespace (`tests/faults` sees to it), so that nothing
//! here touches the machine's network and nothing outlives the test.

use std::{
    net::Ipv4Addr,
    process::{Command, Stdio},
};

/// Where the test itself is.
const BRIDGE: &str = "bridge0";
/// The network's first three bytes; it exists in our namespace only.
pub(super) const NET: [u8; 3] = [10, 77, 0];
const BRIDGE_HOST: u8 = 1;

/// Lays the bridge. Once a test process.
pub fn lay() {
    let [a, b, c] = NET;
    run("ip", &["link", "add", BRIDGE, "type", "bridge"]);
    run("ip", &["address", "add", &format!("{a}.{b}.{c}.{BRIDGE_HOST}/24"), "dev", BRIDGE]);
    run("ip", &["link", "set", BRIDGE, "up"]);
}

/// A machine of the cluster, as far as its network goes.
#[derive(Debug, Clone)]
pub struct Host {
    name: String,
    pub address: Ipv4Addr,
}

impl Host {
    /// `number` is the last byte of its address.
    pub fn new(name: &str, number: u8) -> Self {
        let [a, b, c] = NET;
        let host = Self { name: name.into(), address: Ipv4Addr::new(a, b, c, number) };
        let wire = format!("wire{number}");
        run("ip", &["netns", "add", name]);
        run("ip", &["link", "add", &wire, "type", "veth", "peer", "name", "eth0", "netns", name]);
        run("ip", &["link", "set", &wire, "master", BRIDGE, "up"]);
        run("ip", &["-n", name, "address", "add", &format!("{}/24", host.address), "dev", "eth0"]);
        run("ip", &["-n", name, "link", "set", "eth0", "up"]);
        run("ip", &["-n", name, "link", "set", "lo", "up"]);
        host
    }

    /// Runs on it. The process that is started is the program itself.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).args(["--", program]);
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = self.command(program);
        said(command.args(arguments))
    }

    /// Ends every connection with another host by a reset, and says how many there were.
    pub fn reset(&self, other: &Host) -> usize {
        let killed = self.run("ss", &["-HtKn", "dst", &other.address.to_string()]);
        killed.lines().filter(|line| line.contains("ESTAB")).count()
    }
}

/// How a wire is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Nothing passes.
    Both,
    /// What the first says does not reach the second; the other direction works.
    Forth,
    /// What the second says does not reach the first.
    Back,
    /// Nothing passes, and the second has forgotten the connections that the first still believes in.
    HalfOpen,
}

/// A cut between hosts; mended when it is dropped.
#[must_use = "dropping it mends the wire"]
#[derive(Debug)]
pub struct Cut {
    /// The host that refuses to hear, and whom.
    deaf: Vec<(Host, Ipv4Addr)>,
}

impl Cut {
    /// Between each of the first and each of the second.
    pub fn between(first: &[&Host], second: &[&Host], way: Way) -> Self {
        let pairs: Vec<_> = first.iter().flat_map(|a| second.iter().map(move |b| (*a, *b))).collect();
        let mut cut = Self { deaf: Vec::new() };
        for &(a, b) in &pairs {
            if way != Way::Back {
                cut.deafen(b, a);
            }
            if way != Way::Forth {
                cut.deafen(a, b);
            }
        }
        if way == Way::HalfOpen {
            for (a, b) in pairs {
                b.reset(a);
            }
        }
        cut
    }

    fn deafen(&mut self, host: &Host, to: &Host) {
        host.run("iptables", &rule("-A", &to.address.to_string()));
        self.deaf.push((host.clone(), to.address));
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for (host, from) in &self.deaf {
            host.run("iptables", &rule("-D", &from.to_string()));
        }
    }
}

fn rule<'a>(what: &'a str, from: &'a str) -> [&'a str; 7] {
    ["-w", what, "INPUT", "-s", from, "-j", "DROP"]
}

pub fn run(program: &str, arguments: &[&str]) {
    said(Command::new(program).args(arguments));
}

/// Runs to its end, and returns what it wrote.
pub(super) fn said(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
