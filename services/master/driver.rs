//! The one loop that owns a leader's state: it takes inputs in turn, steps the scheduler, commits, and lets out what the
//! commits allow. Any doubt about a commit ends it.

use std::{collections::BTreeMap, time::Duration};

use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::{
    clock::Clock,
    drains::Drains,
    inbox::{Inbox, MAX_TURN},
    input::{Handle, LinkId},
    interest::Clients,
    metrics::Metrics,
    outbox::{Issued, Outbox},
    reign::{About, Ended, resign},
    watchdog::Pulse,
};
use crate::{
    domain::{
        Answer, Change, Monotonic, Order, Scheduler, TaskEvent, TaskState, WorkerId,
        scheduler::{Effect, Event},
    },
    store::{Leadership, Members},
    wire::{Detail, LeaderToClient, LeaderToWorker, LinkRefusal},
};

/// Longest time that the loop rests, so that its pulse can be seen; and how often the gauges are set.
const LONGEST_REST: Duration = Duration::from_millis(50);
/// How often the finished go while there is work all the time: seldom, so that many go together.
const EXPIRY_PACE: Duration = Duration::from_millis(100);
/// The same while they are more than go at once: a hundred thousand a second at most, which is more than end.
const FULL_EXPIRY_PACE: Duration = Duration::from_millis(10);
/// Tasks that wait while workers report: more than comes and goes by itself, so that more are submitted than end.
const BEHIND: u64 = 4_096;
/// While there is more to do than the workers take, so many calls go into a commit at least, and no more of them than tasks
/// ended with the one before: what is accepted beyond what ends only takes the time of what could end.
const CALLS_WHEN_BEHIND: usize = 32;
/// How long after a report the workers count as busy.
const BUSY: Duration = Duration::from_millis(50);
/// Longest wait for the commits in flight at a graceful stop; what is unanswered then is asked again at the next leader.
const LAST_COMMITS: Duration = Duration::from_secs(1);

/// Something that leaves the leader.
pub(super) enum Out {
    Welcome {
        link: Handle<LeaderToWorker>,
    },
    Refuse {
        link: Handle<LeaderToWorker>,
        refusal: LinkRefusal,
    },
    /// Lost if this link is no longer the worker's: its next hello has it sent again.
    Order {
        worker: WorkerId,
        link: LinkId,
        order: Order,
    },
    Push(TaskEvent),
    /// The span, if there is one, ends when it leaves.
    Reply {
        link: LinkId,
        call_id: u64,
        answer: Answer,
        detail: Detail,
        span: Option<Span>,
    },
}

/// Who asked for the event that is being stepped.
pub(super) enum Asker {
    Nobody,
    Worker(Handle<LeaderToWorker>),
    Client { link: LinkId, call_id: u64, detail: Detail, span: Option<Span> },
}

pub(super) struct Driver {
    pub(super) scheduler: Scheduler,
    pub(super) clock: Clock,
    pub(super) clients: Clients,
    pub(super) drains: Drains,
    pub(super) outbox: Outbox<Out, Issued>,
    pub(super) about: About,
    pub(super) metrics: Metrics,
    leadership: Box<dyn Leadership>,
    /// In an order that does not change from one run to the next: a leadership that ends tells them in it.
    workers: BTreeMap<WorkerId, Handle<LeaderToWorker>>,
    inbox: Inbox,
    effects: Vec<Effect>,
    /// When the gauges were last set.
    observed: Instant,
    /// When finished tasks last went.
    expired: Instant,
    /// What workers said before a tick was found to be due, and is not taken yet.
    before_tick: Option<usize>,
    /// When a worker last said something.
    reported: Instant,
    /// So many tasks ended since the last commit was issued.
    ended: usize,
    /// So many may still be taken before the next one is issued, if the leader is behind.
    calls: usize,
}

impl Driver {
    /// `effects` are those of the recovery.
    pub fn new(
        scheduler: Scheduler,
        effects: Vec<Effect>,
        clock: Clock,
        leadership: Box<dyn Leadership>,
        inbox: Inbox,
        about: About,
        metrics: Metrics,
    ) -> Self {
        let mut driver = Self {
            scheduler,
            clock,
            clients: Clients::default(),
            drains: Drains::default(),
            outbox: Outbox::new(),
            about,
            metrics,
            leadership,
            workers: BTreeMap::new(),
            inbox,
            effects,
            observed: Instant::now(),
            expired: Instant::now(),
            before_tick: None,
            reported: Instant::now(),
            ended: 0,
            calls: CALLS_WHEN_BEHIND,
        };
        driver.follow(&Asker::Nobody);
        driver
    }

