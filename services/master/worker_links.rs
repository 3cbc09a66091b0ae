//! The leader's end of a worker's link: hello first, then reports up and orders down.

use futures::{Sink, Stream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    input::{Handle, Input},
    link::{self, End, Message},
    reign::Leading,
};
use crate::{
    domain::WorkerOffer,
    wire::{InvalidField, LeaderToWorker, LinkRefusal, WorkerToLeader},
};

/// Most messages that wait for a worker's link: an assignment, a cancel and an acknowledgement for each of its slots.
const MAX_ORDERS: usize = 3 * WorkerOffer::MAX_SLOTS as usize;

/// Runs the link to its end.
///
/// # Errors
/// The hello did not come, or was not one.
pub(super) async fn run(
    mut incoming: impl Stream<Item = Result<WorkerToLeader, LinkRefusal>> + Unpin,
    outgoing: impl Sink<Result<LeaderToWorker, LinkRefusal>> + Unpin,
    leading: Leading,
) -> Result<(), LinkRefusal> {
    let WorkerToLeader::Hello(hello) = link::hello(&mut incoming).await? else {
        return Err(InvalidField::new("message", "must begin with a hello").into());
    };
    let (id, worker, incarnation) = (leading.next_link(), hello.offer.worker_id.clone(), hello.offer.incarnation);
    let (to, orders) = mpsc::channel(MAX_ORDERS);
    let cut = CancellationToken::new();
    let inputs = leading.inputs.reports;
    let begin = Input::WorkerHello { hello, link: Handle::new(id, to, cut.clone()) };
    inputs.send(begin).await.map_err(|_| LinkRefusal::NotLeader)?;
    tracing::info!(%worker, %incarnation, link = id.0, "a worker's link begins");

    let sort = |message| match message {
        WorkerToLeader::Hello(_) | WorkerToLeader::Heartbeat => Message::Heartbeat,
        WorkerToLeader::Goodbye => Message::Goodbye,
        WorkerToLeader::Report(report) => {
            Message::Input(Input::Report { link: id, worker: worker.clone(), incarnation, report })
        }
        WorkerToLeader::Draining => Message::Input(Input::Draining { link: id, worker: worker.clone(), incarnation }),
    };
    let end = link::run(incoming, outgoing, orders, || LeaderToWorker::Heartbeat, cut, &inputs, sort).await;
    tracing::info!(%worker, %incarnation, link = id.0, ?end, "a worker's link ended");
    // If the leadership is over, nobody needs to know.
    let _ = inputs.send(Input::WorkerGone { link: id, worker, incarnation, goodbye: end == End::Goodbye }).await;
    Ok(())
}
