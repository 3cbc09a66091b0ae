//! Accepted connections: counted, limited in number, closed when they do not say what they speak, cut at the end of a
//! stop.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{Stream, stream};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::limits;

/// What is counted about connections.
#[derive(Debug, Clone, Default)]
pub(super) struct Gauges {
    open: Gauge,
    refused: Counter,
}

impl Gauges {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let gauges = Self::default();
        registry.register("herdsman_connections_open", "Connections to this process", gauges.open.clone());
        registry.register(
            "herdsman_connections_refused",
            "Connections closed at once because there were too many",
            gauges.refused.clone(),
        );
        gauges
    }
}

/// Connections as they are accepted. All of them fail when `cut` is cancelled. Dropping the stream closes the listener.
pub(super) fn incoming(
    listener: TcpListener,
    gauges: Gauges,
    cut: CancellationToken,
) -> impl Stream<Item = io::Result<Connection>> {
    let places = Arc::new(Semaphore::new(limits::MAX_CONNECTIONS));
    stream::unfold((listener, places, gauges, cut), |(listener, places, gauges, cut)| async move {
        let connection = accept(&listener, &places, &gauges, &cut).await;
        Some((Ok(connection), (listener, places, gauges, cut)))
    })
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    gauges: &Gauges,
    cut: &CancellationToken,
) -> Connection {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(limits::ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(places).try_acquire_owned() else {
            if gauges.refused.inc() == 0 {
                tracing::warn!(limit = limits::MAX_CONNECTIONS, "closing connections: there are too many");
            }
            continue;
        };
        // Only a connection that is gone already refuses this; serving it will notice.
        let _ = stream.set_nodelay(true);
        return Connection::new(stream, place, gauges.open.clone(), cut, limits::FIRST_BYTES_TIMEOUT);
    }
}

/// One accepted connection.
pub(super) struct Connection {
    stream: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Until the first bytes have come.
    opening: Option<Opening>,
    open: Gauge,
    _place: OwnedSemaphorePermit,
}

struct Opening {
    deadline: Pin<Box<Sleep>>,
    missing: usize,
}

impl Connection {
    fn new(
        stream: TcpStream,
        place: OwnedSemaphorePermit,
        open: Gauge,
        cut: &CancellationToken,
        patience: Duration,
    ) -> Self {
        open.inc();
        Self {
            stream,
            cut: Box::pin(cut.clone().cancelled_owned()),
            opening: Some(Opening { deadline: Box::pin(sleep(patience)), missing: limits::FIRST_BYTES }),
            open,
            _place: place,
        }
    }

    /// Fails when the connection is to end.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server stops"));
        }
        if let Some(opening) = &mut self.opening
            && opening.deadline.as_mut().poll(cx).is_ready()
        {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the client did not say what it speaks"));
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.dec();
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if let Some(opening) = &mut self.opening {
            opening.missing = opening.missing.saturating_sub(buf.filled().len() - before);
            if opening.missing == 0 {
                self.opening = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::timeout,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(50);

    /// A connection, its other end, and how many are open.
    async fn pair(cut: &CancellationToken) -> (Connection, TcpStream, Gauge) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let (place, open) = (Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap(), Gauge::default());
        (Connection::new(stream, place, open.clone(), cut, PATIENCE), client, open)
    }

    #[tokio::test]
    async fn a_client_that_dribbles_is_closed() {
        let (mut connection, mut client, open) = pair(&CancellationToken::new()).await;
        client.write_all(b"PRI").await.unwrap();
        let mut received = Vec::new();
        let error = connection.read_to_end(&mut received).await.unwrap_err();
        assert_eq!((error.kind(), received.as_slice()), (io::ErrorKind::TimedOut, b"PRI".as_slice()));
        assert_eq!(open.get(), 1);
        drop(connection);
        assert_eq!(open.get(), 0);
    }

    #[tokio::test]
    async fn a_client_that_said_what_it_speaks_may_be_silent_until_the_cut() {
        let cut = CancellationToken::new();
        let (mut connection, mut client, _) = pair(&cut).await;
        client.write_all(&[b'x'; limits::FIRST_BYTES]).await.unwrap();
        connection.read_exact(&mut [0; limits::FIRST_BYTES]).await.unwrap();
        let silence = timeout(PATIENCE * 3, connection.read_u8()).await;
        assert!(silence.is_err(), "it is still open: {silence:?}");
        cut.cancel();
        assert_eq!(connection.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
}
