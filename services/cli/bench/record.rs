//! What became of every task of one measurement. A task's clock starts when it was meant to be submitted, whether or not
//! the submitter got round to it then: a stall counts for all that waited behind it.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use hdrhistogram::Histogram;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::{
    api::Seen,
    options::{NextAfter, WatchBy},
    report::{Latency, Totals},
};
use crate::{cli::exit::code_name, wire::proto::v1::TaskState};

/// Latencies above this are shown as this: more than any bench waits.
const MAX_MICROS: u64 = 3_600_000_000;

/// Digits of a latency that count: one part in a thousand.
const DIGITS: u8 = 3;

/// Of microseconds.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(MAX_MICROS, DIGITS).expect("the bounds are valid")
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(MAX_MICROS)
}

/// What is known of one task.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// When it was meant to be submitted.
    due: Instant,
    call: u32,
    accepted: bool,
    ended: bool,
}

/// One call that has not made way for the next.
#[derive(Debug)]
struct Open {
    answered: bool,
    tasks: usize,
    _room: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct State {
    next_after: NextAfter,
    /// Somebody tells of the ends.
    watched: bool,
    tasks: Vec<Known>,
    open_calls: HashMap<u32, Open>,
    /// Accepted, and not ended.
    open_tasks: usize,
    all_sent: bool,
    totals: Totals,
    accepting: Histogram<u64>,
    ending: Histogram<u64>,
    pushing: Histogram<u64>,
    last_accepted: Instant,
    last_ended: Instant,
    last_news: Instant,
}

#[derive(Debug)]
pub(super) struct Record {
    start: Instant,
    state: Mutex<State>,
    /// Notified when everything that was sent has ended.
    over: Notify,
}

/// What one measurement found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) totals: Totals,
    pub(super) accepted_per_s: f64,
    pub(super) accepting: Latency,
    /// None: nobody watched.
    pub(super) ends: Option<Ends>,
    /// From the first task that was due to the last end or, if nobody watched, the last answer.
    pub(super) took: Duration,
}

/// What was found of the ends of tasks.
#[derive(Debug, Clone)]
pub(super) struct Ends {
    pub(super) completed_per_s: f64,
    /// From when a task was due.
    pub(super) ending: Latency,
    /// From when the leader took note of the end, by its clock and this one.
    pub(super) pushing: Latency,
}

impl Record {
    /// The measurement begins at `start`.
    pub(super) fn new(start: Instant, next_after: NextAfter, watch: WatchBy) -> Self {
        let state = State {
            next_after,
            watched: watch != WatchBy::None,
            tasks: Vec::new(),
            open_calls: HashMap::new(),
            open_tasks: 0,
            all_sent: false,
            totals: Totals::default(),
            accepting: histogram(),
            ending: histogram(),
            pushing: histogram(),
            last_accepted: start,
            last_ended: start,
            last_news: start,
        };
        Self { start, state: Mutex::new(state), over: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call is about to be sent, with a task for each time at which one was due; gives their numbers. `room` is given
    /// back when the call makes way for the next.
    pub(super) fn sending(
        &self,
        due: impl ExactSizeIterator<Item = Instant>,
        room: Option<OwnedSemaphorePermit>,
    ) -> Range<usize> {
        let mut state = self.state();
        let call = state.tasks.last().map_or(0, |last| last.call + 1);
        let first = state.tasks.len();
        state.open_calls.insert(call, Open { answered: false, tasks: due.len(), _room: room });
        state.totals.submitted += due.len() as u64;
        state.tasks.extend(due.map(|due| Known { due, call, accepted: false, ended: false }));
        first..state.tasks.len()
    }

    /// Everything has been sent.
    pub(super) fn all_sent(&self) {
        let mut state = self.state();
        state.all_sent = true;
        self.tell_if_over(&state);
    }

    /// A call was answered: for each of its tasks that it was accepted, or the code of the refusal.
    pub(super) fn answered(&self, tasks: Range<usize>, outcomes: impl Iterator<Item = Result<(), tonic::Code>>) {
        let now = Instant::now();
        let mut state = self.state();
        let call = state.tasks[tasks.start].call;
        let mut gone = 0;
        for (task, outcome) in tasks.zip(outcomes) {
            match outcome {
                Ok(()) => gone += usize::from(state.accepted(task, now)),
                Err(code) => {
                    gone += 1;
                    *state.totals.refused.entry(code_name(code)).or_default() += 1;
                }
            }
        }
        state.last_news = now;
        state.make_way(call, gone, true);
        self.tell_if_over(&state);
    }

    /// Tasks were pushed in a terminal state.
    pub(super) fn ended<'a>(&self, tasks: impl Iterator<Item = (usize, &'a Seen)>) {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let mut state = self.state();
        tasks.for_each(|(number, task)| state.ended(number, task, now, wall));
        state.last_news = now;
        self.tell_if_over(&state);
    }

