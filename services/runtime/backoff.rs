//! Waits between attempts that keep failing with the same target: the second attempt comes at once, then each wait is up
//! to twice the one before, and as much by chance as they have in common, so that those who lost one leader do not all come back in one
//! moment.

use std::time::Duration;

/// Doublings after which no wait grows any more, whatever its first and longest are.
const MOST_DOUBLINGS: u32 = 16;

#[derive(Debug, Clone)]
pub struct Backoff<T> {
    first: Duration,
    longest: Duration,
    failures: u32,
    /// With whom the last attempt failed.
    target: Option<T>,
}

impl<T: Clone + PartialEq> Backoff<T> {
    /// The first wait that is one, and the longest.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0, target: None }
    }

    /// An attempt with this target has failed: how long to wait before the next. What went before with another target
    /// counts for nothing: a new leader that is dialled a moment too early is not to be kept waiting for its predecessor.
    #[must_use]
    pub fn next_wait(&mut self, target: &T) -> Duration {
        if self.target.as_ref() != Some(target) {
            self.target = Some(target.clone());
            self.reset();
        }
        let doublings = self.failures.checked_sub(1);
        self.failures = self.failures.saturating_add(1);
        let Some(doublings) = doublings else { return Duration::ZERO };
        let whole = self.first.saturating_mul(1 << doublings.min(MOST_DOUBLINGS)).min(self.longest);
        // The chance of this thread, which a test can seed.
        whole / 2 + (whole / 2).mul_f64(fastrand::f64())
    }

    /// An attempt went well: the next failure is a first one.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_millis(500);

    #[test]
    fn the_second_attempt_is_at_once_and_waits_grow_from_half_the_first_to_the_longest() {
        let mut backoff = Backoff::new(FIRST, LONGEST);
        assert_eq!(backoff.next_wait(&1), Duration::ZERO);
        for whole in [50, 100, 200, 400, 500, 500, 500].map(Duration::from_millis) {
            let wait = backoff.next_wait(&1);
            assert!((whole / 2..=whole).contains(&wait), "{wait:?} of {whole:?}");
        }
        for _ in 0..100 {
            assert!(backoff.next_wait(&1) <= LONGEST);
        }
    }

    #[test]
    fn a_success_begins_anew() {
        let mut backoff = Backoff::new(FIRST, LONGEST);
        let _ = (backoff.next_wait(&1), backoff.next_wait(&1), backoff.next_wait(&1));
        backoff.reset();
        assert_eq!(backoff.next_wait(&1), Duration::ZERO);
        assert!(backoff.next_wait(&1) <= FIRST);
    }

    #[test]
    fn another_target_begins_anew() {
        let mut backoff = Backoff::new(FIRST, LONGEST);
        for target in [1, 2] {
            assert_eq!(backoff.next_wait(&target), Duration::ZERO, "{target}");
            assert!(backoff.next_wait(&target) <= FIRST);
            assert!(backoff.next_wait(&target) > FIRST / 2);
        }
    }

    #[test]
    fn those_that_fail_together_do_not_wait_alike() {
        let waits = [(); 8].map(|()| {
            let mut backoff = Backoff::new(FIRST, LONGEST);
            let _ = backoff.next_wait(&1);
            backoff.next_wait(&1)
        });
        assert!(waits.iter().any(|wait| *wait != waits[0]), "{waits:?}");
    }
}
