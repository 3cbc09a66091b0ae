//! The one link of this process to the leader. A task of its own finds the leader, keeps a link to it, and carries many
//! calls over it at once; everybody else has a [`LeaderLink`].
//!
//! It never decides what an answer means, and it never gives a call up: what the leader did not answer is asked again
//! on the next link for as long as somebody waits. Whoever asks says how long that is.

mod calls;
mod dial;
mod driver;
mod link;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

pub use dial::{Dial, Dialler, Incoming, LinkError, Outgoing};

use calls::Asker;

use crate::{
    domain::{Answer, Call, TaskEvent, TaskId, Term},
    store::Leader,
};

/// Most calls that wait for an answer at once. At the 2 ms that a commit takes this is 2,000,000 calls a second; beyond
/// it callers wait in line, so that a leader that is behind is not buried.
const MAX_OUTSTANDING_CALLS: usize = 4_096;
/// Most calls that enter together: enough that entering costs little, few enough that they wait for places like others.
pub const CALLS_TOGETHER: usize = 64;
/// Requests between their askers and the link's task. Small: the wait belongs in front of it, where it is fair.
const REQUESTS: usize = 256;
/// Events and answers on their way to the hub; when it is full the link reads no further.
const NOTICES: usize = 1_024;

/// Why a call was not answered. What it asked for may have been done all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    #[error("no leader was found in time")]
    NoLeader,
    #[error("the leader did not answer in time")]
    DeadlineExceeded,
    #[error("the link was stopped")]
    Stopped,
}

/// Where the link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkState {
    /// Welcomed by a leader.
    pub up: bool,
    /// The highest that it has been welcomed to.
    pub term: Term,
    pub since: Instant,
}

/// What the hub is told, in the order in which the leader said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A link on which nothing is watched yet. Links are numbered.
    Up {
        link: u64,
    },
    /// What was asked on that link will not be answered.
    Down,
    Event(TaskEvent),
    Answer {
        token: u64,
        answer: Answer,
    },
}

/// What the hub asks for on a link; void on any other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubRequest {
    Ask { token: u64, call: Call },
    Unwatch { task_ids: Vec<TaskId>, filter_ids: Vec<u64> },
}

#[derive(Debug)]
enum Request {
    Ask { calls: Vec<(Call, Asker)>, deadline: Instant },
    Hub { link: u64, request: HubRequest },
}

/// A call that has its place in line. Dropping it gives the question up.
#[derive(Debug)]
pub struct Asked(oneshot::Receiver<Answer>);

/// A handle to the link; cheap to clone.
#[derive(Debug, Clone)]
pub struct LeaderLink {
    requests: mpsc::Sender<Request>,
    state: watch::Receiver<LinkState>,
    places: Arc<Semaphore>,
    patience: Duration,
}

impl LeaderLink {
    /// Starts the link's task. It says goodbye and ends when `shutdown` is cancelled. A call waits `patience` for a
    /// leader.
    pub fn start(
        dialler: Arc<dyn Dial>,
        leader: watch::Receiver<Option<Leader>>,
        patience: Duration,
        shutdown: CancellationToken,
    ) -> (Self, mpsc::Receiver<Notice>, tokio::task::JoinHandle<()>) {
        let (requests, received) = mpsc::channel(REQUESTS);
        let (notices, told) = mpsc::channel(NOTICES);
        let (state, seen) = watch::channel(LinkState { up: false, term: Term(0), since: Instant::now() });
        let task = tokio::spawn(driver::run(dialler, leader, received, notices, state, shutdown));
        let places = Arc::new(Semaphore::new(MAX_OUTSTANDING_CALLS));
        (Self { requests, state: seen, places, patience }, told, task)
    }

    /// Asks the leader, whoever that is meanwhile, until `deadline`. A submit's time left is set from the deadline.
    /// Dropping the future gives the question up; what it asked for may be done all the same.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn ask(&self, call: Call, deadline: Instant) -> Result<Answer, AskError> {
        let asked = async {
            let Asked(answer) = self.enter(vec![call], deadline).await?.pop().ok_or(AskError::Stopped)?;
            answer.await.map_err(|_| AskError::Stopped)
        };
        self.in_time(deadline, asked).await
    }

    /// As [`Self::ask`], but in two steps, and for up to [`CALLS_TOGETHER`] calls: when the first one is done, they have
    /// their places in line, so that what is entered after it is asked after them. The second step is [`Self::answers`].
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn ask_in_line(&self, calls: Vec<Call>, deadline: Instant) -> Result<Vec<Asked>, AskError> {
        self.in_time(deadline, self.enter(calls, deadline)).await
    }

    /// Waits for the answers to many calls, and returns them in the order of the calls. One wait for all of them: they come
    /// together, and a timer for each would cost more than the calls.
    pub async fn answers(&self, mut asked: Vec<Asked>, deadline: Instant) -> Vec<Result<Answer, AskError>> {
        let mut answers = Vec::with_capacity(asked.len());
        let all = async {
            for Asked(answer) in &mut asked {
                answers.push(answer.await.map_err(|_| AskError::Stopped));
            }
            Ok(())
        };
        if let Err(error) = self.in_time(deadline, all).await {
            // Behind one that is not answered others may be.
            let late = asked.iter_mut().skip(answers.len());
            answers.extend(late.map(|Asked(answer)| answer.try_recv().map_err(|_| error)));
        }
        answers
    }

    async fn enter(&self, calls: Vec<Call>, deadline: Instant) -> Result<Vec<Asked>, AskError> {
        let count = u32::try_from(calls.len()).unwrap_or(u32::MAX);
        let places = self.places.clone().acquire_many_owned(count).await.map_err(|_| AskError::Stopped)?;
        let places = Arc::new(places);
        let mut asked = Vec::with_capacity(calls.len());
        let entered = calls.into_iter().map(|call| {
            let (reply, answer) = oneshot::channel();
            asked.push(Asked(answer));
            (call, Asker::Caller { reply, _places: places.clone() })
        });
        let calls = entered.collect();
        self.requests.send(Request::Ask { calls, deadline }).await.map_err(|_| AskError::Stopped)?;
        Ok(asked)
    }

    async fn in_time<T>(
        &self,
        deadline: Instant,
        work: impl Future<Output = Result<T, AskError>>,
    ) -> Result<T, AskError> {
        tokio::select! {
            biased;
            done = work => done,
            () = self.leaderless() => Err(AskError::NoLeader),
            () = sleep_until(deadline) => Err(AskError::DeadlineExceeded),
        }
    }

    /// Resolves when no leader was there for as long as one waits for it, counted from now at the earliest.
    pub async fn leaderless(&self) {
        let start = Instant::now();
        let mut state = self.state.clone();
        loop {
            let seen = *state.borrow_and_update();
            if seen.up {
                if state.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let limit = seen.since.max(start) + self.patience;
            tokio::select! {
                () = sleep_until(limit) => return,
                changed = state.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Waits for room on the way to the link, for the hub.
    pub(super) async fn reserve(&self) -> Option<HubPermit<'_>> {
        self.requests.reserve().await.ok().map(HubPermit)
    }

    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.state.clone()
    }

    /// Calls that have a place among the outstanding ones.
    pub fn outstanding(&self) -> usize {
        MAX_OUTSTANDING_CALLS - self.places.available_permits()
    }
}

/// Room for one request of the hub.
pub(super) struct HubPermit<'a>(mpsc::Permit<'a, Request>);

impl HubPermit<'_> {
    pub(super) fn send(self, link: u64, request: HubRequest) {
        self.0.send(Request::Hub { link, request });
    }
}