    /// Drives until the leadership ends, by itself or because `shutdown` is cancelled.
    pub async fn run(mut self, pulse: Pulse, shutdown: &CancellationToken) -> Ended {
        let lost = self.leadership.lost();
        let mut members = self.leadership.members();
        members.mark_changed();
        let mut inputs = Vec::with_capacity(2 * MAX_TURN);
        loop {
            pulse.beat();
            self.keep_time();
            self.issue();
            let rest = self.rest();
            let calls = self.room_for_calls();
            tokio::select! {
                biased;
                () = lost.cancelled() => return Ended::Lost,
                () = shutdown.cancelled() => {
                    // What follows has limits of its own.
                    drop(pulse);
                    return self.stop().await;
                }
                committed = self.outbox.committed() => match committed {
                    Ok((outs, done)) => {
                        self.metrics.committed(done);
                        self.let_out(outs);
                    }
                    Err(doubt) => return Ended::Doubt(doubt),
                },
                Ok(()) = members.changed() => self.set_members(&mut members),
                reports = self.inbox.take(calls, &mut inputs), if self.outbox.has_room() => {
                    if reports > 0 {
                        self.reported = Instant::now();
                        self.before_tick = self.before_tick.map(|left| left.saturating_sub(reports));
                    }
                    self.calls = self.calls.saturating_sub(inputs.len() - reports);
                    for input in inputs.drain(..) {
                        self.take(input);
                    }
                }
                () = tokio::time::sleep_until(rest) => {}
            }
        }
    }

    /// Hands over: what is decided is committed and answered, then the next in line leads, then the links learn of it.
    async fn stop(mut self) -> Ended {
        self.issue();
        let deadline = Instant::now() + LAST_COMMITS;
        while !self.outbox.is_empty() {
            match tokio::time::timeout_at(deadline, self.outbox.committed()).await {
                Ok(Ok((outs, _))) => self.let_out(outs),
                Ok(Err(_)) | Err(_) => break,
            }
            self.issue();
        }
        resign(self.leadership).await;
        self.about.resigned.cancel();
        for link in self.workers.values() {
            link.send(LeaderToWorker::Goodbye);
        }
        self.clients.send_all(&LeaderToClient::Goodbye);
        Ended::Resigned
    }

    fn issue(&mut self) {
        let (leadership, mut issued) = (&mut self.leadership, false);
        let free = self.outbox.issue(|changes| {
            issued = true;
            Issued::now(leadership.commit(changes))
        });
        if issued {
            self.calls = std::mem::take(&mut self.ended).max(CALLS_WHEN_BEHIND);
        }
        self.let_out(free);
        self.metrics.in_flight(self.outbox.in_flight());
    }

    /// Until when nothing is due; a loop that is never at rest looks at the time on each turn.
    fn rest(&self) -> Instant {
        let longest = self.observed + LONGEST_REST;
        if !self.outbox.has_room() {
            return longest;
        }
        let tick = self.scheduler.next_tick();
        let due = |at: Monotonic| self.clock.instant(at);
        let expiry = self.scheduler.next_expiry().filter(|_| self.outbox.has_room_for_removals());
        let expiry = expiry.map(|at| due(at).max(self.expiry_turn()));
        [tick.map(due), expiry].into_iter().flatten().fold(longest, Instant::min)
    }

    /// How many calls may be taken.
    fn room_for_calls(&self) -> usize {
        let behind = self.is_behind();
        match (self.outbox.has_room_for_calls(behind), behind) {
            (false, _) => 0,
            (true, true) => self.calls,
            (true, false) => MAX_TURN,
        }
    }

    /// More is submitted than the workers take, who are busy.
    fn is_behind(&self) -> bool {
        self.scheduler.count(TaskState::Pending) >= BEHIND && self.reported.elapsed() < BUSY
    }

    /// When finished tasks may go: at once if hardly anything is on its way, else at their pace.
    fn expiry_turn(&self) -> Instant {
        // What was due then and is still there did not fit.
        let then = self.clock.monotonic(self.expired);
        let more = self.scheduler.next_expiry().is_some_and(|at| at <= then);
        let pace = if more { FULL_EXPIRY_PACE } else { EXPIRY_PACE };
        if self.outbox.is_idle() { self.expired } else { self.expired + pace }
    }

