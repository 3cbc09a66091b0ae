//! The queues: what waits in each, how much of it there is, what holds for it, and whose turn it is.
//!
//! Invariants: a task is in a lane if and only if it is pending and its time has come; no lane is empty; the counts are those of the
//! table's tasks; a queue without tasks and without settings of its own is not there. A queue that is closed (paused, or at a
//! limit) is passed over as a whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use super::{
    bucket::Bucket,
    lanes::{self, Head, Lanes, Next, is_suspect},
    selectors::SelectorId,
    share::{Share, VirtualTime},
};
use crate::domain::{
    Kind, Monotonic, QueueName, QueueSettings, QueueState, QueueUpdate, Revision, Task, TaskId, TaskSpec, TaskState,
};

/// Tasks by state, in the order of [`TaskState::ALL`].
pub(super) type Counts = [u64; TaskState::ALL.len()];

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Queue {
    settings: QueueSettings,
    counts: Counts,
    lanes: BTreeMap<Kind, Lanes>,
    share: Share,
    /// There is one while starts are limited.
    bucket: Option<Bucket>,
}

/// Why no task of a queue may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    Paused,
    /// As many run as may.
    Running,
    /// No token until then.
    Starts(Monotonic),
}

impl Queue {
    pub fn settings(&self) -> &QueueSettings {
        &self.settings
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    pub fn count(&self, state: TaskState) -> u64 {
        self.counts[state as usize]
    }

    /// None: its tasks may start.
    pub fn closed(&self, now: Monotonic) -> Option<Closed> {
        self.closings(now).next()
    }

    /// All that keeps its tasks from starting.
    pub fn closings(&self, now: Monotonic) -> impl Iterator<Item = Closed> {
        let paused = self.settings.paused.then_some(Closed::Paused);
        let running = self.is_at_max_running().then_some(Closed::Running);
        // Asked for last, as only the last is an effort.
        let starts = std::iter::once_with(move || self.next_token(now).map(Closed::Starts)).flatten();
        paused.into_iter().chain(running).chain(starts)
    }

    pub fn state(&self, now: Monotonic) -> QueueState {
        match self.closed(now) {
            None => QueueState::Open,
            Some(Closed::Paused) => QueueState::Paused,
            Some(Closed::Running) => QueueState::AtMaxRunning,
            Some(Closed::Starts(_)) => QueueState::AtMaxStarts,
        }
    }

    /// The ready task that has waited longest; looks at one for each lane.
    pub fn oldest(&self) -> Option<&TaskId> {
        let lanes = self.lanes.values().flat_map(Lanes::iter);
        lanes.filter_map(|(_, lane)| lane.oldest()).min_by_key(|(submitted, _)| *submitted).map(|(_, id)| id)
    }

    /// How many lanes there are to look at.
    pub fn lanes(&self) -> usize {
        self.lanes.values().map(Lanes::len).sum()
    }

    fn is_at_max_running(&self) -> bool {
        let active = || self.counts[TaskState::Assigned as usize] + self.counts[TaskState::Running as usize];
        self.settings.max_running.is_some_and(|most| active() >= u64::from(most))
    }

    fn next_token(&self, now: Monotonic) -> Option<Monotonic> {
        self.bucket.as_ref().zip(self.settings.max_starts).and_then(|(bucket, rate)| bucket.next(rate, now))
    }

    fn is_default(&self) -> bool {
        self.settings == QueueSettings::default()
    }

    fn is_gone(&self) -> bool {
        self.counts.iter().all(|count| *count == 0) && self.is_default()
    }
}

/// Where tasks wait together.
pub(super) type LaneId = (QueueName, Kind, Option<SelectorId>);

/// What a worker takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Takes<'a> {
    pub kinds: &'a BTreeSet<Kind>,
    pub queues: &'a BTreeSet<QueueName>,
    /// Those that match it.
    pub selectors: &'a BTreeSet<SelectorId>,
    /// Whether also tasks that one more death would end.
    pub suspects: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Queues {
    all: BTreeMap<QueueName, Queue>,
    /// Those of them with settings of their own.
    configured: BTreeSet<QueueName>,
    time: VirtualTime,
    /// When a queue that has used up its tokens has one again.
    wakes: BTreeSet<(Monotonic, QueueName)>,
    /// Lanes in which somebody may be able to take a task since the last placement.
    stirred: BTreeSet<LaneId>,
}

impl Queues {
    pub fn get(&self, name: &QueueName) -> Option<&Queue> {
        self.all.get(name)
    }

