//! What waits for the driver. What workers say goes before what clients ask: it frees slots and brings tasks to their end,
//! while a submit makes more of them, so that a leader that is offered too much still completes what it can.

use std::{future::poll_fn, task::Poll};

use tokio::sync::mpsc;

use super::input::Input;

/// Most inputs of each kind that wait for the driver, over all links; then the links wait, and with them whoever sends.
const MAX_INPUTS: usize = 8_192;
/// Most inputs of each kind that are taken between two looks at the commits.
pub(super) const MAX_TURN: usize = 256;

/// Where links put what they bring.
#[derive(Debug, Clone)]
pub(super) struct Entrance {
    /// Of workers.
    pub reports: mpsc::Sender<Input>,
    /// Of client services.
    pub calls: mpsc::Sender<Input>,
}

/// The driver's end.
pub(super) struct Inbox {
    reports: mpsc::Receiver<Input>,
    calls: mpsc::Receiver<Input>,
}

pub(super) fn inbox() -> (Entrance, Inbox) {
    let (reports, reports_in) = mpsc::channel(MAX_INPUTS);
    let (calls, calls_in) = mpsc::channel(MAX_INPUTS);
    (Entrance { reports, calls }, Inbox { reports: reports_in, calls: calls_in })
}

impl Inbox {
    /// Waits for inputs and takes those that are there, what workers said first, and so many calls at most. Gives how many
    /// of them are of workers. Dropping the future loses nothing.
    pub async fn take(&mut self, calls: usize, taken: &mut Vec<Input>) -> usize {
        poll_fn(|context| {
            let mut poll = |from: &mut mpsc::Receiver<Input>, most: usize| match from.poll_recv_many(
                context,
                taken,
                most.min(MAX_TURN),
            ) {
                Poll::Ready(count) => count,
                Poll::Pending => 0,
            };
            let reports = poll(&mut self.reports, MAX_TURN);
            let calls = if calls > 0 { poll(&mut self.calls, calls) } else { 0 };
            if reports + calls > 0 { Poll::Ready(reports) } else { Poll::Pending }
        })
        .await
    }

    /// What workers said and the driver has not taken.
    pub fn reports(&self) -> usize {
        self.reports.len()
    }
}
