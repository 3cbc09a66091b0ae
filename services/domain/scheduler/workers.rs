//! Workers come, are cut off, come back, leave, are lost.
//!
//! A worker is lost only when it has had no link for its grace, or when a new incarnation of it says hello. That its
//! membership is missing stops new assignments and nothing else: an outage of the store must not rerun what runs.

use std::collections::BTreeSet;

use super::{Effect, Note, Scheduler, attempts::Return, fleet::Hold, placement::order};
use crate::domain::{AttemptId, Change, Incarnation, Now, Order, Report, RunningAttempt, WorkerHello, WorkerId};

impl Scheduler {
    pub(super) fn hello(&mut self, now: Now, hello: WorkerHello, effects: &mut Vec<Effect>) {
        let worker = hello.offer.worker_id.clone();
        if let Some(known) = self.fleet.get(&worker)
            && known.incarnation != hello.offer.incarnation
        {
            if known.linked {
                effects.push(Effect::Refuse { worker });
                return;
            }
            self.lose(now, &worker, effects);
        }
        let spared = hello.beside.is_some() && hello.beside == self.limits.spare_beside;
        self.fleet.link(hello.offer, hello.draining, spared);
        effects.push(Effect::Welcome { worker: worker.clone() });
        let running = hello.running.into_iter().flat_map(|RunningAttempt { attempt, start_time, progress }| {
            let progress = progress.map(|it| Report::Progress { attempt: attempt.clone(), progress: Some(it) });
            std::iter::once(Report::Started { attempt, start_time }).chain(progress)
        });
        self.reconcile(now, &worker, running.chain(hello.reports), effects);
    }

    /// Brings what the worker says it has and what it was assigned into agreement.
    fn reconcile(
        &mut self,
        now: Now,
        worker: &WorkerId,
        reports: impl Iterator<Item = Report>,
        effects: &mut Vec<Effect>,
    ) {
        let mut present = BTreeSet::new();
        for report in reports {
            present.insert(report.attempt().clone());
            self.report(now, worker, report, effects);
        }
        let Some(known) = self.fleet.get(worker) else { return };
        let absent: Vec<(AttemptId, Hold)> = known
            .holds()
            .filter(|(attempt, _)| !present.contains(attempt))
            .map(|(attempt, hold)| (attempt.clone(), hold))
            .collect();
        for (attempt, hold) in absent {
            match hold {
                // It was never received, for it would be here: the same attempt is sent again.
                Hold::Current { .. } => {
                    if let Some(entry) = self.table.get(&attempt.task_id) {
                        effects.push(order(worker, &entry.task));
                    }
                }
                Hold::Stopping => self.fleet.release(worker, &attempt),
            }
        }
    }

    pub(super) fn link_lost(&mut self, now: Now, worker: &WorkerId, incarnation: Incarnation) {
        if self.fleet.is(worker, incarnation) {
            self.fleet.unlink(worker, now.monotonic.after(self.limits.reconnect_grace));
        }
    }

    pub(super) fn goodbye(&mut self, now: Now, worker: &WorkerId, incarnation: Incarnation, effects: &mut Vec<Effect>) {
        if self.fleet.is(worker, incarnation) {
            // A worker says goodbye only when it holds nothing: what it still has, it never received.
            self.forget(now, worker, Return::Unbegun, effects);
        }
    }

    pub(super) fn lose(&mut self, now: Now, worker: &WorkerId, effects: &mut Vec<Effect>) {
        let attempts = self.forget(now, worker, Return::WorkerLost, effects);
        effects.push(Effect::Note(Note::WorkerLost { worker: worker.clone(), attempts }));
    }

    fn forget(&mut self, now: Now, worker: &WorkerId, why: Return, effects: &mut Vec<Effect>) -> usize {
        let current = self.fleet.remove(worker);
        for task_id in &current {
            self.take_back(now, task_id, why, effects);
        }
        effects.push(Effect::Change(Change::WorkerForgotten { worker: worker.clone() }));
        current.len()
    }

    /// Tells the worker to stop an attempt that is not wanted any more; its slot is held until it says that it did.
    pub(super) fn stop(
        &mut self,
        worker: &WorkerId,
        attempt: AttemptId,
        reason: &'static str,
        effects: &mut Vec<Effect>,
    ) {
        self.fleet.set_hold(worker, attempt.clone(), Hold::Stopping);
        let order = Order::Cancel { attempt, reason: reason.into() };
        effects.push(Effect::Order { worker: worker.clone(), order });
    }
}