    /// Every queue, in the order of names, after one of them.
    pub fn after(&self, name: Option<&QueueName>) -> impl Iterator<Item = (&QueueName, &Queue)> {
        let start = name.map_or(Bound::Unbounded, Bound::Excluded);
        self.all.range::<QueueName, _>((start, Bound::Unbounded))
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Those with settings of their own.
    pub fn configured(&self) -> impl Iterator<Item = (&QueueName, &Queue)> {
        self.configured.iter().filter_map(|name| self.all.get_key_value(name))
    }

    /// Whether a submit to the queue is one too many.
    pub fn is_full(&self, spec: &TaskSpec) -> bool {
        self.all.get(spec.queue_name()).is_some_and(|queue| {
            let pending = queue.counts[TaskState::Pending as usize];
            queue.settings.max_pending.is_some_and(|most| pending >= u64::from(most))
        })
    }

    // ---- what waits ----

    /// A task waits that nobody can take yet.
    pub fn restore(&mut self, task: &Task, submitted: Revision, selector: Option<SelectorId>) {
        let queue = self.named(task.spec.queue_name());
        queue.lanes.entry(task.spec.kind.clone()).or_default().push(task, submitted, selector);
    }

    /// A task waits that somebody may be able to take at once; nobody is if others wait before it in its lane.
    pub fn push(&mut self, task: &Task, submitted: Revision, selector: Option<SelectorId>) {
        let lanes = self.all.get(task.spec.queue_name()).and_then(|queue| queue.lanes.get(&task.spec.kind));
        let lane = lanes.and_then(|lanes| lanes.lane(selector));
        let others = lane.is_some_and(|lane| if is_suspect(task) { !lane.is_empty() } else { lane.has_plain() });
        self.restore(task, submitted, selector);
        if !others {
            self.stirred.insert((task.spec.queue_name().clone(), task.spec.kind.clone(), selector));
        }
    }

    pub fn remove(&mut self, task: &Task, submitted: Revision, selector: Option<SelectorId>) {
        let Some(queue) = self.all.get_mut(task.spec.queue_name()) else { return };
        let Some(lanes) = queue.lanes.get_mut(&task.spec.kind) else { return };
        lanes.remove(task, submitted, selector);
        if lanes.is_empty() {
            queue.lanes.remove(&task.spec.kind);
        }
    }

    #[cfg(test)]
    pub fn has(&self, task: &Task, submitted: Revision, selector: Option<SelectorId>) -> bool {
        let lanes = self.all.get(task.spec.queue_name()).and_then(|queue| queue.lanes.get(&task.spec.kind));
        let lane = lanes.and_then(|lanes| lanes.lane(selector));
        lane.is_some_and(|lane| lane.has(task, submitted))
    }

    /// There is a new task.
    pub fn add(&mut self, spec: &TaskSpec, state: TaskState) {
        self.named(spec.queue_name()).counts[state as usize] += 1;
    }

    /// A task is in another state.
    pub fn shift(&mut self, spec: &TaskSpec, before: TaskState, after: TaskState) {
        let Some(queue) = self.all.get_mut(spec.queue_name()) else { return };
        let was_closed = queue.is_at_max_running();
        queue.counts[before as usize] -= 1;
        queue.counts[after as usize] += 1;
        if was_closed && !queue.is_at_max_running() {
            self.stir(spec.queue_name());
        }
    }

    /// A task that has ended is gone.
    pub fn subtract(&mut self, spec: &TaskSpec, state: TaskState) {
        let Some(queue) = self.all.get_mut(spec.queue_name()) else { return };
        queue.counts[state as usize] -= 1;
        if queue.is_gone() {
            self.all.remove(spec.queue_name());
        }
    }

    // ---- whose turn it is ----

    /// The lanes that may have something to give that they had not at the last call.
    pub fn take_stirred(&mut self) -> BTreeSet<LaneId> {
        std::mem::take(&mut self.stirred)
    }

    /// Whether a lane has a task that may start now; and if so, whether only where no suspect runs.
    pub fn offers(&self, now: Monotonic, (name, kind, selector): &LaneId) -> Option<bool> {
        let queue = self.all.get(name)?;
        let lane = queue.lanes.get(kind)?.lane(*selector).filter(|lane| !lane.is_empty())?;
        queue.closed(now).is_none().then_some(!lane.has_plain())
    }

    /// Whether it is the queue, and not its workers alone, that bounds what starts.
    pub fn is_limited(&self, name: &QueueName) -> bool {
        let limited = |settings: &QueueSettings| settings.max_running.is_some() || settings.max_starts.is_some();
        self.all.get(name).is_some_and(|queue| limited(&queue.settings))
    }

    /// Who is first in a lane, and the oldest there with how often it was passed over.
    pub fn head(&self, (name, kind, selector): &LaneId) -> Option<Head> {
        self.all.get(name)?.lanes.get(kind)?.lane(*selector)?.head()
    }

    /// A start of the queue has passed over the oldest of a lane, at a worker that could not have taken it.
    pub fn pass_over(&mut self, (name, kind, selector): &LaneId) {
        let lanes = self.all.get_mut(name).and_then(|queue| queue.lanes.get_mut(kind));
        if let Some(lane) = lanes.and_then(|lanes| lanes.lane_mut(*selector)) {
            lane.pass_over();
        }
    }

    /// Starts the task whose turn it is at a worker that takes these.
    pub fn start_next(&mut self, now: Monotonic, takes: Takes<'_>) -> Option<TaskId> {
        let (name, next) = self.next_for(now, takes)?;
        let queue = self.all.get_mut(name)?;
        queue.share.start(&mut self.time, queue.settings.weight);
        let task_id = lanes::take(&mut queue.lanes, &next);
        if let (Some(bucket), Some(rate)) = (&mut queue.bucket, queue.settings.max_starts) {
            bucket.take(rate, now);
            self.wakes.extend(bucket.next(rate, now).map(|at| (at, name.clone())));
        }
        task_id
    }

    /// Of the queues that are open and have something for the worker the one whose share is due.
    pub fn next_for<'a>(&self, now: Monotonic, takes: Takes<'a>) -> Option<(&'a QueueName, Next)> {
        let due = |name: &'a QueueName| {
            let queue = self.all.get(name).filter(|queue| !queue.lanes.is_empty() && queue.closed(now).is_none())?;
            let lanes = takes.kinds.iter().filter_map(|kind| queue.lanes.get_key_value(kind));
            let next = lanes::next(lanes, takes.selectors, takes.suspects)?;
            Some((queue.share.begin(self.time), name, next))
        };
        let first = takes.queues.iter().filter_map(due).min_by(|a, b| (a.0, a.2.turn).cmp(&(b.0, b.2.turn)));
        first.map(|(_, name, next)| (name, next))
    }

