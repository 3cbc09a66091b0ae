//! Why a task waits. Nothing here changes anything; that what it says is all there is to say, the invariants hold: after every
//! step a pending task has a reason, and a task that is not pending has none.

use std::time::Duration;

use super::{
    Scheduler,
    fleet::{Fleet, Worker},
    lanes::is_suspect,
    queues::Closed,
    selectors::SelectorId,
    timers::Timer,
};
use crate::domain::{
    Answer, Explanation, Monotonic, Now, PendingReason, Task, TaskId, TaskSpec, TaskState, UnavailableWorkers, Wall,
    WorkerOffer, WorkerState,
};

impl Scheduler {
    /// Why a pending task waits, everything that keeps it; and of another one where it is. Looks at each worker, twice at
    /// most, and at no other task.
    pub fn explain(&self, now: Now, task_id: &TaskId) -> Answer {
        match self.get(task_id) {
            Answer::Task(task) => {
                let reasons = if task.state == TaskState::Pending { self.reasons(now, &task) } else { Vec::new() };
                let worker = task.worker.as_ref().filter(|_| task.state.is_active());
                let worker = worker.and_then(|worker| self.fleet.view(worker));
                Answer::Explained(Box::new(Explanation { task, reasons, worker }))
            }
            refused => refused,
        }
    }

    fn reasons(&self, now: Now, task: &Task) -> Vec<PendingReason> {
        let takers = Takers::of(task, &self.fleet);
        let mut reasons = self.closings(now, task);
        if let Some(at) = self.timers.at(&task.id, Timer::Ready) {
            // What else is so of the moment may not be so of that one.
            reasons.retain(|reason| matches!(reason, PendingReason::QueuePaused { .. }));
            reasons.insert(0, waiting(task, wall(now, at)));
            reasons.extend(takers.nobody(task));
            return reasons;
        }
        let pending = self.queues.get(task.spec.queue_name()).map_or(0, |queue| queue.count(TaskState::Pending));
        reasons.extend(takers.nobody(task));
        reasons.extend(takers.not_now(task, pending));
        if reasons.is_empty() {
            reasons.push(PendingReason::AboutToStart);
        }
        reasons
    }

    /// Why no task of its queue starts.
    fn closings(&self, now: Now, task: &Task) -> Vec<PendingReason> {
        let name = task.spec.queue_name();
        let Some(queue) = self.queues.get(name) else { return Vec::new() };
        let reason = |closed| match closed {
            Closed::Paused => Some(PendingReason::QueuePaused { queue: name.clone() }),
            Closed::Running => Some(PendingReason::QueueAtMaxRunning {
                queue: name.clone(),
                max_running: queue.settings().max_running?,
                running: queue.count(TaskState::Assigned) + queue.count(TaskState::Running),
            }),
            Closed::Starts(at) => Some(PendingReason::QueueAtMaxStarts {
                queue: name.clone(),
                max_starts: queue.settings().max_starts?,
                next_start: wall(now, at),
            }),
        };
        queue.closings(now.monotonic).filter_map(reason).collect()
    }
}

/// The workers, by what keeps each from taking a task.
#[derive(Debug, Default)]
struct Takers {
    linked: u32,
    /// Of those, whoever serves its kind.
    of_kind: u32,
    /// Of those, whoever serves its queue.
    of_queue: u32,
    /// Of those, whom its selector matches.
    of_labels: u32,
    /// If there is none: of how many of its queue each requirement of its selector holds.
    of_requirement: Vec<u32>,
    unavailable: UnavailableWorkers,
    /// Those who get tasks and serve it, and have no slot free.
    full: u32,
    full_slots: u32,
    /// Those who have, and run another one that is to be kept apart.
    apart: u32,
}

impl Takers {
    fn of(task: &Task, fleet: &Fleet) -> Self {
        let selector = fleet.selectors().id(&task.spec);
        let mut takers = Self::default();
        for worker in fleet.workers() {
            takers.add(task, selector, worker);
        }
        if takers.of_labels == 0 && takers.of_queue > 0 {
            takers.of_requirement = of_requirement(&task.spec, fleet);
        }
        takers
    }

