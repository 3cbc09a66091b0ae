//! When the next call is due.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::options::{Pace, Plan, Until};

/// Calls that are due and not taken; the clock does not stop for it: who takes them late sees that they were due.
const DUE: usize = 64;

/// The tasks of one call: when each was due.
pub(super) type Due = Vec<Instant>;

/// How many tasks the next call has; none when enough were sent.
pub(super) fn next_batch(plan: &Plan, start: Instant, sent: u64) -> usize {
    match plan.until {
        Until::Tasks(tasks) => usize::try_from(tasks - sent).unwrap_or(usize::MAX).min(plan.batch),
        Until::Time(time) if start.elapsed() < time => plan.batch,
        Until::Time(_) => 0,
    }
}

/// The calls of an open loop, each when its last task is due: a task waits for the others of its batch, and that counts.
/// A thread of its own, because timers of the runtime are a millisecond coarse.
pub(super) fn by_the_clock(plan: Plan, rate: u32, start: Instant) -> mpsc::Receiver<Due> {
    let (calls, due) = mpsc::channel(DUE);
    thread::spawn(move || {
        let mut sent = 0;
        loop {
            let tasks = match plan.until {
                Until::Tasks(_) => next_batch(&plan, start, sent),
                // By when they are due, not by when they are sent.
                Until::Time(time) => {
                    if at(start, rate, sent) < start + time {
                        plan.batch
                    } else {
                        0
                    }
                }
            };
            let call: Due = (sent..sent + tasks as u64).map(|number| at(start, rate, number)).collect();
            let Some(last) = call.last() else { return };
            sent += tasks as u64;
            while let Some(left) = last.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
                thread::park_timeout(left);
            }
            // The bench has ended.
            if calls.blocking_send(call).is_err() {
                return;
            }
        }
    });
    due
}

fn at(start: Instant, rate: u32, number: u64) -> Instant {
    const SECOND: u128 = 1_000_000_000;
    let nanos = u128::from(number) * SECOND / u128::from(rate);
    start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Calls on their way at once.
pub(super) fn room(pace: Pace) -> usize {
    /// Of an open loop: past this the cluster is lost, and the bench would only fill its own memory. Calls beyond it wait
    /// here, and their time counts.
    const OPEN: usize = 20_000;
    match pace {
        Pace::Closed { outstanding, .. } => outstanding,
        Pace::Open { .. } => OPEN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::options::{Mode, WatchBy};

    fn plan(batch: usize, until: Until) -> Plan {
        Plan { mode: Mode::Batch, batch, pace: Pace::Open { rate: 1_000_000 }, until, watch: WatchBy::One }
    }

    fn calls(plan: Plan, rate: u32, start: Instant) -> Vec<Due> {
        let mut due = by_the_clock(plan, rate, start);
        std::iter::from_fn(|| due.blocking_recv()).collect()
    }

    #[test]
    fn an_open_loop_has_each_task_due_at_its_own_time() {
        let start = Instant::now();
        let calls = calls(plan(4, Until::Tasks(10)), 1_000, start);
        assert_eq!(calls.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
        let due: Vec<_> = calls.concat().iter().map(|due| (*due - start).as_millis()).collect();
        assert_eq!(due, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn an_open_loop_for_a_time_has_as_many_tasks_as_the_time_has_room_for_however_late_they_are_taken() {
        let long_ago = Instant::now().checked_sub(Duration::from_secs(3)).expect("the clock is past its first seconds");
        let calls = calls(plan(1, Until::Time(Duration::from_millis(50))), 1_000, long_ago);
        assert_eq!(calls.len(), 50);
    }

    #[test]
    fn the_last_call_of_a_number_of_tasks_has_what_is_left() {
        let plan = plan(500, Until::Tasks(1_200));
        assert_eq!([0, 500, 1_000, 1_200].map(|sent| next_batch(&plan, Instant::now(), sent)), [500, 500, 200, 0]);
    }
}
