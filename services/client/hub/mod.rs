//! The watch hub: everything that streams to clients passes here, so that a task with ten thousand watchers costs the
//! leader one push. One task owns the state; streams have a [`Watch`], the service has a [`Hub`].
//!
//! It decides nothing about tasks, and it never lets a slow reader hold up another.

mod interests;
mod mailbox;
mod questions;
mod registry;
mod slot;
mod watch;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

pub use mailbox::Update;
pub use registry::Target;
pub use watch::Watch;

use mailbox::Mailbox;
use registry::{Registry, StreamId};
use slot::Slot;

use super::leader_link::{LeaderLink, Notice};
use crate::{domain::Revision, wire::CallError};

/// Requests of streams on their way to the hub; beyond it they wait in line.
const REQUESTS: usize = 1_024;
/// Most watches by filter: each event is held against every one of them.
const MAX_FILTER_STREAMS: usize = 256;
/// How often streams that went without a word are looked for; most say it when they go.
const SWEEP: Duration = Duration::from_secs(1);
/// Most notices taken between two looks at what the streams want: well below a millisecond of work.
const NOTICES_A_TURN: usize = 128;

#[derive(Debug)]
enum Request {
    Join { target: Target, after: Revision, slot: Arc<Slot>, joined: oneshot::Sender<StreamId> },
    Leave(StreamId),
    Step(StreamId),
}

/// A handle to the hub; cheap to clone.
#[derive(Debug, Clone)]
pub struct Hub {
    requests: mpsc::Sender<Request>,
    link: LeaderLink,
    places: Arc<Semaphore>,
    filter_places: Arc<Semaphore>,
    max_streams: usize,
    draining: CancellationToken,
}

impl Hub {
    /// Starts the hub's task, which ends with the link. At most `max_streams` are open at once; all of them end when
    /// `draining` is cancelled.
    pub fn start(
        link: LeaderLink,
        notices: mpsc::Receiver<Notice>,
        max_streams: usize,
        draining: CancellationToken,
    ) -> Self {
        let (requests, received) = mpsc::channel(REQUESTS);
        tokio::spawn(run(link.clone(), notices, received));
        let places = Arc::new(Semaphore::new(max_streams));
        let filter_places = Arc::new(Semaphore::new(MAX_FILTER_STREAMS));
        Self { requests, link, places, filter_places, max_streams, draining }
    }

    /// Opens a stream that ends, to be resumed, after `age` at most.
    ///
    /// # Errors
    /// Too many are open, or the service stops.
    pub async fn watch(&self, target: Target, after: Revision, age: Duration) -> Result<Watch, CallError> {
        if self.draining.is_cancelled() {
            return Err(CallError::Draining);
        }
        let place = self.places.clone().try_acquire_owned().map_err(|_| CallError::Busy("watches"))?;
        let (mailbox, filter_place) = match &target {
            Target::Ids(ids) => (Mailbox::of_ids(ids, after), None),
            Target::Filter(_) => {
                let place = self.filter_places.clone().try_acquire_owned();
                (Mailbox::of_filter(after), Some(place.map_err(|_| CallError::Busy("watches by filter"))?))
            }
        };
        let slot = Arc::new(Slot::new(mailbox));
        let (joined, id) = oneshot::channel();
        let request = Request::Join { target, after, slot: slot.clone(), joined };
        self.requests.send(request).await.map_err(|_| CallError::Draining)?;
        let id = id.await.map_err(|_| CallError::Draining)?;
        let expires = Instant::now() + age;
        let places = (place, filter_place);
        Ok(Watch::new(id, slot, self.requests.clone(), self.link.clone(), expires, self.draining.clone(), places))
    }

    /// Streams that are open.
    pub fn open_streams(&self) -> usize {
        self.max_streams - self.places.available_permits()
    }
}

async fn run(link: LeaderLink, mut notices: mpsc::Receiver<Notice>, mut requests: mpsc::Receiver<Request>) {
    let mut registry = Registry::default();
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next = None;
    let mut told = Vec::with_capacity(NOTICES_A_TURN);
    loop {
        if next.is_none() {
            next = registry.requests();
        }
        // Notices are taken in whether or not there is room on the way to the link, which itself may wait for us.
        tokio::select! {
            count = notices.recv_many(&mut told, NOTICES_A_TURN) => {
                if count == 0 {
                    return;
                }
                told.drain(..).for_each(|notice| registry.take(notice));
            }
            room = link.reserve(), if next.is_some() => {
                let Some(room) = room else { return };
                if let Some((number, request)) = next.take() {
                    room.send(number, request);
                }
            }
            request = requests.recv() => match request {
                Some(Request::Join { target, after, slot, joined }) => {
                    let id = registry.join(target, after, &slot);
                    if joined.send(id).is_err() {
                        registry.leave(id);
                    }
                }
                Some(Request::Leave(id)) => registry.leave(id),
                Some(Request::Step(id)) => registry.step(id),
                None => return,
            },
            _ = sweep.tick() => registry.sweep(),
        }
    }
}
