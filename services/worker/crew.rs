//! The one owner of what this worker does: starts and stops attempts as it is told, remembers what is to be reported,
//! and leads a graceful stop to its end. It does not know whether there is a link; whoever holds one hands orders in and
//! takes messages out.

use std::{collections::VecDeque, future::pending, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    desk::{Desk, Question},
    executor::{Assignment, Ended, Executor},
    handler::Handlers,
    metrics::Metrics,
    slots::{Admission, Slots},
};
use crate::{
    domain::{AttemptId, Order, Progress, Report, Term, WorkerHello, WorkerOffer},
    runtime::wall_clock::WallClock,
    wire::WorkerToLeader,
};

/// Longest wait for handlers that were told to stop: the grace of an exec handler is 30 s at most.
pub(super) const STOP_LIMIT: Duration = Duration::from_secs(35);
/// Longest wait for acknowledgements beyond the drain time: a leader that is there answers within a commit, and what is
/// lost by leaving costs a second run, not a result.
const ACKNOWLEDGE_LIMIT: Duration = Duration::from_secs(2);
/// Most answers about attempts that are not held; a leader that asks faster than it listens is not one.
const MAX_ASIDES: usize = 2 * WorkerOffer::MAX_SLOTS as usize;

/// Between two looks at what the handlers say of their attempts: a bar that moves twice a second moves, and a worker with
/// a thousand slots says two thousand things a second at most.
pub const PROGRESS_PACE: Duration = Duration::from_millis(500);

/// What came of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There may be something to say.
    Went,
    /// The graceful stop is complete.
    Leave,
}

/// The leader sends orders that no leader sends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the leader asks about more attempts than there can be")]
pub struct Overrun;

/// How far a graceful stop is.
#[derive(Debug, Clone, Copy)]
enum Stopping {
    /// Attempts may end by themselves.
    Draining {
        until: Instant,
    },
    /// They were told to stop.
    GivingBack {
        until: Instant,
        drained: Instant,
    },
    /// None runs; reports wait for their acknowledgement.
    Reporting {
        until: Instant,
    },
    Over,
}

/// A worker at work.
pub struct Crew {
    offer: WorkerOffer,
    beside: Option<Arc<str>>,
    handlers: Handlers,
    slots: Slots,
    executor: Executor,
    desk: Arc<Desk>,
    /// When the desk is looked at again, at the earliest.
    next_look: Instant,
    drain: Duration,
    shutdown: CancellationToken,
    clock: WallClock,
    stopping: Option<Stopping>,
    /// The leader of the present link does not know yet that this worker is stopping.
    draining_unsaid: bool,
    /// Answers about attempts that are not held. Not kept for another link: a hello says the same by their absence.
    asides: VecDeque<Report>,
    metrics: Metrics,
}

impl Crew {
    pub fn new(
        offer: WorkerOffer,
        handlers: Handlers,
        drain: Duration,
        shutdown: CancellationToken,
        metrics: Metrics,
        clock: WallClock,
    ) -> Self {
        let desk = Arc::new(Desk::new(metrics.invalid_progress.clone()));
        Self {
            slots: Slots::new(offer.slots),
            executor: Executor::new(offer.worker_id.clone(), desk.clone()),
            desk,
            next_look: Instant::now(),
            offer,
            beside: None,
            handlers,
            drain,
            shutdown,
            clock,
            stopping: None,
            draining_unsaid: false,
            asides: VecDeque::new(),
            metrics,
        }
    }

    /// There is a master in this process, which others reach at this host:port.
    #[must_use]
    pub fn beside(mut self, master: Option<&str>) -> Self {
        self.beside = master.map(Into::into);
        self
    }

    /// The first word on a new link.
    pub fn introduce(&mut self, term: Term) -> WorkerHello {
        self.asides.clear();
        self.draining_unsaid = false;
        let (running, reports) = self.slots.introduce();
        let (offer, beside) = (self.offer.clone(), self.beside.clone());
        WorkerHello { offer, running, reports, draining: self.stopping.is_some(), term, beside }
    }

    /// What is to be said next on the present link.
    pub fn next_message(&mut self) -> Option<WorkerToLeader> {
        if std::mem::take(&mut self.draining_unsaid) {
            return Some(WorkerToLeader::Draining);
        }
        self.asides.pop_front().or_else(|| self.slots.next()).map(WorkerToLeader::Report)
    }

    /// No attempt runs, and every report was acknowledged.
    pub fn holds_nothing(&self) -> bool {
        self.slots.taken() == 0
    }

    /// Does what the leader says.
    ///
    /// # Errors
    /// The leader is not to be listened to any longer.
    pub fn obey(&mut self, order: Order) -> Result<(), Overrun> {
        match order {
            Order::Assign { attempt, spec, traceparent } => {
                return self.assign(Assignment { attempt, spec, traceparent });
            }
            Order::Cancel { attempt, reason } => {
                tracing::info!(%attempt, %reason, "cancelled");
                if !self.slots.cancel(&attempt) {
                    return self.aside(Report::Stopped { attempt });
                }
            }
            Order::Acknowledge { attempt } => {
                self.slots.acknowledge(&attempt);
                self.count();
            }
        }
        Ok(())
    }

