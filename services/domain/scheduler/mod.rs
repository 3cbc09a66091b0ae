//! The scheduler: every rule of a task's life, as one pure machine.
//!
//! `step(now, event)` turns what happened into what must follow. It knows no clock, no chance, no await and no IO. The
//! caller's duties:
//!
//! * Effects are in order. A [`Effect::Change`] becomes durable before anything that follows it goes out: commit, then
//!   send, then answer.
//! * If a change may not have become durable, the scheduler is dropped and another is recovered from the store: memory
//!   is a cache.
//! * [`Scheduler::next_tick`] says when the next [`Event::Tick`] is due, [`Scheduler::next_expiry`] the next
//!   [`Event::Expire`].

mod attempts;
mod bucket;
mod calls;
mod drains;
mod ended;
mod explain;
mod fleet;
mod lanes;
mod limited;
mod patience;
mod placement;
mod pools;
mod queries;
mod queues;
mod recent;
mod recovery;
mod retention;
mod selectors;
mod share;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod timers;
mod workers;

use std::{sync::Arc, time::Duration};

use self::{
    calls::NewTask,
    fleet::Fleet,
    queues::Queues,
    recent::Recent,
    retention::Retention,
    table::{Entry, Table},
    timers::Timers,
};
pub use self::{queries::Totals, selectors::MAX_LIVE_SELECTORS};
use super::{
    Answer, Change, Incarnation, Member, Monotonic, Now, Order, QueueName, QueueUpdate, Report, Revision, Task,
    TaskEvent, TaskId, TaskSpec, TaskState, Term, Timeout, WorkerHello, WorkerId,
};

/// What the cluster's operator has set. The defaults are those of `herdsman master --help`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Most tasks, retained ones included.
    pub max_tasks: u64,
    /// Most bytes of tasks, retained ones included.
    pub max_bytes: u64,
    /// How long a worker without a link may come back before its attempts go elsewhere.
    pub reconnect_grace: Duration,
    /// The same, counted from the end of a takeover: one session timeout of the store.
    pub takeover_grace: Duration,
    /// How long a succeeded or cancelled task is kept, and how many of them at most.
    pub retain_finished: Duration,
    pub retain_finished_count: usize,
    /// The same for failed tasks.
    pub retain_failed: Duration,
    pub retain_failed_count: usize,
    /// host:port of the master whose own worker, the one in its process, is given tasks only while no other worker that
    /// takes them has room. None: no worker is spared.
    pub spare_beside: Option<Arc<str>>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_tasks: 1_000_000,
            max_bytes: 1 << 30,
            reconnect_grace: Duration::from_secs(2),
            takeover_grace: Duration::from_secs(4),
            retain_finished: Duration::from_mins(10),
            retain_finished_count: 100_000,
            retain_failed: Duration::from_hours(7 * 24),
            retain_failed_count: 10_000,
            spare_beside: None,
        }
    }
}

/// A task that three workers died of is not given to a fourth.
pub const MAX_WORKER_DEATHS: u32 = 3;

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// Answered.
    Submit {
        task_id: TaskId,
        spec: Arc<TaskSpec>,
        traceparent: Option<Arc<str>>,
        /// Not accepted after it.
        deadline: Monotonic,
    },
    /// Answered.
    Cancel {
        task_id: TaskId,
    },
    /// Answered.
    Retry {
        of: TaskId,
        task_id: TaskId,
        traceparent: Option<Arc<str>>,
        /// Not accepted after it.
        deadline: Monotonic,
    },
    /// Answered.
    Delete {
        task_id: TaskId,
    },
    /// Answered.
    UpdateQueue {
        queue: QueueName,
        update: QueueUpdate,
    },
    /// Answered. Whether a worker gets anything new.
    SetDrained {
        worker: WorkerId,
        drained: bool,
    },
    /// A worker has opened a link. Answered by [`Effect::Welcome`] or [`Effect::Refuse`].
    Hello(Box<WorkerHello>),
    Report {
        worker: WorkerId,
        incarnation: Incarnation,
        report: Report,
    },
    /// The worker is stopping: nothing new for it.
    Draining {
        worker: WorkerId,
        incarnation: Incarnation,
    },
    /// The link ended without a goodbye.
    LinkLost {
        worker: WorkerId,
        incarnation: Incarnation,
    },
    /// The worker has left on purpose.
    Goodbye {
        worker: WorkerId,
        incarnation: Incarnation,
    },
    /// The members of the store, all of them.
    Members(Vec<Member>),
    /// Time has passed: whoever is overdue is lost, whoever is drained and has said nothing is empty, whoever rested may be
    /// given tasks again, tasks have waited or run for long enough, and queues that had started as many as may start some again. To be stepped only when everything is
    /// taken that workers had sent by the deadline.
    Tick,
    /// Retention may be over for some. Nobody waits for it: to be stepped when there is nothing better to do.
    Expire,
}

/// Something that must follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make it durable.
    Change(Change),
    /// Send it to the worker's link; lost with the link, and then sent again after its next hello.
    Order { worker: WorkerId, order: Order },
    /// Tell the watchers.
    Push(TaskEvent),
    /// Of the event that was just stepped.
    Answer(Answer),
    /// The hello was accepted.
    Welcome { worker: WorkerId },
    /// The hello was refused: another incarnation of this worker is linked.
    Refuse { worker: WorkerId },
    /// Another number of attempts is held by a drained worker, or it is not drained any more: who waits for that is told.
    Drain { worker: WorkerId },
    /// For the log and the metrics.
    Note(Note),
}

