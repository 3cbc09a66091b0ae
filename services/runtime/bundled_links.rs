//! The edge of a link to gRPC: what is said between two flushes travels together.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{Sink, Stream, StreamExt, stream};
use tokio::sync::mpsc;
use tokio_util::sync::{PollSendError, PollSender};

use crate::wire::{Bundle, Bundled, InvalidField, unbundle};

/// Most bundles between a link and its connection: some hundred KiB, so that a link that does not move is felt at once.
pub const MAX_BUNDLES: usize = 8;

/// The way of messages to a channel of `T`, which `wrap` makes of each bundle. An Err goes as it is, after them.
pub struct Bundling<M, T> {
    to: PollSender<T>,
    wrap: fn(M) -> T,
    bundle: Bundle<M>,
    /// What goes before the bundle: no more than two.
    before: VecDeque<T>,
}

impl<M: Bundled, T: Send + 'static> Bundling<M, T> {
    pub fn new(to: mpsc::Sender<T>, wrap: fn(M) -> T) -> Self {
        Self { to: PollSender::new(to), wrap, bundle: Bundle::default(), before: VecDeque::new() }
    }

    fn end_bundle(&mut self) {
        self.before.extend(self.bundle.take().map(self.wrap));
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PollSendError<T>>> {
        self.end_bundle();
        while !self.before.is_empty() {
            ready!(self.to.poll_reserve(cx))?;
            if let Some(next) = self.before.pop_front() {
                self.to.send_item(next)?;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<M: Bundled + Unpin, T: Send + Unpin + 'static> Sink<Result<M, T>> for Bundling<M, T> {
    type Error = PollSendError<T>;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let this = self.get_mut();
        if this.before.is_empty() && this.bundle.has_room() { Poll::Ready(Ok(())) } else { this.poll_out(cx) }
    }

    fn start_send(self: Pin<&mut Self>, item: Result<M, T>) -> Result<(), Self::Error> {
        let this = self.get_mut();
        let alone = match item {
            Ok(message) => this.bundle.push(message).map(this.wrap),
            Err(other) => Some(other),
        };
        if alone.is_some() {
            this.end_bundle();
        }
        this.before.extend(alone);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.get_mut().poll_out(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let this = self.get_mut();
        ready!(this.poll_out(cx))?;
        this.to.close();
        Poll::Ready(Ok(()))
    }
}

/// What comes over a link, each message by itself again and read; an error of the stream stays one.
pub fn unbundled<M: Bundled, In: TryFrom<M, Error = InvalidField>, E>(
    incoming: impl Stream<Item = Result<M, E>>,
) -> impl Stream<Item = Result<Result<In, InvalidField>, E>> {
    incoming.flat_map(|message| {
        let (messages, error) = match message {
            Ok(message) => (Some(unbundle(message).map(|message| Ok(message.and_then(In::try_from)))), None),
            Err(error) => (None, Some(Err(error))),
        };
        stream::iter(messages.into_iter().flatten().chain(error))
    })
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, SinkExt};
    use prost::Message;
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;
    use crate::{
        domain::{AttemptId, Fence, Order},
        wire::{LeaderToWorker, proto::internal::v1::LinkWorkerResponse},
    };

    type Proto = LinkWorkerResponse;
    type Sent = Result<Proto, InvalidField>;

    fn acknowledge(number: u64) -> Proto {
        let attempt = AttemptId { task_id: format!("t{number}").parse().unwrap(), attempt: 1, fence: Fence(1) };
        LeaderToWorker::Order(Order::Acknowledge { attempt }).into()
    }

    fn large() -> Proto {
        let attempt = AttemptId { task_id: "t".parse().unwrap(), attempt: 1, fence: Fence(1) };
        LeaderToWorker::Order(Order::Cancel { attempt, reason: "x".repeat(20_000).into() }).into()
    }

    fn line(capacity: usize) -> (Bundling<Proto, Sent>, mpsc::Receiver<Sent>) {
        let (to, from) = mpsc::channel(capacity);
        (Bundling::new(to, Ok), from)
    }

    async fn all(from: mpsc::Receiver<Sent>) -> Vec<Result<LeaderToWorker, InvalidField>> {
        unbundled(ReceiverStream::new(from)).map(|message| message.and_then(|message| message)).collect().await
    }

    #[tokio::test]
    async fn what_is_said_between_two_flushes_travels_together_and_arrives_in_its_order() {
        let (mut out, mut from) = line(MAX_BUNDLES);
        out.send(Ok(acknowledge(0))).await.unwrap();
        for number in 1..4 {
            out.feed(Ok(acknowledge(number))).await.unwrap();
        }
        out.feed(Ok(large())).await.unwrap();
        out.feed(Err(Err(InvalidField::new("x", "no")))).await.unwrap();
        out.close().await.unwrap();
        let mut travelled = Vec::new();
        from.recv_many(&mut travelled, 9).await;
        assert_eq!(travelled[0], Ok(acknowledge(0)), "one alone is no bundle");
        assert_eq!((travelled.len(), &travelled[2]), (4, &Ok(large())));

        let (to, from) = mpsc::channel(9);
        for message in travelled {
            to.try_send(message).unwrap();
        }
        drop(to);
        let arrived = all(from).await;
        let expected: Vec<_> = (0..4).map(acknowledge).chain([large()]).map(LeaderToWorker::try_from).collect();
        assert_eq!(arrived[..5], expected);
        assert!(arrived.len() == 6 && arrived[5].is_err());
    }

    #[tokio::test]
    async fn a_connection_that_does_not_take_anything_is_felt() {
        let (mut out, from) = line(1);
        let mut said = 0;
        while out.feed(Ok(acknowledge(said))).now_or_never().is_some() {
            said += 1;
            assert!(said < 100_000, "it takes without end");
        }
        drop(out.close());
        drop(out);
        let arrived = all(from).await;
        assert!(!arrived.is_empty() && arrived.iter().all(Result::is_ok), "what was taken was sent");
    }

    #[tokio::test]
    async fn a_damaged_bundle_is_an_error_and_the_end_of_itself() {
        let cut_off = Proto::from_bundle(acknowledge(1).encode_length_delimited_to_vec()[..5].to_vec().into());
        for damaged in [cut_off, Proto::from_bundle(b"\x02\xff\xff\x00".to_vec().into())] {
            let (to, from) = mpsc::channel(2);
            to.try_send(Ok(damaged)).unwrap();
            to.try_send(Ok(acknowledge(2))).unwrap();
            drop(to);
            let arrived = all(from).await;
            assert_eq!(arrived.len(), 2, "{arrived:?}");
            assert_eq!(arrived[0].as_ref().unwrap_err().field, "bundle");
        }
    }
}
