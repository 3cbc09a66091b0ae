//! What a submitter expects of a task in time: how often it is tried, how long each thing may take, when it may begin.

use std::{collections::BTreeSet, time::Duration};

use super::{Failure, FailureReason, TaskId, Wall};

/// Longest of any time in a policy: a task that is to wait longer than a year is a date in a calendar, not a task.
pub const MAX_TIME: Duration = Duration::from_hours(365 * 24);
/// Most attempts of a policy: with the least sensible waits between them, weeks; each is a write to the store.
pub const MAX_ATTEMPTS: u32 = 10_000;
/// The exit statuses that a program can have, but 0.
pub const EXIT_STATUSES: std::ops::RangeInclusive<i32> = 1..=255;

/// Of waits between attempts, where the policy does not say.
const DEFAULT_INITIAL_BACKOFF: Duration = Duration::from_secs(1);
const DEFAULT_MAX_BACKOFF: Duration = Duration::from_mins(5);
const DEFAULT_MULTIPLIER: Multiplier = Multiplier(2_000);
/// What sysexits.h says of a task that will not succeed the next time either: EX_DATAERR to EX_CONFIG.
const SYSEXITS: std::ops::RangeInclusive<i32> = 65..=78;
/// The one of them that asks for another try.
const EX_TEMPFAIL: i32 = 75;
/// A wait is shortened by up to a quarter, so that what failed together is not tried again together.
const JITTER_SHARE: u128 = 4;

/// As sent: what was not said is none, and defaults are applied where it is used. A spec without any of it has no policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Policy {
    pub retry: Option<RetryPolicy>,
    pub timeouts: Option<Timeouts>,
    pub not_before: Option<Wall>,
    pub delay: Option<Duration>,
}

impl Policy {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// None: as long as it takes.
    pub fn timeout(&self, timeout: Timeout) -> Option<Duration> {
        let timeouts = self.timeouts.as_ref()?;
        match timeout {
            Timeout::ScheduleToStart => timeouts.schedule_to_start,
            Timeout::StartToClose => timeouts.start_to_close,
            Timeout::ScheduleToClose => timeouts.schedule_to_close,
            Timeout::Heartbeat => timeouts.heartbeat,
        }
    }

    /// When a task that was accepted at this moment may begin, if not at once.
    pub fn start(&self, accepted: Wall) -> Option<Wall> {
        let start = self.not_before.or_else(|| self.delay.map(|delay| accepted.after(delay)))?;
        (start > accepted).then(|| start.min(accepted.after(MAX_TIME)))
    }

    /// How long a task waits after its attempt failed in this way, `retries` of its attempts having failed before. None:
    /// it is not tried again.
    pub fn backoff(&self, task_id: &TaskId, retries: u32, failure: &Failure) -> Option<Duration> {
        let retry = self.retry.as_ref()?;
        let again = retries + 1 < retry.max_attempts && !failure.permanent && !retry.is_final(failure);
        again.then(|| jittered(retry.longest_backoff(retries), task_id, retries))
    }

    /// The longest that [`Policy::backoff`] says after so many retries.
    pub fn longest_backoff(&self, retries: u32) -> Duration {
        self.retry.as_ref().map_or(Duration::ZERO, |retry| retry.longest_backoff(retries))
    }
}

/// When an attempt that failed is followed by another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RetryPolicy {
    /// Failed attempts after which the task has failed; attempts that were lost with their worker are not counted.
    pub max_attempts: u32,
    pub initial_backoff: Option<Duration>,
    pub backoff_multiplier: Option<Multiplier>,
    pub max_backoff: Option<Duration>,
    /// Of programs: the statuses after which trying again is of no use.
    pub final_exit_statuses: Option<BTreeSet<i32>>,
}

impl RetryPolicy {
    fn is_final(&self, failure: &Failure) -> bool {
        match failure.reason {
            // The same handler would make the same result.
            FailureReason::ResultTooLarge | FailureReason::WorkerLost | FailureReason::Poisoned => true,
            FailureReason::TimedOut => !matches!(failure.timeout, Some(Timeout::StartToClose | Timeout::Heartbeat)),
            FailureReason::Handler => failure.exit_status.is_some_and(|status| match &self.final_exit_statuses {
                Some(statuses) => statuses.contains(&status),
                None => SYSEXITS.contains(&status) && status != EX_TEMPFAIL,
            }),
        }
    }

    fn longest_backoff(&self, retries: u32) -> Duration {
        let first = self.initial_backoff.unwrap_or(DEFAULT_INITIAL_BACKOFF).as_millis();
        let most = self.max_backoff.map_or(DEFAULT_MAX_BACKOFF.as_millis().max(first), |most| most.as_millis());
        let Multiplier(factor) = self.backoff_multiplier.unwrap_or(DEFAULT_MULTIPLIER);
        let mut wait = first;
        for _ in 0..retries {
            if wait >= most || factor == Multiplier::ONE {
                break;
            }
            wait = wait * u128::from(factor) / u128::from(Multiplier::ONE);
        }
        Duration::from_millis(u64::try_from(wait.min(most)).unwrap_or(u64::MAX))
    }
}

/// The same task waits the same after the same failure, whoever leads, and each task otherwise than the others.
fn jittered(longest: Duration, task_id: &TaskId, retries: u32) -> Duration {
    let bytes = task_id.as_str().bytes().chain(retries.to_le_bytes());
    // FNV-1a, and a last mix: the ids of tasks that were submitted together differ in their last bytes only.
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd) >> 32;
    let off = longest.as_millis() * u128::from(hash) / (JITTER_SHARE << 32);
    longest.saturating_sub(Duration::from_millis(u64::try_from(off).unwrap_or(0)))
}