/// Something worth telling an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The attempts of a worker that is given up for lost go elsewhere.
    WorkerLost { worker: WorkerId, attempts: usize },
    /// A drained worker holds no attempt.
    Emptied { worker: WorkerId },
    /// A report was for an attempt that is not current.
    StaleReport { worker: WorkerId, report: &'static str, task_id: TaskId, attempt: u32 },
    /// An attempt failed, and the task is tried again after a wait.
    Retried { task_id: TaskId, attempt: u32, wait: Duration },
    /// An attempt, or its whole task, took too long.
    TimedOut { task_id: TaskId, attempt: u32, timeout: Timeout },
}

/// The leader's whole memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scheduler {
    limits: Limits,
    term: Term,
    revision: Revision,
    table: Table,
    queues: Queues,
    fleet: Fleet,
    retention: Retention,
    timers: Timers,
    recent: Recent,
}

impl Scheduler {
    fn new(limits: Limits, term: Term) -> Self {
        Self {
            limits,
            term,
            revision: Revision::start_of(term),
            table: Table::default(),
            queues: Queues::default(),
            fleet: Fleet::default(),
            retention: Retention::default(),
            timers: Timers::default(),
            recent: Recent::default(),
        }
    }

    /// Takes one event and appends what must follow to `effects`.
    pub fn step(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Submit { task_id, spec, traceparent, deadline } => {
                let new = NewTask { task_id, spec, retry_of: None, traceparent, deadline };
                let answer = self.submit(now, new, effects);
                effects.push(Effect::Answer(answer));
            }
            Event::Cancel { task_id } => {
                let answer = self.cancel(now, &task_id, effects);
                effects.push(Effect::Answer(answer));
            }
            Event::Retry { of, task_id, traceparent, deadline } => {
                let answer = self.retry(now, of, task_id, traceparent, deadline, effects);
                effects.push(Effect::Answer(answer));
            }
            Event::Delete { task_id } => {
                let answer = self.delete(&task_id, effects);
                effects.push(Effect::Answer(answer));
            }
            Event::UpdateQueue { queue, update } => {
                let answer = self.update_queue(now, &queue, &update, effects);
                effects.push(Effect::Answer(answer));
            }
            Event::SetDrained { worker, drained } => {
                let answer = self.set_drained(now, &worker, drained, effects);
                effects.push(Effect::Answer(answer));
            }
            Event::Hello(hello) => self.hello(now, *hello, effects),
            Event::Report { worker, incarnation, report } => {
                if self.fleet.is(&worker, incarnation) {
                    self.report(now, &worker, report, effects);
                }
            }
            Event::Draining { worker, incarnation } => {
                if self.fleet.is(&worker, incarnation) {
                    self.fleet.stop(&worker);
                }
            }
            Event::LinkLost { worker, incarnation } => self.link_lost(now, &worker, incarnation),
            Event::Goodbye { worker, incarnation } => self.goodbye(now, &worker, incarnation, effects),
            Event::Members(members) => self.fleet.set_members(members),
            Event::Tick => self.tick(now, effects),
            Event::Expire => self.expire(now, effects),
        }
        self.place(now, effects);
        self.tell_drains(effects);
    }

    /// When the next worker is lost, unless it says hello before, or has rested, or the next task has waited or run for long
    /// enough, or a queue may start a task again.
    pub fn next_tick(&self) -> Option<Monotonic> {
        [self.fleet.next_due(), self.timers.next(), self.queues.next_wake()].into_iter().flatten().min()
    }

    /// When the next finished task may go.
    pub fn next_expiry(&self) -> Option<Monotonic> {
        self.retention.next_expiry(&self.limits)
    }

    /// Counts the takeover grace from now: recovering takes its time, too.
    pub fn grant_grace(&mut self, now: Now) {
        self.fleet.grant_grace(now.monotonic.after(self.limits.takeover_grace));
    }

    fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        for worker in self.fleet.overdue(now.monotonic) {
            if self.fleet.get(&worker).is_some_and(|worker| worker.linked) {
                self.fleet.wake(&worker);
            } else {
                self.lose(now, &worker, effects);
            }
        }
        self.fleet.drains.wake(now.monotonic);
        self.ring(now, effects);
        self.queues.wake(now.monotonic);
    }

    fn expire(&mut self, now: Now, effects: &mut Vec<Effect>) {
        for task_id in self.retention.due(now.monotonic, &self.limits) {
            self.remove(&task_id);
            effects.push(Effect::Change(Change::Removed { task_id }));
        }
    }

    /// A new task, in the table and among those of its queue; whether it waits is said apart from that.
    fn insert(&mut self, entry: Entry) {
        self.queues.add(&entry.task.spec, entry.task.state);
        self.table.insert(entry);
    }

    /// As [`Table::update`]; the counts of its queue follow.
    fn update(&mut self, task_id: &TaskId, change: impl FnOnce(&mut Task)) -> Option<(&Entry, TaskState)> {
        let (entry, before) = self.table.update(task_id, change)?;
        self.queues.shift(&entry.task.spec, before, entry.task.state);
        if entry.task.state.is_terminal() && !before.is_terminal() {
            self.fleet.let_go_selector(&entry.task.spec);
        }
        Some((entry, before))
    }

    /// A task that has ended is gone, from the counts of its queue too.
    fn remove(&mut self, task_id: &TaskId) {
        if let Some(entry) = self.table.remove(task_id) {
            self.queues.subtract(&entry.task.spec, entry.task.state);
        }
    }

    fn next_revision(&mut self) -> Revision {
        self.revision = self.revision.next();
        self.revision
    }
}
