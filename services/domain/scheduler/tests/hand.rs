//! A worker that does what it is told, and remembers: what the real one's slots promise, without its handlers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::domain::{
    AttemptId, Incarnation, Order, Progress, Report, RunningAttempt, Term, Wall, WorkerHello, WorkerOffer,
};

/// One life of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hand {
    pub incarnation: Incarnation,
    /// Highest term that it was welcomed to.
    pub term: Term,
    pub draining: bool,
    pub running: BTreeSet<AttemptId>,
    /// Those of them that it was told to stop.
    pub cancelled: BTreeSet<AttemptId>,
    /// The last that their handlers said.
    pub progress: BTreeMap<AttemptId, Arc<Progress>>,
    /// What nobody acknowledged.
    pub reports: BTreeMap<AttemptId, Report>,
}

/// What followed from an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obeyed {
    Nothing,
    /// An attempt began.
    Began(AttemptId),
    Says(Report),
    /// Every slot is taken: given back.
    Full(Report),
}

impl Hand {
    pub fn new(incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            term: Term::default(),
            draining: false,
            running: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            progress: BTreeMap::new(),
            reports: BTreeMap::new(),
        }
    }

    /// Its first word on a link.
    pub fn hello(&self, offer: WorkerOffer, now: Wall) -> WorkerHello {
        let running = self.running.iter().map(|attempt| RunningAttempt {
            attempt: attempt.clone(),
            start_time: now,
            progress: self.progress.get(attempt).cloned(),
        });
        WorkerHello {
            offer,
            running: running.collect(),
            reports: self.reports.values().cloned().collect(),
            draining: self.draining,
            term: self.term,
            beside: None,
        }
    }

    pub fn obey(&mut self, order: Order, slots: usize) -> Obeyed {
        match order {
            Order::Assign { attempt, .. } => {
                if let Some(report) = self.reports.get(&attempt) {
                    return Obeyed::Says(report.clone());
                }
                if self.running.contains(&attempt) {
                    return Obeyed::Nothing;
                }
                let unbegun = Report::GivenBack { attempt: attempt.clone(), started: false };
                if self.taken() >= slots {
                    return Obeyed::Full(unbegun);
                }
                if self.draining {
                    self.reports.insert(attempt, unbegun.clone());
                    return Obeyed::Says(unbegun);
                }
                self.running.insert(attempt.clone());
                Obeyed::Began(attempt)
            }
            Order::Cancel { attempt, .. } => {
                if let Some(report) = self.reports.get(&attempt) {
                    return Obeyed::Says(report.clone());
                }
                if self.running.contains(&attempt) {
                    self.cancelled.insert(attempt);
                    return Obeyed::Nothing;
                }
                Obeyed::Says(Report::Stopped { attempt })
            }
            Order::Acknowledge { attempt } => {
                self.reports.remove(&attempt);
                Obeyed::Nothing
            }
        }
    }

    /// An attempt ends as the report says; one that was to stop has stopped.
    pub fn end(&mut self, report: Report) -> Report {
        let attempt = report.attempt().clone();
        self.running.remove(&attempt);
        self.progress.remove(&attempt);
        let report =
            if self.cancelled.remove(&attempt) { Report::Stopped { attempt: attempt.clone() } } else { report };
        self.reports.insert(attempt, report.clone());
        report
    }

    pub fn taken(&self) -> usize {
        self.running.len() + self.reports.len()
    }
}