    fn assign(&mut self, assignment: Assignment) -> Result<(), Overrun> {
        if matches!(self.stopping, Some(Stopping::Over)) {
            // Leaving says that it never began.
            return Ok(());
        }
        let attempt = assignment.attempt.clone();
        match self.slots.admit(&attempt) {
            Admission::Held => return Ok(()),
            Admission::Full => {
                tracing::warn!(%attempt, "assigned while every slot is taken: given back");
                return self.aside(Report::GivenBack { attempt, started: false });
            }
            Admission::Free => {}
        }
        let handler = self.handlers.get(&assignment.spec.kind).filter(|_| self.stopping.is_none());
        if let Some(handler) = handler {
            let cancel = self.executor.start(handler, assignment);
            self.slots.start(&attempt, self.clock.read(), cancel);
            self.metrics.started();
        } else {
            self.metrics.given_back(1);
            self.slots.give_back(&attempt);
        }
        self.count();
        Ok(())
    }

    fn aside(&mut self, report: Report) -> Result<(), Overrun> {
        if self.asides.len() >= MAX_ASIDES {
            return Err(Overrun);
        }
        self.asides.push_back(report);
        Ok(())
    }

    /// Waits until an attempt ends or the stop goes a step further. May be dropped and called again at any time.
    pub async fn step(&mut self) -> Step {
        if matches!(self.stopping, Some(Stopping::Over)) {
            return Step::Leave;
        }
        let deadline = self.deadline();
        tokio::select! {
            (attempt, ended) = self.executor.next_ended() => self.ended(&attempt, ended),
            () = self.shutdown.cancelled(), if self.stopping.is_none() => self.begin_stop(),
            () = at(deadline) => self.pass_deadline(),
            () = self.desk.called(self.next_look) => self.look(),
        }
        self.advance_stop();
        if matches!(self.stopping, Some(Stopping::Over)) { Step::Leave } else { Step::Went }
    }

    /// What handlers leave and readers ask.
    pub fn desk(&self) -> Arc<Desk> {
        self.desk.clone()
    }

    /// Answers who asks, and takes what the handlers say of their attempts, if it is time.
    fn look(&mut self) {
        for Question { task_id, attempt, fence, answer } in self.desk.take_questions() {
            let running = self.slots.running_attempt(&task_id, attempt, fence);
            // Who has gone meanwhile needs no answer.
            let _ = answer.send(running.map(|attempt| self.desk.logs.open(attempt)));
        }
        if Instant::now() < self.next_look {
            return;
        }
        let now = self.clock.read();
        self.next_look = Instant::now() + PROGRESS_PACE;
        for (attempt, said) in self.desk.take() {
            self.slots.progress(&attempt, said.map(|progress| Progress { update_time: now, ..progress }));
        }
    }

    /// Lets the attempts run that orders have started; else they do with the next look at what has ended.
    pub fn launch(&mut self) {
        self.executor.launch();
    }

    /// Takes note of the attempts that have ended, without waiting for any.
    pub fn gather(&mut self) {
        while let Some((attempt, ended)) = self.executor.try_next_ended() {
            self.ended(&attempt, ended);
        }
    }

    fn ended(&mut self, attempt: &AttemptId, ended: Ended) {
        self.desk.logs.end(attempt);
        if let Some(report) = self.slots.ended(attempt, ended) {
            self.metrics.ended(report, self.clock.read());
        }
        self.count();
    }

    fn begin_stop(&mut self) {
        tracing::info!(running = self.slots.running(), drain = ?self.drain, "draining");
        self.draining_unsaid = true;
        self.stopping = Some(Stopping::Draining { until: Instant::now() + self.drain });
    }

    fn deadline(&self) -> Option<Instant> {
        match self.stopping? {
            Stopping::Draining { until } | Stopping::GivingBack { until, .. } | Stopping::Reporting { until } => {
                Some(until)
            }
            Stopping::Over => None,
        }
    }

    fn pass_deadline(&mut self) {
        match self.stopping {
            Some(Stopping::Draining { until }) => {
                tracing::info!(running = self.slots.running(), "the drain time is over: giving back what runs");
                self.slots.stop_all();
                let drained = until;
                self.stopping = Some(Stopping::GivingBack { until: Instant::now() + STOP_LIMIT, drained });
            }
            Some(Stopping::GivingBack { .. }) => {
                self.executor.abort_all();
                let abandoned = self.slots.abandon();
                self.metrics.given_back(abandoned.len());
                for attempt in abandoned {
                    self.desk.logs.end(&attempt);
                    tracing::error!(%attempt, "its handler did not stop within {STOP_LIMIT:?}: left behind");
                }
            }
            Some(Stopping::Reporting { .. }) => {
                let lost = self.slots.taken();
                tracing::warn!(reports = lost, "leaving with reports that nobody acknowledged: their tasks run again");
                self.stopping = Some(Stopping::Over);
            }
            Some(Stopping::Over) | None => {}
        }
    }

    /// A stop does not wait for what is already over.
    fn advance_stop(&mut self) {
        let Some(stopping) = self.stopping else { return };
        if self.slots.taken() == 0 {
            self.stopping = Some(Stopping::Over);
        } else if self.slots.running() == 0
            && let Stopping::Draining { until: drained } | Stopping::GivingBack { drained, .. } = stopping
        {
            let until = drained.max(Instant::now() + ACKNOWLEDGE_LIMIT);
            self.stopping = Some(Stopping::Reporting { until });
        }
    }

    /// The slot that an acknowledgement freed may have been the last thing that a stop waited for.
    fn count(&mut self) {
        self.metrics.set_slots(self.slots.running(), self.slots.taken());
        self.advance_stop();
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