    fn add(&mut self, task: &Task, selector: Option<SelectorId>, worker: &Worker) {
        let Some(offer) = &worker.offer else {
            self.unavailable.disconnected += 1;
            return;
        };
        if !worker.linked {
            let serves = is_of_queue(offer, &task.spec) && worker.is_selected(selector);
            self.unavailable.disconnected += u32::from(serves);
            return;
        }
        self.linked += 1;
        self.of_kind += u32::from(offer.kinds.contains(&task.spec.kind));
        if !is_of_queue(offer, &task.spec) {
            return;
        }
        self.of_queue += 1;
        if !worker.is_selected(selector) {
            return;
        }
        self.of_labels += 1;
        match worker.state() {
            WorkerState::Disconnected => self.unavailable.disconnected += 1,
            WorkerState::Draining | WorkerState::Drained if worker.is_stopping() => self.unavailable.stopping += 1,
            WorkerState::Draining | WorkerState::Drained => self.unavailable.drained += 1,
            WorkerState::Unregistered => self.unavailable.unregistered += 1,
            WorkerState::Ready if worker.rests() => self.unavailable.resting += 1,
            WorkerState::Ready if worker.is_full() => {
                self.full += 1;
                self.full_slots += offer.slots;
            }
            WorkerState::Ready => self.apart += u32::from(is_suspect(task) && !worker.takes_suspects()),
        }
    }

    /// What keeps it until there are other workers.
    fn nobody(&self, task: &Task) -> Option<PendingReason> {
        if self.of_kind == 0 {
            Some(PendingReason::KindNotServed { kind: task.spec.kind.clone(), workers: self.linked })
        } else if self.of_queue == 0 {
            Some(PendingReason::QueueNotServed { queue: task.spec.queue(), workers: self.of_kind })
        } else if self.of_labels == 0 {
            let required = task.spec.selector.iter().flat_map(|selector| selector.requirements().iter().cloned());
            let requirements = required.zip(self.of_requirement.iter().copied()).collect();
            Some(PendingReason::SelectorNotMatched { workers: self.of_queue, requirements })
        } else {
            None
        }
    }

    /// What keeps it for now.
    fn not_now(&self, task: &Task, pending: u64) -> impl Iterator<Item = PendingReason> + use<> {
        let unavailable = Some(self.unavailable).filter(|unavailable| !unavailable.is_empty());
        let (workers, slots) = (self.full, self.full_slots);
        let busy = (workers > 0).then_some(PendingReason::SlotsBusy { workers, slots, pending });
        let (worker_deaths, workers) = (task.worker_deaths, self.apart);
        let apart = (workers > 0).then_some(PendingReason::KeptApart { worker_deaths, workers });
        unavailable.map(PendingReason::WorkersUnavailable).into_iter().chain(busy).chain(apart)
    }
}

/// Whether it serves the kind and the queue, whatever its labels are.
fn is_of_queue(offer: &WorkerOffer, spec: &TaskSpec) -> bool {
    offer.kinds.contains(&spec.kind) && offer.queues.contains(spec.queue_name())
}

/// Of how many of the linked workers of its queue each requirement of its selector holds. Apart from the rest, because it
/// compares labels: what is wanted of few tasks is not to cost all of them.
fn of_requirement(spec: &TaskSpec, fleet: &Fleet) -> Vec<u32> {
    let Some(selector) = &spec.selector else { return Vec::new() };
    let mut counts = vec![0; selector.requirements().len()];
    let offers = fleet.workers().filter(|worker| worker.linked).filter_map(|worker| worker.offer.as_ref());
    for offer in offers.filter(|offer| is_of_queue(offer, spec)) {
        for (count, requirement) in counts.iter_mut().zip(selector.requirements()) {
            *count += u32::from(requirement.holds(&offer.labels));
        }
    }
    counts
}

/// For which moment it waits.
fn waiting(task: &Task, at: Wall) -> PendingReason {
    match task.trials.as_ref().map_or(0, |trials| trials.retries) {
        0 => PendingReason::NotBefore { start: at },
        failed_attempts => PendingReason::BackingOff { retry: at, failed_attempts },
    }
}

fn wall(now: Now, at: Monotonic) -> Wall {
    let left = Duration::from_millis(at.0.saturating_sub(now.monotonic.0));
    now.wall.after(left)
}