    /// When the next queue has a token again.
    pub fn next_wake(&self) -> Option<Monotonic> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// Time has passed: queues have tokens again.
    pub fn wake(&mut self, now: Monotonic) {
        while self.wakes.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, name)) = self.wakes.pop_first() {
                self.stir(&name);
            }
        }
    }

    // ---- what holds for it ----

    pub fn settings(&self, name: &QueueName) -> QueueSettings {
        self.all.get(name).map(|queue| queue.settings.clone()).unwrap_or_default()
    }

    /// What an update makes of a queue's settings. None: that would be one queue with settings too many.
    pub fn updated(&self, name: &QueueName, update: &QueueUpdate) -> Option<QueueSettings> {
        let before = self.settings(name);
        let settings = before.with(update);
        let is_new = before == QueueSettings::default() && settings != before;
        (!is_new || self.configured.len() < QueueSettings::MAX_CONFIGURED).then_some(settings)
    }

    pub fn set(&mut self, now: Monotonic, name: &QueueName, settings: QueueSettings) {
        let queue = self.named(name);
        queue.bucket = settings.max_starts.map(|rate| match (&queue.bucket, queue.settings.max_starts) {
            (Some(bucket), Some(before)) => bucket.at_rate(before, rate, now),
            _ => Bucket::full(rate, now),
        });
        queue.settings = settings;
        let (token, is_default, is_gone) = (queue.next_token(now), queue.is_default(), queue.is_gone());
        if is_default {
            self.configured.remove(name);
        } else {
            self.configured.insert(name.clone());
        }
        self.wakes.retain(|(_, waking)| waking != name);
        self.wakes.extend(token.map(|at| (at, name.clone())));
        if is_gone {
            self.all.remove(name);
        } else {
            self.stir(name);
        }
    }

    /// Somebody may be able to take a task of it.
    fn stir(&mut self, name: &QueueName) {
        if let Some(queue) = self.all.get(name) {
            let lanes = queue.lanes.iter().flat_map(|(kind, lanes)| lanes.iter().map(move |(id, _)| (kind, id)));
            self.stirred.extend(lanes.map(|(kind, selector)| (name.clone(), kind.clone(), selector)));
        }
    }

    fn named(&mut self, name: &QueueName) -> &mut Queue {
        self.all.entry(name.clone()).or_default()
    }
}