/// A factor, in thousandths: it can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Multiplier(u32);

impl Multiplier {
    /// Thousandths of 1.
    pub const ONE: u32 = 1_000;
    /// Thousandths of the largest, 100.
    pub const MAX: u32 = 100 * Self::ONE;

    /// None if not from [`Multiplier::ONE`] to [`Multiplier::MAX`].
    pub fn of_thousandths(factor: u32) -> Option<Self> {
        (Self::ONE..=Self::MAX).contains(&factor).then_some(Self(factor))
    }

    pub fn thousandths(self) -> u32 {
        self.0
    }
}

/// Longest times; what is none has no end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Timeouts {
    pub schedule_to_start: Option<Duration>,
    pub start_to_close: Option<Duration>,
    pub schedule_to_close: Option<Duration>,
    pub heartbeat: Option<Duration>,
}

/// Which of them was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timeout {
    /// Of one wait for a worker.
    ScheduleToStart,
    /// Of one attempt.
    StartToClose,
    /// Of the whole task.
    ScheduleToClose,
    /// Of a running handler's silence.
    Heartbeat,
}

impl Timeout {
    pub fn name(self) -> &'static str {
        match self {
            Self::ScheduleToStart => "schedule_to_start",
            Self::StartToClose => "start_to_close",
            Self::ScheduleToClose => "schedule_to_close",
            Self::Heartbeat => "heartbeat",
        }
    }
}

/// What a task with a policy remembers of its attempts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Trials {
    /// Attempts that failed and were, or will be, followed by another.
    pub retries: u32,
    /// Why the last of them failed.
    pub last_failure: Option<Failure>,
    /// Of a pending task: when its next attempt may begin, or might have begun.
    pub next_attempt_time: Option<Wall>,
}

impl Trials {
    /// What it occupies in the store, roughly, in bytes.
    pub fn bytes(&self) -> usize {
        self.last_failure.as_ref().map_or(0, |failure| failure.message.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(retry: RetryPolicy) -> Policy {
        Policy { retry: Some(retry), ..Policy::default() }
    }

    fn retry(max_attempts: u32) -> RetryPolicy {
        RetryPolicy {
            max_attempts,
            initial_backoff: None,
            backoff_multiplier: None,
            max_backoff: None,
            final_exit_statuses: None,
        }
    }

    fn exit(status: i32) -> Failure {
        Failure { exit_status: Some(status), ..Failure::new(FailureReason::Handler, "no") }
    }

    fn id(text: &str) -> TaskId {
        text.parse().unwrap()
    }

    #[test]
    fn waits_grow_to_the_cap_and_jitter_takes_at_most_a_quarter() {
        let millis = |millis| Some(Duration::from_millis(millis));
        let policy = policy(RetryPolicy {
            initial_backoff: millis(100),
            backoff_multiplier: Multiplier::of_thousandths(3_000),
            max_backoff: millis(1_000),
            ..retry(10)
        });
        let longest: Vec<_> = (0..4).map(|retries| policy.longest_backoff(retries).as_millis()).collect();
        assert_eq!(longest, [100, 300, 900, 1_000]);
        for retries in 0..4 {
            let longest = policy.longest_backoff(retries);
            let waits: BTreeSet<_> =
                (0..100).filter_map(|at| policy.backoff(&id(&format!("t{at}")), retries, &exit(1))).collect();
            assert!(waits.iter().all(|&wait| wait <= longest && wait >= longest * 3 / 4), "{waits:?}");
            assert!(waits.len() > 15, "tasks differ: {waits:?}");
        }
        assert_eq!(policy.backoff(&id("a"), 2, &exit(1)), policy.backoff(&id("a"), 2, &exit(1)));
    }

    #[test]
    fn a_first_wait_over_the_default_cap_is_as_long_as_was_said() {
        let day = Duration::from_hours(24);
        let policy = policy(RetryPolicy { initial_backoff: Some(day), ..retry(3) });
        assert_eq!(policy.longest_backoff(1), day);
        let (many, slow) = (MAX_ATTEMPTS - 1, Multiplier::of_thousandths(1_000));
        let steady = RetryPolicy { backoff_multiplier: slow, max_backoff: Some(MAX_TIME), ..retry(MAX_ATTEMPTS) };
        assert_eq!(steady.longest_backoff(many), DEFAULT_INITIAL_BACKOFF);
    }

    #[test]
    fn the_last_attempt_and_what_is_final_are_not_followed_by_another() {
        let default = policy(retry(3));
        let again = |policy: &Policy, retries, failure: &Failure| policy.backoff(&id("a"), retries, failure).is_some();
        assert!(again(&default, 1, &exit(1)) && !again(&default, 2, &exit(1)));
        for (status, expected) in [(64, true), (65, false), (75, true), (78, false), (79, true)] {
            assert_eq!(again(&default, 0, &exit(status)), expected, "{status}");
        }
        let own = policy(RetryPolicy { final_exit_statuses: Some([3].into()), ..retry(3) });
        assert!(!again(&own, 0, &exit(3)) && again(&own, 0, &exit(65)));
        let late = Failure::timed_out(Timeout::StartToClose, "late");
        assert!(again(&default, 0, &late));
        assert!(!again(&default, 0, &Failure { permanent: true, ..late }));
        assert!(!again(&default, 0, &Failure::new(FailureReason::ResultTooLarge, "much")));
        assert!(!again(&policy(retry(1)), 0, &exit(1)) && !again(&Policy::default(), 0, &exit(1)));
    }
}
