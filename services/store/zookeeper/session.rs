//! How a session with ZooKeeper comes to be, and how long anything on it may take. A session is never repaired here:
//! whoever loses one opens another.

use std::time::Duration;

use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use zookeeper_client::{Client, Error};

use crate::store::StoreError;

/// Where ZooKeeper is, and how long it waits for a silent client.
#[derive(Debug, Clone)]
pub struct ZooKeeperOptions {
    /// `host:port[,host:port…][/chroot]`; the chroot is [`DEFAULT_CHROOT`] unless it is said.
    pub servers_and_chroot: String,
    /// How long a process may be cut off before its session, and all that hangs on it, is gone. The servers may grant
    /// another.
    pub session_timeout: Duration,
}

/// The node that everything of Herdsman's lies under, unless the connect string says another.
pub const DEFAULT_CHROOT: &str = "/herdsman";

/// For one attempt to open a session over all servers of the connect string.
const OPEN_LIMIT: Duration = Duration::from_secs(4);
/// How long nobody has to answer before an attempt gets company, and how many attempts there are then: enough that two
/// silent servers of three leave a good chance to find the third.
const SILENCE: Duration = Duration::from_millis(500);
const ATTEMPTS: usize = 4;
/// How long the first connection of a process tries again: an ensemble that elects its leader serves nobody for about a
/// second, and with [`OPEN_LIMIT`] and [`PROBE_LIMIT`] a process that cannot start says so within 8 s.
const RETRY_LIMIT: Duration = Duration::from_secs(3);
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// For finding out why a server cannot be reached, all servers at once.
const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// Opens sessions.
#[derive(Debug, Clone)]
pub struct Sessions {
    servers: String,
    chroot: String,
    timeout: Duration,
}

impl Sessions {
    /// # Errors
    /// The options are not usable; the text says why.
    pub fn new(options: &ZooKeeperOptions) -> Result<Self, StoreError> {
        let text = options.servers_and_chroot.trim();
        let invalid = |problem: &str| {
            Err(StoreError::Broken(format!(
                "{text:?} does not say where ZooKeeper is (host:port[,host:port…][/chroot]): {problem}"
            )))
        };
        if options.session_timeout.is_zero() {
            return Err(StoreError::Broken("the session timeout must not be zero".into()));
        }
        let (servers, chroot) = text.find('/').map_or((text, DEFAULT_CHROOT), |slash| text.split_at(slash));
        if let Some(problem) = servers.split(',').find_map(|server| host_and_port(server).err()) {
            return invalid(problem);
        }
        if chroot.len() > 1 && chroot[1..].split('/').any(|name| matches!(name, "" | "." | "..")) {
            return invalid("the chroot is not a path of nodes");
        }
        Ok(Self { servers: servers.to_owned(), chroot: chroot.to_owned(), timeout: options.session_timeout })
    }

    pub fn chroot(&self) -> &str {
        &self.chroot
    }

    /// Opens a session, once through all servers.
    ///
    /// # Errors
    /// Unreachable, with the reason for each server.
    pub async fn open(&self) -> Result<Client, StoreError> {
        match self.attempt().await {
            Ok(client) => Ok(client),
            Err(error) => Err(self.explain(error).await),
        }
    }

    /// The same, trying again for a while.
    pub async fn open_patiently(&self) -> Result<Client, StoreError> {
        let start = Instant::now();
        loop {
            match self.attempt().await {
                Ok(client) => return Ok(client),
                Err(error) if matches!(error, Error::BadArguments(_)) || start.elapsed() >= RETRY_LIMIT => {
                    return Err(self.explain(error).await);
                }
                Err(_) => sleep(RETRY_PAUSE).await,
            }
        }
    }

    async fn attempt(&self) -> Result<Client, Error> {
        let client = within(OPEN_LIMIT, self.race()).await?;
        client.chroot(self.chroot.as_str()).map_err(|_| Error::BadArguments(&"the chroot is not a path of nodes"))
    }

