//! The worker's link to the leader: found, held, given up and found again, for as long as the worker lives. A link that
//! ends stops nothing that runs; what ends meanwhile is told on the next link.
//!
//! This code knows a sink and a stream of messages and no gRPC; that is in `dial`.

pub mod dial;
mod ends;

use std::{iter, pin::pin, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

pub use ends::{Incoming, LinkError, Outgoing};
use ends::{Listener, Speaker};

use super::crew::{Crew, Step};
use crate::{
    domain::Term,
    runtime::{
        backoff::Backoff,
        heartbeat::{HEARTBEAT, LINK_IDLE_LIMIT},
    },
    store::Leader,
    wire::{LeaderToWorker, WorkerToLeader},
};

/// Longest wait between two attempts at a link: the time that a failover takes should not grow by much.
const MAX_BACKOFF: Duration = Duration::from_millis(500);
/// The wait before the second attempt; the first one comes at once.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
/// Longest wait for the leader to take note of a goodbye.
const GOODBYE_LIMIT: Duration = Duration::from_millis(500);
/// Most messages taken between two looks at what there is to say: what they cost is well below a millisecond.
const MESSAGES_A_TURN: usize = 128;

/// Opens links.
pub trait Dial: Send + Sync + 'static {
    /// Opens one to the leader at `address` (host:port). What the leader thinks of it comes through the stream.
    fn dial(&self, address: &str) -> BoxFuture<'static, Result<(Outgoing, Incoming), LinkError>>;
}

/// Keeps a worker linked.
pub struct Link<D> {
    dial: D,
    /// Who leads, as the store knows it.
    leader: watch::Receiver<Option<Leader>>,
    crew: Crew,
    /// Highest term that welcomed this worker; nothing is accepted from a lower one.
    term: Term,
    /// The term of the present link.
    linked: watch::Sender<Option<Term>>,
}

/// How a phase of the link ended.
enum Phase<T> {
    Done(T),
    /// The worker leaves.
    Leave,
}

impl<D: Dial> Link<D> {
    /// `linked` is kept to the term of the link, none while there is none.
    pub fn new(
        dial: D,
        leader: watch::Receiver<Option<Leader>>,
        crew: Crew,
        linked: watch::Sender<Option<Term>>,
    ) -> Self {
        Self { dial, leader, crew, term: Term::default(), linked }
    }

