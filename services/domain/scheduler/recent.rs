//! The latest changes in the order of their revisions, so that whoever missed some is told those and nothing else has to be
//! looked at: a watch that goes on from a revision would else go through every task there is.

use std::{
    collections::VecDeque,
    hash::{Hash, Hasher},
};

use crate::domain::{Revision, TaskId};

/// Most changes that are kept: some seconds of the fastest leader, in some ten MiB. Whoever missed more goes through all tasks.
const MAX_RECENT: usize = 200_000;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Recent {
    /// Of a task that changed more than once the last one counts; of one that was removed none.
    changes: VecDeque<(Revision, TaskId)>,
    /// Every change after it is here.
    complete_after: Revision,
}

impl Recent {
    /// Begins after this revision.
    pub fn begin(&mut self, after: Revision) {
        *self = Self { changes: VecDeque::new(), complete_after: after };
    }

    /// A task has changed, and has this revision now: a higher one than any before.
    pub fn push(&mut self, revision: Revision, task_id: TaskId) {
        if self.changes.len() == MAX_RECENT
            && let Some((oldest, _)) = self.changes.pop_front()
        {
            self.complete_after = oldest;
        }
        self.changes.push_back((revision, task_id));
    }

    /// The changes after a revision. None: some of them are not here any more.
    pub fn after(&self, revision: Revision) -> Option<impl Iterator<Item = (Revision, &TaskId)>> {
        let start = self.changes.partition_point(|(of, _)| *of <= revision);
        (revision >= self.complete_after).then(|| self.changes.range(start..).map(|(of, id)| (*of, id)))
    }
}

/// What a leader remembers of changes only saves looks: two that differ in nothing else do the same.
impl Hash for Recent {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_old_is_not_known_to_be_complete() {
        let mut recent = Recent::default();
        recent.begin(Revision(10));
        let id = |number: u64| format!("t{number}").parse::<TaskId>().unwrap();
        for number in 0..=MAX_RECENT as u64 {
            recent.push(Revision(11 + number), id(number));
        }
        assert!(recent.after(Revision(10)).is_none(), "that of 11 is gone");
        let first = recent.after(Revision(11)).unwrap().next();
        assert_eq!(first, Some((Revision(12), &id(1))));
        let last = Revision(11 + MAX_RECENT as u64);
        assert_eq!(recent.after(last).unwrap().count(), 0);
        assert_eq!(recent.after(Revision(last.0 - 1)).unwrap().next(), Some((last, &id(MAX_RECENT as u64))));
    }
}
