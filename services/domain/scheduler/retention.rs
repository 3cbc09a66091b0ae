//! How long the finished stay: by time and by count, the failed apart from the others, and none shorter than a moment.

use std::{collections::BTreeMap, time::Duration};

use super::Limits;
use crate::domain::{Monotonic, Revision, Task, TaskId, TaskState, Wall};

/// Nothing goes sooner than this after its end, however many there are: a retried submit or a late watch finds it.
pub(super) const MIN_RETENTION: Duration = Duration::from_mins(1);

/// Most removals of one step, of each kind: a commit of them. What was submitted together is then mostly removed together,
/// so that the nodes that it shares go as a whole.
const MAX_REMOVALS: usize = 1_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Retention {
    finished: Shelf,
    failed: Shelf,
    /// Before it nothing goes.
    earliest: Monotonic,
}

impl Retention {
    /// Keeps a task that ended at this moment of the leader's clock.
    pub fn keep(&mut self, task: &Task, end: Monotonic) {
        self.shelf(task.state).ended.insert(task.revision, (end, task.id.clone()));
    }

    /// A task that ended with this state and this revision goes before its time.
    pub fn forget(&mut self, state: TaskState, revision: Revision) {
        self.shelf(state).ended.remove(&revision);
    }

    fn shelf(&mut self, state: TaskState) -> &mut Shelf {
        if state == TaskState::Failed { &mut self.failed } else { &mut self.finished }
    }

    /// A new leader knows by wall clocks alone when the tasks that it finds have ended, and those may be wrong: for as
    /// long as nothing may go after its end, nothing goes.
    pub fn begin(&mut self, now: Monotonic) {
        self.earliest = now.after(MIN_RETENTION);
    }

    /// Takes the tasks whose time is over; some of them, if they are many.
    pub fn due(&mut self, now: Monotonic, limits: &Limits) -> Vec<TaskId> {
        if now < self.earliest {
            return Vec::new();
        }
        let mut due = self.finished.due(now, limits.retain_finished, limits.retain_finished_count);
        due.extend(self.failed.due(now, limits.retain_failed, limits.retain_failed_count));
        due
    }

    pub fn next_expiry(&self, limits: &Limits) -> Option<Monotonic> {
        let finished = self.finished.next(limits.retain_finished, limits.retain_finished_count);
        let failed = self.failed.next(limits.retain_failed, limits.retain_failed_count);
        let next = [finished, failed].into_iter().flatten().min();
        next.map(|next| next.max(self.earliest))
    }
}

/// When a stored end was, on the leader's clock: its age by the wall clocks, but never longer ago than the retention and
/// never in the future, whatever the clocks say.
pub(super) fn end_on_clock(end: Wall, now: Wall, clock: Monotonic, retention: Duration) -> Monotonic {
    let longest = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
    let age = now.0.saturating_sub(end.0).min(longest);
    Monotonic(clock.0.saturating_sub(age))
}

/// Ended tasks in the order of their ends, which is that of the revisions: clocks of different leaders have another one,
/// and a task then stays until those before it go.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Shelf {
    ended: BTreeMap<Revision, (Monotonic, TaskId)>,
}

impl Shelf {
    fn next(&self, retention: Duration, most: usize) -> Option<Monotonic> {
        let (_, (end, _)) = self.ended.first_key_value()?;
        let stay = if self.ended.len() > most { MIN_RETENTION } else { retention.max(MIN_RETENTION) };
        Some(end.after(stay))
    }

    fn due(&mut self, now: Monotonic, retention: Duration, most: usize) -> Vec<TaskId> {
        let mut due = Vec::new();
        while due.len() < MAX_REMOVALS && self.next(retention, most).is_some_and(|next| next <= now) {
            due.extend(self.ended.pop_first().map(|(_, (_, task_id))| task_id));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::{Submission, TaskSpec};

    fn ended(id: &str, revision: u64) -> Task {
        let spec = Arc::new(TaskSpec::new("work".parse().unwrap(), b""));
        let (task_id, revision) = (id.parse().unwrap(), Revision(revision));
        let submission =
            Submission { task_id, spec, create_time: Wall(0), revision, traceparent: None, retry_of: None };
        Task { state: TaskState::Succeeded, ..Task::new(&submission) }
    }

    #[test]
    fn what_is_forgotten_is_not_due() {
        let (mut retention, limits, now) = (Retention::default(), Limits::default(), Monotonic(1 << 42));
        retention.keep(&ended("a", 1), Monotonic(0));
        retention.keep(&ended("b", 2), Monotonic(0));
        retention.forget(TaskState::Succeeded, Revision(1));
        assert_eq!(retention.due(now, &limits), ["b".parse().unwrap()]);
    }

    #[test]
    fn a_new_leader_whose_clock_is_ahead_removes_nothing_within_a_minute() {
        let (mut retention, limits) = (Retention::default(), Limits::default());
        let now = Monotonic(1 << 42);
        retention.begin(now);
        let an_hour_ago = end_on_clock(Wall(0), Wall(3_600_000), now, limits.retain_finished);
        retention.keep(&ended("a", 1), an_hour_ago);
        let minute = now.after(MIN_RETENTION);
        assert_eq!(retention.next_expiry(&limits), Some(minute));
        assert!(retention.due(Monotonic(minute.0 - 1), &limits).is_empty());
        assert_eq!(retention.due(minute, &limits).len(), 1);
    }
}
