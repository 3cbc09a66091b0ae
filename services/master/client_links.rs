//! The leader's end of a client service's link: hello first, then calls up, replies and events down.

use futures::{Sink, Stream};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    input::{Handle, Input},
    link::{self, Message},
    reign::Leading,
};
use crate::wire::{ClientToLeader, InvalidField, LeaderToClient, LinkRefusal};

/// Most messages that wait for a client service's link. It always reads, and conflates for slow readers itself, so this
/// fills only when it hangs; a few seconds of events at full speed.
const MAX_MESSAGES: usize = 65_536;

/// Runs the link to its end.
///
/// # Errors
/// The hello did not come, or was not one, or it knows of a later leader.
pub(super) async fn run(
    mut incoming: impl Stream<Item = Result<ClientToLeader, LinkRefusal>> + Unpin,
    outgoing: impl Sink<Result<LeaderToClient, LinkRefusal>> + Unpin,
    leading: Leading,
) -> Result<(), LinkRefusal> {
    let ClientToLeader::Hello { term, .. } = link::hello(&mut incoming).await? else {
        return Err(InvalidField::new("message", "must begin with a hello").into());
    };
    if term > leading.term {
        return Err(LinkRefusal::NotLeader);
    }
    let link = leading.next_link();
    let (to, orders) = mpsc::channel(MAX_MESSAGES);
    let cut = CancellationToken::new();
    let inputs = leading.inputs.calls;
    let begin = Input::ClientHello { link: Handle::new(link, to, cut.clone()) };
    inputs.send(begin).await.map_err(|_| LinkRefusal::NotLeader)?;
    tracing::info!(link = link.0, "a client service's link begins");

    let sort = |message| match message {
        ClientToLeader::Hello { .. } | ClientToLeader::Heartbeat => Message::Heartbeat,
        ClientToLeader::Goodbye => Message::Goodbye,
        ClientToLeader::Call { call_id, call } => {
            Message::Input(Input::Call { link, call_id, call, arrival: Instant::now() })
        }
        ClientToLeader::Malformed { call_id, error } => Message::Input(Input::Malformed { link, call_id, error }),
        ClientToLeader::Unwatch { task_ids, filter_ids } => {
            Message::Input(Input::Unwatch { link, task_ids, filter_ids })
        }
    };
    let end = link::run(incoming, outgoing, orders, || LeaderToClient::Heartbeat, cut, &inputs, sort).await;
    tracing::info!(link = link.0, ?end, "a client service's link ended");
    // If the leadership is over, nobody needs to know.
    let _ = inputs.send(Input::ClientGone { link }).await;
    Ok(())
}
