//! A TCP proxy that is a bad network: it can hold what goes either way, let it go much later, and cut connections.

use std::net::Ipv4Addr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
};

#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    requests: Flow,
    replies: Flow,
    /// Replies are held from the first request on that has this in it.
    trip: Option<&'static [u8]>,
    admission: Admission,
    /// Connections of an earlier number are cut.
    cuts: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Flow {
    #[default]
    Pass,
    Hold,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Admission {
    #[default]
    Everybody,
    /// Not a session that had a connection before.
    NewSessions,
    Nobody,
}

/// Ends with the test: connections too.
pub struct Proxy {
    port: u16,
    weather: watch::Sender<Weather>,
    accepting: AbortHandle,
}

impl Proxy {
    /// A proxy before a server on a loopback port.
    pub async fn start(server_port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let weather = watch::Sender::new(Weather::default());
        let sky = weather.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if sky.borrow().admission == Admission::Nobody {
                    continue;
                }
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port)).await {
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::spawn(pump(from_client, to_server, sky.clone(), Direction::Requests));
                    tokio::spawn(pump(from_server, to_client, sky.clone(), Direction::Replies));
                }
            }
        });
        Self { port, weather, accepting: accepting.abort_handle() }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What the clients say stays on its way.
    pub fn hold_requests(&self) {
        self.weather.send_modify(|weather| weather.requests = Flow::Hold);
    }

    /// What the server says stays on its way.
    pub fn hold_replies(&self) {
        self.weather.send_modify(|weather| weather.replies = Flow::Hold);
    }

    /// The server hears the next request with this text in it, and nobody hears an answer.
    pub fn hold_replies_from(&self, text: &'static [u8]) {
        self.weather.send_modify(|weather| weather.trip = Some(text));
    }

    /// Everything that was held goes on.
    pub fn release(&self) {
        self.weather.send_modify(|weather| *weather = Weather { cuts: weather.cuts, ..Weather::default() });
    }

    /// Everybody may connect, except with a session that had a connection before.
    pub fn admit_new_sessions_only(&self) {
        self.release();
        self.weather.send_modify(|weather| weather.admission = Admission::NewSessions);
    }

    /// Ends all connections, and what they hold; refuses others until [`Proxy::release`].
    pub fn cut(&self) {
        self.weather.send_modify(|weather| {
            weather.cuts += 1;
            weather.admission = Admission::Nobody;
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Requests,
    Replies,
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    sky: watch::Sender<Weather>,
    direction: Direction,
) {
    let mut weather = sky.subscribe();
    let cuts = weather.borrow().cuts;
    let mut cut = sky.subscribe();
    let forward = async {
        let mut buffer = vec![0; 64 * 1024];
        let mut first = true;
        loop {
            let Ok(bytes @ 1..) = from.read(&mut buffer).await else { return };
            let chunk = &buffer[..bytes];
            if direction == Direction::Requests {
                // A connection begins with length, protocol, last zxid and timeout, then the session: 0 for a new one.
                let returns = first && chunk.get(20..28).is_some_and(|session| session != [0; 8]);
                if returns && weather.borrow().admission == Admission::NewSessions {
                    return;
                }
                first = false;
                let trip = weather.borrow().trip;
                if trip.is_some_and(|text| chunk.windows(text.len()).any(|window| window == text)) {
                    sky.send_modify(|weather| weather.replies = Flow::Hold);
                }
            }
            let open = |weather: &Weather| match direction {
                Direction::Requests => weather.requests == Flow::Pass,
                Direction::Replies => weather.replies == Flow::Pass,
            };
            if weather.wait_for(open).await.is_err() || to.write_all(chunk).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = forward => {}
        _ = cut.wait_for(|weather| weather.cuts != cuts) => {}
    }
}