    /// Runs until the worker has stopped gracefully.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(FIRST_BACKOFF, MAX_BACKOFF);
        let mut complaint = String::new();
        while let Phase::Done(leader) = self.find().await {
            let start = Instant::now();
            let Err(error) = self.hold(&leader).await else { break };
            let welcomed = self.linked.send_replace(None).is_some();
            if welcomed {
                complaint.clear();
            }
            // The same complaint twice a second says nothing new.
            let reason = error.to_string();
            if matches!(error, LinkError::Goodbye) {
                tracing::info!(leader = leader.address, term = %leader.term, "{reason}");
            } else if reason == complaint {
                tracing::debug!(leader = leader.address, "no link: {reason}");
            } else {
                tracing::warn!(leader = leader.address, term = %leader.term, "no link: {reason}");
                complaint = reason;
            }
            if welcomed && start.elapsed() >= HEARTBEAT {
                backoff.reset();
            }
            if let Phase::Leave = self.pause(backoff.next_wait(&leader), &leader).await {
                break;
            }
        }
        self.linked.send_replace(None);
    }

    /// Waits until the store names a leader that can be accepted.
    async fn find(&mut self) -> Phase<Leader> {
        let lowest = self.term;
        if let Some(stale) = self.leader.borrow().as_ref().filter(|leader| leader.term < lowest) {
            let term = stale.term.0;
            tracing::warn!(
                leader = stale.address,
                term,
                "a leader of a lower term than {lowest}: waiting for a later one"
            );
        }
        let found = named(self.leader.clone(), move |leader| leader.term >= lowest);
        meanwhile(&mut self.crew, found).await
    }

    /// Waits before the next attempt, less if another leader appears.
    async fn pause(&mut self, delay: Duration, failed: &Leader) -> Phase<()> {
        // That time has passed is nothing to be told.
        let over = timeout(delay, self.another(failed)).map(drop);
        meanwhile(&mut self.crew, over).await
    }

    /// Waits until the store names another leader than this one that can be accepted; none is not another.
    fn another(&self, than: &Leader) -> impl Future<Output = Leader> + use<D> {
        let (than, lowest) = (than.clone(), self.term);
        named(self.leader.clone(), move |leader| *leader != than && leader.term >= lowest)
    }

    /// Holds a link to this leader for as long as it lasts. Ok: the worker has left.
    async fn hold(&mut self, leader: &Leader) -> Result<(), LinkError> {
        // A leader that hangs still accepts: what tells is that another one leads.
        let mut another = pin!(self.another(leader));
        let dialling = timeout(LINK_IDLE_LIMIT, self.dial.dial(&leader.address));
        let answer = tokio::select! {
            answer = meanwhile(&mut self.crew, dialling) => answer,
            other = &mut another => return Err(LinkError::Succeeded(other.term)),
        };
        let (outgoing, incoming) = match answer {
            Phase::Done(Ok(dialled)) => dialled?,
            Phase::Done(Err(_)) => return Err(LinkError::NoWelcome),
            Phase::Leave => return Ok(()),
        };
        let (mut speaker, mut listener) = (Speaker::new(outgoing), Listener::new(incoming));
        speaker.say(WorkerToLeader::Hello(Box::new(self.crew.introduce(self.term))));
        let greeted = tokio::select! {
            greeted = timeout(LINK_IDLE_LIMIT, self.greet(&mut speaker, &mut listener)) => greeted,
            other = &mut another => return Err(LinkError::Succeeded(other.term)),
        };
        match greeted {
            Ok(Phase::Done(welcomed)) => {
                self.accept(welcomed?, leader)?;
                self.converse(&mut speaker, &mut listener).await?;
            }
            Ok(Phase::Leave) => {}
            Err(_) => return Err(LinkError::NoWelcome),
        }
        self.farewell(speaker, listener).await;
        Ok(())
    }

    /// Says hello and waits for the welcome.
    async fn greet(&mut self, speaker: &mut Speaker, listener: &mut Listener) -> Phase<Result<Term, LinkError>> {
        loop {
            let heard = tokio::select! {
                spoken = speaker.pump() => match spoken {
                    Ok(()) => continue,
                    // Why the leader hung up is in the stream, if anywhere.
                    Err(error) => listener.hear().await.and(Err(error)),
                },
                heard = listener.hear() => heard,
                step = self.crew.step() => match step {
                    Step::Went => continue,
                    Step::Leave => return Phase::Leave,
                },
            };
            return Phase::Done(match heard {
                Ok(LeaderToWorker::Welcome(term)) => Ok(term),
                Ok(LeaderToWorker::Heartbeat) => continue,
                Ok(LeaderToWorker::Goodbye) => Err(LinkError::Goodbye),
                Ok(LeaderToWorker::Order(_)) => Err(LinkError::OutOfTurn),
                Err(error) => Err(error),
            });
        }
    }

    fn accept(&mut self, welcomed: Term, leader: &Leader) -> Result<(), LinkError> {
        if welcomed < self.term {
            return Err(LinkError::LowerTerm { welcomed, highest: self.term });
        }
        self.term = welcomed;
        self.linked.send_replace(Some(welcomed));
        tracing::info!(leader = leader.address, term = %welcomed, "linked");
        Ok(())
    }

    /// Orders in, reports out. Ok: the worker leaves.
    async fn converse(&mut self, speaker: &mut Speaker, listener: &mut Listener) -> Result<(), LinkError> {
        let term = self.term;
        let mut succeeded = pin!(named(self.leader.clone(), move |leader| leader.term > term));
        loop {
            self.crew.gather();
            let mut spoken = self.speak(speaker);
            if spoken.is_ok() {
                tokio::select! {
                    pumped = speaker.pump() => spoken = pumped,
                    heard = listener.hear() => {
                        self.take(heard?)?;
                        self.take_more(listener)?;
                        self.crew.launch();
                        // What ends at once needs no word of its start: let it end before anything is said of it.
                        tokio::task::yield_now().await;
                    }
                    step = self.crew.step() => if step == Step::Leave { return Ok(()) },
                    later = &mut succeeded => return Err(LinkError::Succeeded(later.term)),
                }
            }
            if let Err(error) = spoken {
                // The leader's own reason, if it gave one, says more than a closed pipe.
                return timeout(GOODBYE_LIMIT, self.last_words(listener)).await.unwrap_or(Err(error));
            }
        }
    }

    /// Says what there is to say, as far as it can go at once.
    fn speak(&mut self, speaker: &mut Speaker) -> Result<(), LinkError> {
        loop {
            if speaker.is_free() {
                let Some(message) = self.crew.next_message() else { break };
                speaker.say(message);
            }
            match speaker.feed().now_or_never() {
                Some(spoken) => spoken?,
                None => break,
            }
        }
        speaker.pump().now_or_never().unwrap_or(Ok(()))
    }

    /// Takes what has come along with a message, so that a batch of them is one turn of the loop.
    fn take_more(&mut self, listener: &mut Listener) -> Result<(), LinkError> {
        for _ in 1..MESSAGES_A_TURN {
            let Some(heard) = listener.hear_more() else { break };
            self.take(heard?)?;
        }
        Ok(())
    }

    fn take(&mut self, message: LeaderToWorker) -> Result<(), LinkError> {
        match message {
            LeaderToWorker::Order(order) => Ok(self.crew.obey(order)?),
            LeaderToWorker::Heartbeat => Ok(()),
            LeaderToWorker::Goodbye => Err(LinkError::Goodbye),
            LeaderToWorker::Welcome(_) => Err(LinkError::OutOfTurn),
        }
    }

    /// Acknowledgements that were on their way when the leader hung up still count.
    async fn last_words(&mut self, listener: &mut Listener) -> Result<(), LinkError> {
        loop {
            let message = listener.hear().await?;
            self.take(message)?;
        }
    }

    /// Says what is left to say and goodbye, and waits a little for the leader to end the link; what it still orders is
    /// not obeyed. A goodbye says that nothing is held: whoever leaves with reports just ends the link.
    async fn farewell(&mut self, speaker: Speaker, mut listener: Listener) {
        if !self.crew.holds_nothing() {
            return;
        }
        let left = iter::from_fn(|| self.crew.next_message());
        let last: Vec<_> = left.chain([WorkerToLeader::Goodbye]).collect();
        let said = async {
            speaker.finish(last).await?;
            while listener.hear().await.is_ok() {}
            Ok::<_, LinkError>(())
        };
        let _ = timeout(GOODBYE_LIMIT, said).await;
    }
}

/// Waits until the store names a leader such as this.
async fn named(mut leaders: watch::Receiver<Option<Leader>>, such: impl Fn(&Leader) -> bool) -> Leader {
    match leaders.wait_for(|leader| leader.as_ref().is_some_and(&such)).await.map(|leader| leader.clone()) {
        Ok(Some(leader)) => leader,
        // The store is gone: there is nobody to be found any more.
        Ok(None) | Err(_) => std::future::pending().await,
    }
}

/// Lets the work go on while something else is waited for.
async fn meanwhile<T>(crew: &mut Crew, what: impl Future<Output = T>) -> Phase<T> {
    let mut what = pin!(what);
    loop {
        tokio::select! {
            done = &mut what => return Phase::Done(done),
            step = crew.step() => if step == Step::Leave { return Phase::Leave },
        }
    }
}

#[cfg(test)]
mod tests;
