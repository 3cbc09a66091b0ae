//! Which queue goes first: shares of the starts by weight.
//!
//! Start-time fair queueing, in virtual time. A start of a queue takes as much of it as one start of weight 1, divided by
//! the queue's weight; the queue whose next start would begin first goes first. So queues that always have tasks waiting
//! start them in proportion to their weights, never further from it than one start of each; and one that had none, or was
//! paused, or at a limit, begins where the others are: it has saved nothing up. Nothing is scanned and nothing expires.

/// What a start takes of a queue of weight 1: so much that it divides by every weight to a thousandth, so little that
/// 64 bits are 50 years of 10,000 starts a second.
const START: u64 = 1_000_000;

/// The virtual time of all queues: where the last start began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct VirtualTime(u64);

/// Where one queue's next start may begin at the earliest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Share(VirtualTime);

impl Share {
    /// When the queue's next start would begin: the lowest goes first.
    pub fn begin(self, now: VirtualTime) -> VirtualTime {
        self.0.max(now)
    }

    /// The queue starts a task.
    pub fn start(&mut self, now: &mut VirtualTime, weight: u32) {
        *now = self.begin(*now);
        self.0 = VirtualTime(now.0.saturating_add(START / u64::from(weight.max(1))));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Queues of some weights; those that want to start do, the first in turn.
    struct Queues {
        now: VirtualTime,
        shares: Vec<Share>,
        weights: Vec<u32>,
    }

    impl Queues {
        fn new(weights: &[u32]) -> Self {
            Self { now: VirtualTime::default(), shares: vec![Share::default(); weights.len()], weights: weights.into() }
        }

        fn start(&mut self, wants: impl Fn(usize) -> bool) -> Option<usize> {
            let waiting = (0..self.shares.len()).filter(|queue| wants(*queue));
            let first = waiting.min_by_key(|queue| self.shares[*queue].begin(self.now))?;
            self.shares[first].start(&mut self.now, self.weights[first]);
            Some(first)
        }
    }

    fn weights() -> impl Strategy<Value = Vec<u32>> {
        prop::collection::vec(1..=1_000u32, 2..6)
    }

    proptest! {
        /// What each has started, divided by its weight, differs by no more than one start of each.
        #[test]
        fn queues_that_always_wait_start_in_proportion_to_their_weights(
            weights in weights(),
            before in prop::collection::vec(any::<u8>(), 0..50),
            starts in 1..3_000usize,
        ) {
            let mut queues = Queues::new(&weights);
            for only in before {
                let only = usize::from(only) % weights.len();
                queues.start(|queue| queue == only);
            }
            let mut started = vec![0u32; weights.len()];
            for _ in 0..starts {
                started[queues.start(|_| true).unwrap()] += 1;
            }
            for (a, b) in (0..weights.len()).flat_map(|a| (0..a).map(move |b| (a, b))) {
                let virtually = |queue: usize| f64::from(started[queue]) / f64::from(weights[queue]);
                let one = |queue: usize| 1.0 / f64::from(weights[queue]);
                let apart = (virtually(a) - virtually(b)).abs();
                // A start before the first that is counted may still take its time; and the division leaves a thousandth.
                let most = 2.0 * (one(a) + one(b)) + 0.002 * virtually(a).max(virtually(b));
                prop_assert!(apart <= most, "{started:?} of {weights:?}: {apart} > {most}");
            }
        }

        /// However long a queue had nothing to start, the others are never kept waiting for more than its share.
        #[test]
        fn a_queue_that_was_idle_has_saved_nothing_up(
            weight in 1..=1_000u32,
            other in 1..=1_000u32,
            idle in 0..2_000usize,
        ) {
            let mut queues = Queues::new(&[weight, other]);
            for _ in 0..idle {
                queues.start(|queue| queue == 1);
            }
            let mut in_a_row = 0;
            while queues.start(|_| true) == Some(0) {
                in_a_row += 1;
            }
            prop_assert!(in_a_row <= weight.div_ceil(other) + 1, "{in_a_row} of weight {weight} beside {other}");
        }
    }
}
