//! The leader's end of a standby's link. It carries nothing but life: its end without a goodbye tells the standby that
//! the leader died.

use futures::{Sink, Stream};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    link::{self, Message},
    reign::Leading,
};
use crate::wire::{InvalidField, LeaderToStandby, LinkRefusal, StandbyToLeader};

/// The welcome and the goodbye.
const MAX_MESSAGES: usize = 2;

/// Runs the link to its end.
///
/// # Errors
/// The hello did not come, or was not one.
pub(super) async fn run(
    mut incoming: impl Stream<Item = Result<StandbyToLeader, LinkRefusal>> + Unpin,
    outgoing: impl Sink<Result<LeaderToStandby, LinkRefusal>> + Unpin,
    leading: Leading,
) -> Result<(), LinkRefusal> {
    let StandbyToLeader::Hello { candidate, .. } = link::hello(&mut incoming).await? else {
        return Err(InvalidField::new("message", "must begin with a hello").into());
    };
    tracing::info!(%candidate, "a standby's link begins");
    let _counted = leading.standbys.enter();
    let (to, messages) = mpsc::channel(MAX_MESSAGES);
    let immune_for = leading.immune_until.saturating_duration_since(Instant::now());
    let welcome = LeaderToStandby::Welcome { term: leading.term, immune_for, immunity: leading.immunity };
    // There is room for both messages.
    let _ = to.try_send(Ok(welcome));

    let sort = |message| match message {
        StandbyToLeader::Hello { .. } | StandbyToLeader::Heartbeat => Message::Heartbeat,
        StandbyToLeader::Goodbye => Message::Goodbye,
    };
    let inputs = leading.inputs.reports.clone();
    // Dropping the sender ends the link, after what is in it was sent.
    let farewell = async move {
        tokio::select! {
            // The end of the leadership follows on it.
            biased;
            () = leading.resigned.cancelled() => { let _ = to.try_send(Ok(LeaderToStandby::Goodbye)); }
            // A leadership that is lost ends its links without a word.
            () = leading.inputs.reports.closed() => {}
        }
    };
    let cut = CancellationToken::new();
    let linked = link::run(incoming, outgoing, messages, || LeaderToStandby::Heartbeat, cut, &inputs, sort);
    let mut linked = std::pin::pin!(linked);
    let end = tokio::select! {
        end = &mut linked => end,
        () = farewell => linked.await,
    };
    tracing::info!(%candidate, ?end, "a standby's link ended");
    Ok(())
}
