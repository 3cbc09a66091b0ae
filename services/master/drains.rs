//! Who waits for something new of a drain. A call is parked here until the scheduler says that there is something, so that
//! nobody asks over and over; one that nobody may wait for any more goes by itself.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{driver::Asker, input::LinkId};
use crate::domain::WorkerId;

/// Most calls that are parked, over all links: far more than there are people who drain workers.
const MAX_PARKED: usize = 1_024;
/// Longest time that one is parked. Who still waits then asks again: the leader does not learn that an asker has gone.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

struct Parked {
    asker: Asker,
    until: Instant,
}

#[derive(Default)]
pub(super) struct Drains {
    by_worker: BTreeMap<WorkerId, Vec<Parked>>,
    parked: usize,
}

impl Drains {
    /// Gives the asker back if it is one too many.
    pub fn park(&mut self, worker: WorkerId, asker: Asker, now: Instant) -> Result<(), Asker> {
        if self.parked >= MAX_PARKED {
            return Err(asker);
        }
        self.parked += 1;
        self.by_worker.entry(worker).or_default().push(Parked { asker, until: now + LONGEST_WAIT });
        Ok(())
    }

    /// Those who wait for something new of this worker.
    pub fn take(&mut self, worker: &WorkerId) -> Vec<Asker> {
        let parked = self.by_worker.remove(worker).unwrap_or_default();
        self.parked -= parked.len();
        parked.into_iter().map(|parked| parked.asker).collect()
    }

    /// Those who have waited for as long as anybody does.
    pub fn take_overdue(&mut self, now: Instant) -> Vec<(WorkerId, Asker)> {
        let mut overdue = Vec::new();
        for (worker, all) in &mut self.by_worker {
            let due = all.extract_if(.., |parked| parked.until <= now);
            overdue.extend(due.map(|parked| (worker.clone(), parked.asker)));
        }
        self.dropped(overdue.len());
        overdue
    }

    /// A link has ended: what was asked on it is asked again on another.
    pub fn forget(&mut self, link: LinkId) {
        let mut forgotten = 0;
        for all in self.by_worker.values_mut() {
            let of_link =
                |parked: &mut Parked| matches!(parked.asker, Asker::Client { link: asked, .. } if asked == link);
            forgotten += all.extract_if(.., of_link).count();
        }
        self.dropped(forgotten);
    }

    fn dropped(&mut self, count: usize) {
        self.parked -= count;
        if count > 0 {
            self.by_worker.retain(|_, all| !all.is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Detail;

    fn asker(link: u64, call_id: u64) -> Asker {
        Asker::Client { link: LinkId(link), call_id, detail: Detail::Summary, span: None }
    }

    fn worker(id: &str) -> WorkerId {
        id.parse().expect("an id")
    }

    fn calls(askers: Vec<Asker>) -> Vec<u64> {
        let call = |asker| if let Asker::Client { call_id, .. } = asker { Some(call_id) } else { None };
        askers.into_iter().filter_map(call).collect()
    }

    #[tokio::test]
    async fn whoever_waits_is_told_once_or_forgotten_and_makes_room() {
        let (mut drains, now) = (Drains::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        for (id, link, call, at) in [("w1", 1, 1, now), ("w1", 2, 2, later), ("w2", 1, 3, later), ("w2", 2, 4, later)] {
            assert!(drains.park(worker(id), asker(link, call), at).is_ok());
        }
        let overdue = drains.take_overdue(now + LONGEST_WAIT);
        assert_eq!(calls(overdue.into_iter().map(|(_, asker)| asker).collect()), [1]);
        drains.forget(LinkId(1));
        assert_eq!(calls(drains.take(&worker("w2"))), [4]);
        assert!(drains.take(&worker("w2")).is_empty());
        assert_eq!((drains.parked, drains.by_worker.len()), (1, 1));
    }

    #[tokio::test]
    async fn no_more_are_parked_than_may_be() {
        let (mut drains, now) = (Drains::default(), Instant::now());
        for call in 0..MAX_PARKED as u64 {
            assert!(drains.park(worker("w1"), asker(1, call), now).is_ok());
        }
        assert!(drains.park(worker("w2"), asker(1, 0), now).is_err());
        drains.take(&worker("w1"));
        assert!(drains.park(worker("w2"), asker(1, 0), now).is_ok());
    }
}