    /// The library tries one server after the other, in an order of its own, and gives a silent one two fifths of a
    /// session timeout. Who is not served soon asks beside it, most likely another server.
    async fn race(&self) -> Result<Client, Error> {
        let attempts = if self.servers.contains(',') { ATTEMPTS } else { 1 };
        let dial = || {
            let connector = Client::connector().with_session_timeout(self.timeout).with_fail_eagerly();
            connector.connect(&self.servers)
        };
        let mut dialling = FuturesUnordered::from_iter([dial()]);
        let mut started = 1;
        loop {
            tokio::select! {
                Some(result) = dialling.next() => {
                    if result.is_ok() || dialling.is_empty() {
                        return result;
                    }
                }
                () = sleep(SILENCE), if started < attempts => {
                    dialling.push(dial());
                    started += 1;
                }
            }
        }
    }

    /// The library says only that no server would have it; a person wants to know why.
    async fn explain(&self, error: Error) -> StoreError {
        if let Error::BadArguments(problem) = error {
            return StoreError::Broken(format!("{:?} does not say where ZooKeeper is: {problem}", self.servers));
        }
        let reasons = join_all(self.servers.split(',').map(|server| async move {
            let reason = match host_and_port(server) {
                Ok(address) => probe(address).await,
                Err(problem) => problem.to_owned(),
            };
            format!("{server} ({reason})")
        }));
        StoreError::Unreachable(format!("cannot reach ZooKeeper at {}", reasons.await.join(", ")))
    }
}

/// What happens to who dials the server.
async fn probe(address: (&str, u16)) -> String {
    let dialled = timeout(PROBE_LIMIT, async {
        let addresses: Vec<_> =
            tokio::net::lookup_host(address).await.map_err(|_| "no such host".to_owned())?.collect();
        TcpStream::connect(addresses.as_slice()).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            _ => error.to_string(),
        })
    });
    match dialled.await {
        Ok(Ok(_)) => "accepts connections but gives no session: not a ZooKeeper, or one without a quorum".to_owned(),
        Ok(Err(reason)) => reason,
        Err(_) => "timed out".to_owned(),
    }
}

/// Splits `host:port`, `host`, `[::1]:port`.
fn host_and_port(server: &str) -> Result<(&str, u16), &'static str> {
    const DEFAULT_PORT: u16 = 2181;
    let bracketed = server.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, port) = match bracketed {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or("an address is not host:port")?)),
        None => server.split_once(':').map_or((server, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err("a host is missing");
    }
    let port = port.map_or(Ok(DEFAULT_PORT), str::parse).map_err(|_| "a port is not a number from 1 to 65535")?;
    if port == 0 { Err("a port is not a number from 1 to 65535") } else { Ok((host, port)) }
}

/// Waits for an answer, at most so long. Too long is [`Error::Timeout`], and, for a write, means that nobody knows.
pub async fn within<T>(limit: Duration, request: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(limit, request).await.unwrap_or(Err(Error::Timeout))
}

/// What a request's failure means to the caller of the store.
pub fn lost(what: &str) -> impl FnOnce(Error) -> StoreError {
    move |error| match error {
        Error::NoAuth | Error::InvalidAcl | Error::AuthFailed | Error::QuotaExceeded => {
            StoreError::Broken(format!("{what}: {error}"))
        }
        error => StoreError::Lost(format!("{what}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(text: &str) -> Result<Sessions, StoreError> {
        Sessions::new(&ZooKeeperOptions { servers_and_chroot: text.into(), session_timeout: Duration::from_secs(4) })
    }

    #[test]
    fn a_connect_string_may_name_its_chroot() {
        for (text, servers, chroot) in [
            ("zk1:2181", "zk1:2181", "/herdsman"),
            ("zk1,zk2:2182", "zk1,zk2:2182", "/herdsman"),
            ("[::1]:2181/a/b", "[::1]:2181", "/a/b"),
            ("zk1:2181/", "zk1:2181", "/"),
        ] {
            let sessions = sessions(text).unwrap();
            assert_eq!((sessions.servers.as_str(), sessions.chroot()), (servers, chroot), "{text}");
        }
    }

    #[test]
    fn a_bad_connect_string_is_refused_with_its_reason() {
        for text in ["", "zk1:99999", "zk1:0", "zk1:x", ":2181", "zk1,,zk2", "zk1//a", "zk1/a/../b", "http://zk1:2181"]
        {
            let error = sessions(text).unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{text}: {error}");
        }
    }
}
