//! How much may be under way in this client service: beyond it a call is refused at once, so that neither memory nor the
//! wait of those that are in line grows with what is offered.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crate::wire::CallError;

/// Most unary calls under way: as many as two connections carry, at some 10 KiB each.
pub(super) const MAX_CALLS: usize = 8_192;
/// Most tasks of the submits under way: a second or two of what a leader accepts. Whoever comes later would wait longer.
const MAX_TASKS: usize = 32_768;
/// Most bytes of the submits under way, as they came in; in memory small tasks take several times as much.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Counts the submits under way. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Admission(Arc<Submits>);

#[derive(Debug, Default)]
struct Submits {
    tasks: AtomicUsize,
    bytes: AtomicUsize,
    /// One was refused since the last one ended.
    full: AtomicBool,
}

/// A submit's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    submits: Arc<Submits>,
    tasks: usize,
    bytes: usize,
}

impl Admission {
    /// Lets a submit of so many tasks, and bytes, in. One alone always fits.
    ///
    /// # Errors
    /// Too much is under way.
    pub(super) fn enter(&self, tasks: usize, bytes: usize) -> Result<Admitted, CallError> {
        let before = self.0.tasks.fetch_add(tasks, Ordering::Relaxed);
        let bytes_before = self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        // Dropped, it takes back what it has added.
        let admitted = Admitted { submits: self.0.clone(), tasks, bytes };
        let fits = before + tasks <= MAX_TASKS && bytes_before + bytes <= MAX_BYTES;
        if fits || before == 0 {
            return Ok(admitted);
        }
        drop(admitted);
        self.0.full.store(true, Ordering::Relaxed);
        Err(CallError::Overloaded)
    }

    /// Whether another one of many tasks would be refused, most likely: it need not be read.
    pub(super) fn is_full(&self) -> bool {
        self.0.full.load(Ordering::Relaxed) && self.0.tasks.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.submits.tasks.fetch_sub(self.tasks, Ordering::Relaxed);
        self.submits.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.submits.full.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_is_bounded_in_tasks_and_in_bytes_and_what_ends_makes_room() {
        for (tasks, bytes, most) in [(1_000, 1, MAX_TASKS / 1_000), (1, MAX_BYTES / 4, 4)] {
            let admission = Admission::default();
            let mut under_way: Vec<_> = (0..most).map(|_| admission.enter(tasks, bytes).unwrap()).collect();
            assert!(!admission.is_full());
            assert_eq!(admission.enter(tasks, bytes).unwrap_err(), CallError::Overloaded);
            assert!(admission.is_full());
            under_way.pop();
            assert!(!admission.is_full());
            let last = admission.enter(tasks, bytes).unwrap();
            assert!(admission.enter(tasks, bytes).is_err(), "a refused one leaves nothing behind, and takes nothing");
            drop((under_way, last));
            assert!(!admission.is_full(), "with nothing under way there is room");
            assert_eq!((admission.0.tasks.load(Ordering::Relaxed), admission.0.bytes.load(Ordering::Relaxed)), (0, 0));
        }
    }

    #[test]
    fn one_alone_fits_whatever_its_size() {
        let admission = Admission::default();
        let _huge = admission.enter(MAX_TASKS + 1, MAX_BYTES + 1).unwrap();
        assert!(admission.enter(1, 1).is_err());
    }
}