    fn keep_time(&mut self) {
        let now = Instant::now();
        let over = |at: Option<Monotonic>| at.is_some_and(|at| at <= self.clock.monotonic(now));
        let (tick, expiry) = (over(self.scheduler.next_tick()), over(self.scheduler.next_expiry()));
        if tick && self.outbox.has_room() {
            // A hello that waits in the queue came in time.
            if *self.before_tick.get_or_insert(self.inbox.reports()) == 0 {
                self.before_tick = None;
                self.step(Event::Tick, &Asker::Nobody);
            }
        }
        if expiry && now >= self.expiry_turn() && self.outbox.has_room_for_removals() {
            self.expired = now;
            self.step(Event::Expire, &Asker::Nobody);
        }
        if now >= self.observed + LONGEST_REST {
            self.observed = now;
            self.metrics.observe(&self.scheduler);
            for (worker, asker) in self.drains.take_overdue(now) {
                self.tell_drain(&worker, &asker);
            }
        }
    }

    fn set_members(&mut self, members: &mut watch::Receiver<Members>) {
        let members = members.borrow_and_update().values().cloned().collect();
        self.step(Event::Members(members), &Asker::Nobody);
    }

    pub(super) fn step(&mut self, event: Event, asker: &Asker) {
        self.scheduler.step(self.clock.now(), event, &mut self.effects);
        self.follow(asker);
    }

    /// Queues what follows from a step.
    fn follow(&mut self, asker: &Asker) {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Change(change) => {
                    self.ended += usize::from(matches!(change, Change::Finished { .. }));
                    self.metrics.change(&change);
                    self.outbox.change(change);
                }
                Effect::Order { worker, order } => {
                    if let Some(link) = self.workers.get(&worker) {
                        self.outbox.out(Out::Order { worker, link: link.id, order });
                    }
                }
                Effect::Push(event) => {
                    if self.clients.concerns(&event) {
                        self.outbox.out(Out::Push(event));
                    }
                }
                Effect::Answer(answer) => self.reply(asker, answer),
                Effect::Welcome { worker } => self.welcome(worker, asker),
                Effect::Refuse { worker } => {
                    if let Asker::Worker(link) = asker {
                        let refusal = LinkRefusal::IncarnationConflict(worker);
                        self.outbox.out(Out::Refuse { link: link.clone(), refusal });
                    }
                }
                Effect::Drain { worker } => {
                    for asker in self.drains.take(&worker) {
                        self.tell_drain(&worker, &asker);
                    }
                }
                Effect::Note(note) => self.metrics.note(&note),
            }
        }
        self.effects = effects;
    }

    /// Answers, refusals included: the answer is true if this leader still led after the question came.
    pub(super) fn reply(&mut self, asker: &Asker, answer: Answer) {
        if let Asker::Client { link, call_id, detail, span } = asker {
            let (link, call_id, detail, span) = (*link, *call_id, *detail, span.clone());
            self.outbox.answer(Out::Reply { link, call_id, answer, detail, span });
        }
    }

    /// Whether this is the worker's link. What a superseded one still brings is in the hello of the one after it.
    pub(super) fn is_linked(&self, worker: &WorkerId, link: LinkId) -> bool {
        self.workers.get(worker).is_some_and(|current| current.id == link)
    }

    pub(super) fn unlink(&mut self, worker: &WorkerId) {
        self.workers.remove(worker);
    }

    fn welcome(&mut self, worker: WorkerId, asker: &Asker) {
        let Asker::Worker(link) = asker else { return };
        if let Some(old) = self.workers.insert(worker, link.clone()) {
            old.cut();
        }
        self.outbox.answer(Out::Welcome { link: link.clone() });
    }

    fn let_out(&mut self, mut outs: Vec<Out>) {
        for out in outs.drain(..) {
            self.send(out);
        }
        self.outbox.reuse(outs);
    }

    fn send(&self, out: Out) {
        match out {
            Out::Welcome { link } => link.send(LeaderToWorker::Welcome(self.scheduler.term())),
            Out::Refuse { link, refusal } => link.refuse(refusal),
            Out::Order { worker, link, order } => {
                if let Some(current) = self.workers.get(&worker).filter(|current| current.id == link) {
                    current.send(LeaderToWorker::Order(order));
                }
            }
            Out::Push(event) => self.clients.push(&event),
            Out::Reply { link, call_id, answer, detail, span } => {
                self.clients.send(link, LeaderToClient::Reply { call_id, answer, detail });
                drop(span);
            }
        }
    }
}
