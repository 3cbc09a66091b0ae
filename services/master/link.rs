//! One link from its hello on, whatever it carries: messages in, messages out, heartbeats both ways. It runs over a
//! Stream and a Sink and knows nothing of gRPC.

use futures::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::input::Input;
use crate::{
    runtime::heartbeat::{HEARTBEAT, LINK_IDLE_LIMIT},
    wire::LinkRefusal,
};

/// Most orders taken from the queue at once: as many as the connection takes without waiting.
const ORDERS_A_TURN: usize = 256;

/// What the dialler's message is to the link.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "each is handed on at once, none is kept")]
pub(super) enum Message {
    /// For the driver.
    Input(Input),
    /// A sign of life.
    Heartbeat,
    Goodbye,
}

/// How a link ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The other end said goodbye.
    Goodbye,
    /// The other end, or the way to it, is gone.
    Gone,
    /// This end has ended it.
    Closed,
}

/// The first message of a link.
///
/// # Errors
/// None came in time, or not a valid one.
pub(super) async fn hello<In>(
    incoming: &mut (impl Stream<Item = Result<In, LinkRefusal>> + Unpin),
) -> Result<In, LinkRefusal> {
    timeout(LINK_IDLE_LIMIT, incoming.next()).await.ok().flatten().unwrap_or(Err(LinkRefusal::Silent))
}

/// Runs a link to its end.
pub(super) async fn run<In, Out>(
    incoming: impl Stream<Item = Result<In, LinkRefusal>> + Unpin,
    mut outgoing: impl Sink<Result<Out, LinkRefusal>> + Unpin,
    orders: mpsc::Receiver<Result<Out, LinkRefusal>>,
    heartbeat: impl Fn() -> Out,
    cut: CancellationToken,
    inputs: &mpsc::Sender<Input>,
    sort: impl Fn(In) -> Message,
) -> End {
    let ended = {
        let sending = send_all(&mut outgoing, orders, heartbeat);
        tokio::select! {
            ended = receive_all(incoming, inputs, sort) => ended,
            ended = sending => Ok(ended),
            () = cut.cancelled() => Ok(End::Closed),
        }
    };
    match ended {
        Ok(end) => end,
        Err(refusal) => {
            tracing::info!(%refusal, "ending a link");
            // If it cannot be told, it will see the end.
            let _ = timeout(HEARTBEAT, outgoing.send(Err(refusal))).await;
            End::Gone
        }
    }
}

async fn receive_all<In>(
    mut incoming: impl Stream<Item = Result<In, LinkRefusal>> + Unpin,
    inputs: &mpsc::Sender<Input>,
    sort: impl Fn(In) -> Message,
) -> Result<End, LinkRefusal> {
    loop {
        let heard = timeout(LINK_IDLE_LIMIT, incoming.next()).await;
        let mut next = Some(heard.map_err(|_| LinkRefusal::Silent)?);
        // What has come along with it is not waited for.
        while let Some(message) = next {
            let Some(message) = message else { return Ok(End::Gone) };
            match sort(message?) {
                Message::Heartbeat => {}
                Message::Goodbye => return Ok(End::Goodbye),
                Message::Input(input) => {
                    if inputs.send(input).await.is_err() {
                        // Nobody takes it: the leadership is over.
                        return Ok(End::Closed);
                    }
                }
            }
            next = incoming.next().now_or_never();
        }
    }
}

async fn send_all<Out>(
    outgoing: &mut (impl Sink<Result<Out, LinkRefusal>> + Unpin),
    mut orders: mpsc::Receiver<Result<Out, LinkRefusal>>,
    heartbeat: impl Fn() -> Out,
) -> End {
    let mut batch = Vec::with_capacity(ORDERS_A_TURN);
    loop {
        match timeout(HEARTBEAT, orders.recv_many(&mut batch, ORDERS_A_TURN)).await {
            Err(_) => batch.push(Ok(heartbeat())),
            Ok(0) => return End::Closed,
            Ok(_) => {}
        }
        for item in batch.drain(..) {
            let last = item.is_err();
            if outgoing.feed(item).await.is_err() {
                return End::Gone;
            }
            if last {
                // If it cannot be told, it will see the end.
                let _ = outgoing.flush().await;
                return End::Closed;
            }
        }
        if outgoing.flush().await.is_err() {
            return End::Gone;
        }
    }
}