    fn tell_if_over(&self, state: &State) {
        if state.is_over() {
            self.over.notify_one();
        }
    }

    /// Resolves when everything was sent, and all that was accepted has ended.
    pub(super) async fn over(&self) {
        while !self.state().is_over() {
            self.over.notified().await;
        }
    }

    /// How long nothing has been heard; none while there is nothing to hear.
    pub(super) fn silence(&self) -> Option<Duration> {
        let state = self.state();
        let waits = state.open_tasks > 0 || !state.open_calls.is_empty();
        waits.then(|| state.last_news.elapsed())
    }

    /// Tasks that have ended, and those that are accepted and have not.
    pub(super) fn progress(&self) -> (u64, u64) {
        let state = self.state();
        (state.totals.ended(), state.open_tasks as u64)
    }

    pub(super) fn found(&self) -> Found {
        let state = self.state();
        let rate = |count: u64, until: Instant| per_second(count, until - self.start);
        let ends = || Ends {
            completed_per_s: rate(state.totals.succeeded, state.last_ended),
            ending: Latency::of(&state.ending),
            pushing: Latency::of(&state.pushing),
        };
        Found {
            totals: state.totals.clone(),
            accepted_per_s: rate(state.totals.accepted, state.last_accepted),
            accepting: Latency::of(&state.accepting),
            ends: state.watched.then(ends),
            took: if state.watched { state.last_ended } else { state.last_accepted } - self.start,
        }
    }
}

/// Zero if no time has passed.
#[allow(clippy::cast_precision_loss, reason = "counts below 2^52")]
pub(super) fn per_second(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}

impl State {
    fn is_over(&self) -> bool {
        self.all_sent && self.open_calls.is_empty() && self.open_tasks == 0
    }

    /// True: nothing more is waited for, its end was pushed before its call was answered.
    fn accepted(&mut self, task: usize, now: Instant) -> bool {
        let known = &mut self.tasks[task];
        known.accepted = true;
        self.totals.accepted += 1;
        self.last_accepted = now;
        self.accepting.saturating_record(micros(now - known.due));
        if known.ended || !self.watched {
            return true;
        }
        self.open_tasks += 1;
        false
    }

    fn ended(&mut self, number: usize, task: &Seen, now: Instant, wall: SystemTime) {
        // A watch that goes on may repeat itself.
        let Some(known) = self.tasks.get_mut(number).filter(|known| !known.ended) else { return };
        match task.state() {
            TaskState::Succeeded => self.totals.succeeded += 1,
            TaskState::Cancelled => self.totals.cancelled += 1,
            TaskState::Failed => self.totals.failed += 1,
            // It also tells what may have left the filter meanwhile, whatever its state.
            _ => return,
        }
        known.ended = true;
        self.last_ended = now;
        self.ending.saturating_record(micros(now - known.due));
        if let Some(end) = task.end_time.and_then(|end| SystemTime::try_from(end).ok()) {
            // Clocks that disagree make no time negative.
            self.pushing.saturating_record(micros(wall.duration_since(end).unwrap_or_default()));
        }
        if known.accepted {
            self.open_tasks -= 1;
            let call = known.call;
            self.make_way(call, 1, false);
        }
    }

    /// Some tasks of a call are done with; perhaps the call has been answered, too.
    fn make_way(&mut self, call: u32, gone: usize, answered: bool) {
        let Some(open) = self.open_calls.get_mut(&call) else { return };
        open.answered |= answered;
        open.tasks -= gone;
        if open.answered && (self.next_after == NextAfter::Ack || open.tasks == 0) {
            self.open_calls.remove(&call);
        }
    }
}

impl Totals {
    fn ended(&self) -> u64 {
        self.succeeded + self.failed + self.cancelled
    }

    /// What did not go as asked, for people; none if every task was accepted and, if it was watched, has succeeded.
    pub(super) fn complaint(&self, watch: WatchBy) -> Option<String> {
        let (well, what) = match watch {
            WatchBy::None => (self.accepted, "were accepted"),
            WatchBy::One | WatchBy::Each => (self.succeeded, "succeeded"),
        };
        if well == self.submitted {
            return None;
        }
        let refused = self.refused.iter().map(|(code, count)| (*code, *count));
        let ended = [("FAILED", self.failed), ("CANCELLED", self.cancelled)];
        let parts: BTreeMap<_, _> = refused.chain(ended).filter(|(_, count)| *count > 0).collect();
        let parts: Vec<_> = parts.iter().map(|(what, count)| format!("{count} {what}")).collect();
        Some(format!("of {} tasks {well} {what}: {}", self.submitted, parts.join(", ")))
    }
}

#[cfg(test)]
mod tests;
