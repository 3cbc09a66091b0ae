//! How many starts a second: a bucket of tokens, in integers over the leader's clock.

use crate::domain::{Monotonic, Rate};

/// One start, in the unit of a bucket: a rate is in thousandths a second, so it adds as many of them each millisecond.
const START: u64 = 1_000_000;

/// What may be started at once, as of some moment. It holds what comes in a second, and at least one start, so that a
/// queue that was idle starts that many together and never more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Bucket {
    level: u64,
    at: Monotonic,
}

impl Bucket {
    pub fn full(rate: Rate, now: Monotonic) -> Self {
        Self { level: most(rate), at: now }
    }

    /// None: a start is allowed now. Otherwise when the next one is.
    pub fn next(&self, rate: Rate, now: Monotonic) -> Option<Monotonic> {
        let missing = START.checked_sub(self.level(rate, now)).filter(|missing| *missing > 0)?;
        Some(Monotonic(now.0.saturating_add(missing.div_ceil(u64::from(rate.thousandths())))))
    }

    /// A task is started. It is not asked here whether it may.
    pub fn take(&mut self, rate: Rate, now: Monotonic) {
        *self = Self { level: self.level(rate, now).saturating_sub(START), at: now.max(self.at) };
    }

    /// The same for another rate from now on.
    pub fn at_rate(&self, before: Rate, after: Rate, now: Monotonic) -> Self {
        Self { level: self.level(before, now).min(most(after)), at: now.max(self.at) }
    }

    fn level(&self, rate: Rate, now: Monotonic) -> u64 {
        let come = now.0.saturating_sub(self.at.0).saturating_mul(u64::from(rate.thousandths()));
        self.level.saturating_add(come).min(most(rate))
    }
}

fn most(rate: Rate) -> u64 {
    (u64::from(rate.thousandths()) * 1_000).max(START)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BEGIN: Monotonic = Monotonic(1 << 42);

    fn rate(thousandths: u32) -> Rate {
        Rate::from_thousandths(thousandths).unwrap()
    }

    #[test]
    fn one_every_so_often_is_one_every_so_often() {
        let slow = rate(100);
        let mut bucket = Bucket::full(slow, BEGIN);
        assert_eq!(bucket.next(slow, BEGIN), None);
        bucket.take(slow, BEGIN);
        let next = Monotonic(BEGIN.0 + 10_000);
        assert_eq!(bucket.next(slow, BEGIN), Some(next));
        assert_eq!(bucket.next(slow, Monotonic(next.0 - 1)), Some(next));
        assert_eq!(bucket.next(slow, next), None);
    }

    proptest! {
        /// In any time no more starts than come in it and one second's, and one who waits for each gets all of them.
        #[test]
        fn no_more_than_the_rate_and_a_seconds_burst(thousandths in 1..100_000u32, pauses in prop::collection::vec(0..5_000u64, 1..200)) {
            let rate = rate(thousandths);
            let mut bucket = Bucket::full(rate, BEGIN);
            let (mut now, mut started) = (BEGIN, 0u64);
            for pause in pauses {
                now = Monotonic(now.0 + pause);
                if let Some(next) = bucket.next(rate, now) {
                    prop_assert!(next > now);
                    prop_assert_eq!(bucket.next(rate, next), None, "it said then");
                    now = next;
                }
                bucket.take(rate, now);
                started += 1;
                let come = (now.0 - BEGIN.0) * u64::from(thousandths);
                prop_assert!(started * START <= most(rate) + come, "{} starts in {} ms", started, now.0 - BEGIN.0);
            }
        }
    }
}
