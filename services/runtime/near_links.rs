//! Links within one process: what one end says the other one hears, as the values that they are. Roles that share a process
//! make no messages of what they say to each other.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{Sink, Stream, StreamExt, stream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{PollSendError, PollSender};

use crate::wire::{ClientToLeader, LeaderToClient, LeaderToWorker, LinkRefusal, WorkerToLeader};

/// Most that goes together: a turn of those that take it.
const MAX_TOGETHER: usize = 256;
/// Most that is on its way, each of it up to so much together: a link that does not move is felt at once.
const MAX_ON_THE_WAY: usize = 8;
/// Links that wait for the master: there is a worker and a client service.
const MAX_ARRIVALS: usize = 4;

/// Where a role finds the master of its own process.
#[derive(Debug, Clone)]
pub struct Door {
    address: String,
    arrivals: mpsc::Sender<Arrival>,
}

/// Where the master meets them.
pub type Arrivals = mpsc::Receiver<Arrival>;

/// The master's end of a link that was opened.
#[derive(Debug)]
pub enum Arrival {
    Worker(End<Result<LeaderToWorker, LinkRefusal>, WorkerToLeader>),
    Client(End<Result<LeaderToClient, LinkRefusal>, ClientToLeader>),
}

/// One end of a link. Dropping half of it ends that half.
#[derive(Debug)]
pub struct End<Says, Hears> {
    to: mpsc::Sender<Vec<Says>>,
    from: mpsc::Receiver<Vec<Hears>>,
}

/// The master is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the master of this process has ended")]
pub struct Gone;

/// The door of a master that the others reach at this address (host:port).
pub fn door(address: String) -> (Door, Arrivals) {
    let (arrivals, arrived) = mpsc::channel(MAX_ARRIVALS);
    (Door { address, arrivals }, arrived)
}

impl Door {
    /// host:port of the master behind it, as others reach it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether the master behind it is the one at this address.
    pub fn is_of(&self, address: &str) -> bool {
        self.address == address
    }

    /// A worker's link. Nothing has been said on it yet.
    ///
    /// # Errors
    /// See [`Gone`].
    pub async fn worker(&self) -> Result<End<WorkerToLeader, Result<LeaderToWorker, LinkRefusal>>, Gone> {
        self.open(Arrival::Worker).await
    }

    /// A client service's link, likewise.
    ///
    /// # Errors
    /// See [`Gone`].
    pub async fn client(&self) -> Result<End<ClientToLeader, Result<LeaderToClient, LinkRefusal>>, Gone> {
        self.open(Arrival::Client).await
    }

    async fn open<Up, Down>(&self, arrival: fn(End<Down, Up>) -> Arrival) -> Result<End<Up, Down>, Gone> {
        let ((up, heard), (down, told)) = (mpsc::channel(MAX_ON_THE_WAY), mpsc::channel(MAX_ON_THE_WAY));
        self.arrivals.send(arrival(End { to: down, from: heard })).await.map_err(|_| Gone)?;
        Ok(End { to: up, from: told })
    }
}

impl<Says: Send + 'static, Hears> End<Says, Hears> {
    /// The two directions.
    pub fn split(self) -> (Saying<Says>, impl Stream<Item = Hears> + Send + use<Says, Hears>)
    where
        Hears: Send,
    {
        (
            Saying { to: PollSender::new(self.to), together: Vec::new() },
            ReceiverStream::new(self.from).flat_map(stream::iter),
        )
    }

    /// The way by which one thing more can be said when the link is over.
    pub fn last_word(&self) -> mpsc::Sender<Vec<Says>> {
        self.to.clone()
    }
}

/// What is said between two flushes goes together.
#[derive(Debug)]
pub struct Saying<M> {
    to: PollSender<Vec<M>>,
    together: Vec<M>,
}

impl<M: Send + Unpin + 'static> Sink<M> for Saying<M> {
    type Error = PollSendError<Vec<M>>;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.together.len() < MAX_TOGETHER { Poll::Ready(Ok(())) } else { self.poll_flush(cx) }
    }

    fn start_send(self: Pin<&mut Self>, message: M) -> Result<(), Self::Error> {
        self.get_mut().together.push(message);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let this = self.get_mut();
        if !this.together.is_empty() {
            ready!(this.to.poll_reserve(cx))?;
            this.to.send_item(std::mem::take(&mut this.together))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        ready!(self.as_mut().poll_flush(cx))?;
        self.get_mut().to.close();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, SinkExt};

    use super::*;

    #[tokio::test]
    async fn what_is_said_is_heard_in_its_order_and_the_end_after_it() {
        let (door, mut arrivals) = door("here:1".into());
        assert!(door.is_of("here:1") && !door.is_of("there:1"));
        let (mut saying, _) = door.client().await.unwrap().split();
        let Some(Arrival::Client(end)) = arrivals.recv().await else { panic!("a client service's") };
        let (_, heard) = end.split();
        let heartbeats = 2 * MAX_TOGETHER + 1;
        for _ in 0..heartbeats {
            saying.feed(ClientToLeader::Heartbeat).await.unwrap();
        }
        saying.send(ClientToLeader::Goodbye).await.unwrap();
        saying.close().await.unwrap();
        let heard: Vec<_> = heard.collect().await;
        assert_eq!((heard.len(), heard.last()), (heartbeats + 1, Some(&ClientToLeader::Goodbye)));
    }

    #[tokio::test]
    async fn a_link_that_nobody_reads_takes_so_much_and_no_more() {
        let (door, mut arrivals) = door("here:1".into());
        let (mut saying, _) = door.worker().await.unwrap().split();
        let mut said = 0;
        while saying.feed(WorkerToLeader::Heartbeat).now_or_never().is_some() {
            said += 1;
            assert!(said <= (MAX_ON_THE_WAY + 1) * MAX_TOGETHER, "it takes without end");
        }
        drop(arrivals.recv().await);
        assert!(saying.flush().await.is_err(), "the other end is gone");
    }

    #[tokio::test]
    async fn the_door_of_a_master_that_has_ended_is_closed() {
        let (door, arrivals) = door("here:1".into());
        drop(arrivals);
        assert_eq!(door.worker().await.unwrap_err(), Gone);
    }
}
