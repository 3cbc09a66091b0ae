//! What is due of tasks, by the moment when it is; plain tasks are not in here. Its invariant: both indexes hold the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{Monotonic, Task, TaskId, Timeout};

/// Most timers that one step takes: half a commit, as each may be a change.
const MAX_DUE: usize = 250;

/// What happens to a task when its moment has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    /// It has waited for long enough: these tasks are the waiting room, pending and in no lane.
    Ready,
    /// It has taken too long.
    Over(Timeout),
}

impl Timer {
    const ALL: [Self; 4] = [
        Self::Ready,
        Self::Over(Timeout::ScheduleToStart),
        Self::Over(Timeout::StartToClose),
        Self::Over(Timeout::ScheduleToClose),
    ];
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Timers {
    due: BTreeSet<(Monotonic, TaskId, Timer)>,
    set: BTreeMap<(TaskId, Timer), Monotonic>,
}

impl Timers {
    /// In place of any earlier one of the same task and kind.
    pub fn set(&mut self, task_id: &TaskId, timer: Timer, at: Monotonic) {
        self.clear(task_id, timer);
        self.set.insert((task_id.clone(), timer), at);
        self.due.insert((at, task_id.clone(), timer));
    }

    /// Whether there was one.
    pub fn clear(&mut self, task_id: &TaskId, timer: Timer) -> bool {
        let Some(at) = self.set.remove(&(task_id.clone(), timer)) else { return false };
        self.due.remove(&(at, task_id.clone(), timer));
        true
    }

    /// Takes a task out of the waiting room. False: it is not in there.
    pub fn end_wait(&mut self, task: &Task) -> bool {
        task.spec.policy.is_some() && self.clear(&task.id, Timer::Ready)
    }

    /// Nothing is due of a task any more.
    pub fn forget(&mut self, task: &Task) {
        if task.spec.policy.is_some() {
            for timer in Timer::ALL {
                self.clear(&task.id, timer);
            }
        }
    }

    pub fn at(&self, task_id: &TaskId, timer: Timer) -> Option<Monotonic> {
        if self.set.is_empty() { None } else { self.set.get(&(task_id.clone(), timer)).copied() }
    }

    pub fn next(&self) -> Option<Monotonic> {
        self.due.first().map(|(at, ..)| *at)
    }

    /// Takes what is due; some of it, if it is much.
    pub fn take_due(&mut self, now: Monotonic) -> Vec<(TaskId, Timer)> {
        let mut due = Vec::new();
        while due.len() < MAX_DUE && self.next().is_some_and(|next| next <= now) {
            let Some((_, task_id, timer)) = self.due.pop_first() else { break };
            self.set.remove(&(task_id.clone(), timer));
            due.push((task_id, timer));
        }
        due
    }

    #[cfg(test)]
    pub fn is_set(&self, task_id: &TaskId, timer: Timer) -> bool {
        self.set.contains_key(&(task_id.clone(), timer))
    }

    #[cfg(test)]
    pub fn tasks(&self) -> impl Iterator<Item = &TaskId> {
        self.set.keys().map(|(task_id, _)| task_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_that_wait_are_taken_off_the_front_a_few_at_a_time() {
        let mut timers = Timers::default();
        let id = |at: u64| format!("t{at}").parse::<TaskId>().unwrap();
        for at in 0..1_000 {
            timers.set(&id(at), Timer::Ready, Monotonic(at));
        }
        timers.set(&id(3), Timer::Ready, Monotonic(5_000));
        assert!(timers.clear(&id(4), Timer::Ready) && !timers.clear(&id(4), Timer::Ready));
        assert!(timers.take_due(Monotonic(2)).len() == 3 && timers.next() == Some(Monotonic(5)));
        assert_eq!(timers.take_due(Monotonic(999)).len(), MAX_DUE);
        assert_eq!(timers.take_due(Monotonic(999)).len(), MAX_DUE);
        while !timers.take_due(Monotonic(999)).is_empty() {}
        assert_eq!((timers.next(), timers.set.len()), (Some(Monotonic(5_000)), 1));
    }
}
