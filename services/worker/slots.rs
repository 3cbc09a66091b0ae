//! What a worker holds: attempts that run, and reports that nobody acknowledged. A slot is taken from the moment an
//! attempt is accepted until its last report is acknowledged, so that the leader's count of slots and the worker's
//! agree, and what is kept is bounded by the number of slots.
//!
//! No clock, no task, no link in here: only what follows from what.

use std::collections::{BTreeMap, VecDeque};

use tokio_util::sync::CancellationToken;

use super::executor::Ended;
use crate::domain::{AttemptId, Report, RunningAttempt, Wall};

/// What a hello may carry of reports, in bytes: a thousand slots of full results are 64 MiB, and a message over a link
/// is at most 4 MiB. Attempts whose report does not fit are named as running, and their report follows the welcome.
const MAX_HELLO_REPORT_BYTES: usize = 1024 * 1024;

/// What is to be done with an attempt that was assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Start it.
    Free,
    /// It is held already; what there is to say of it will be said again.
    Held,
    /// Every slot is taken.
    Full,
}

/// Why a running attempt was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// The leader no longer wants its outcome.
    Cancelled,
    /// This worker leaves: the task is to run elsewhere.
    Leaving,
}

#[derive(Debug)]
enum Held {
    Running { start_time: Wall, cancel: CancellationToken, stop: Option<Stop> },
    Ended(Report),
}

#[derive(Debug)]
pub struct Slots {
    count: usize,
    held: BTreeMap<AttemptId, Held>,
    /// Attempts of which there is something to say on the present link, each at most once.
    unsaid: VecDeque<AttemptId>,
}

impl Slots {
    pub fn new(count: u32) -> Self {
        Self { count: count as usize, held: BTreeMap::new(), unsaid: VecDeque::new() }
    }

    /// Attempts that run.
    pub fn running(&self) -> usize {
        self.held.values().filter(|held| matches!(held, Held::Running { .. })).count()
    }

    /// Attempts that run or have a report.
    pub fn taken(&self) -> usize {
        self.held.len()
    }

    pub fn admit(&mut self, attempt: &AttemptId) -> Admission {
        if self.held.contains_key(attempt) {
            self.say(attempt);
            Admission::Held
        } else if self.held.len() >= self.count {
            Admission::Full
        } else {
            Admission::Free
        }
    }

    /// The attempt runs, and stops when `cancel` is cancelled.
    pub fn start(&mut self, attempt: AttemptId, start_time: Wall, cancel: CancellationToken) {
        self.say(&attempt);
        self.held.insert(attempt, Held::Running { start_time, cancel, stop: None });
    }

    /// The attempt is not started, and is to run elsewhere.
    pub fn give_back(&mut self, attempt: AttemptId) {
        self.say(&attempt);
        self.held.insert(attempt.clone(), Held::Ended(Report::GivenBack { attempt, started: false }));
    }

    /// Stops an attempt, or says again how it ended. False: it is not held.
    pub fn cancel(&mut self, attempt: &AttemptId) -> bool {
        match self.held.get_mut(attempt) {
            None => false,
            Some(Held::Running { cancel, stop, .. }) => {
                *stop = Some(Stop::Cancelled);
                cancel.cancel();
                true
            }
            Some(Held::Ended(_)) => {
                self.say(attempt);
                true
            }
        }
    }

    /// Stops whatever runs; it is to run elsewhere.
    pub fn stop_all(&mut self) {
        for held in self.held.values_mut() {
            if let Held::Running { cancel, stop, .. } = held {
                stop.get_or_insert(Stop::Leaving);
                cancel.cancel();
            }
        }
    }

    /// An attempt has ended. None: it was not running.
    pub fn ended(&mut self, attempt: &AttemptId, ended: Ended) -> Option<&Report> {
        let held = self.held.get_mut(attempt)?;
        let Held::Running { start_time, stop, .. } = held else { return None };
        let (attempt, start_time) = (attempt.clone(), *start_time);
        let report = match (*stop, ended) {
            (Some(Stop::Cancelled), _) => Report::Stopped { attempt },
            // A handler that was interrupted may return anything; running it again is what it was promised.
            (Some(Stop::Leaving), _) | (None, Ended::Aborted) => Report::GivenBack { attempt, started: true },
            (None, Ended::Succeeded(result)) => Report::Succeeded { attempt, start_time, result },
            (None, Ended::Failed(failure)) => Report::Failed { attempt, start_time, failure },
        };
        let attempt = report.attempt().clone();
        *held = Held::Ended(report);
        self.say(&attempt);
        match self.held.get(&attempt) {
            Some(Held::Ended(report)) => Some(report),
            _ => None,
        }
    }

    /// Whatever still runs is taken as ended: nobody waits for it any longer.
    pub fn abandon(&mut self) -> Vec<AttemptId> {
        let running = self.held.iter().filter(|(_, held)| matches!(held, Held::Running { .. }));
        let running: Vec<_> = running.map(|(attempt, _)| attempt.clone()).collect();
        for attempt in &running {
            self.ended(attempt, Ended::Aborted);
        }
        running
    }

    /// The report need not be repeated: the slot is free. An attempt that runs goes on.
    pub fn acknowledge(&mut self, attempt: &AttemptId) {
        if matches!(self.held.get(attempt), Some(Held::Ended(_))) {
            self.held.remove(attempt);
            self.unsaid.retain(|unsaid| unsaid != attempt);
        }
    }

    /// Everything there is to say on a new link, as its hello says it. What does not fit becomes unsaid.
    pub fn introduce(&mut self) -> (Vec<RunningAttempt>, Vec<Report>) {
        self.unsaid.clear();
        let mut room = MAX_HELLO_REPORT_BYTES;
        let (mut running, mut reports) = (Vec::new(), Vec::new());
        for (attempt, held) in &self.held {
            match held {
                Held::Running { start_time, .. } => {
                    running.push(RunningAttempt { attempt: attempt.clone(), start_time: *start_time });
                }
                Held::Ended(report) => match (room.checked_sub(bytes(report)), start_of(report)) {
                    (None, Some(start_time)) => {
                        running.push(RunningAttempt { attempt: attempt.clone(), start_time });
                        self.unsaid.push_back(attempt.clone());
                    }
                    (left, _) => {
                        room = left.unwrap_or_default();
                        reports.push(report.clone());
                    }
                },
            }
        }
        (running, reports)
    }

    /// The next thing to say: that an attempt started or, if it has ended meanwhile, how.
    pub fn next(&mut self) -> Option<Report> {
        let attempt = self.unsaid.pop_front()?;
        match self.held.get(&attempt)? {
            Held::Running { start_time, .. } => Some(Report::Started { attempt, start_time: *start_time }),
            Held::Ended(report) => Some(report.clone()),
        }
    }

    fn say(&mut self, attempt: &AttemptId) {
        if !self.unsaid.contains(attempt) {
            self.unsaid.push_back(attempt.clone());
        }
    }
}

fn bytes(report: &Report) -> usize {
    match report {
        Report::Succeeded { result, .. } => result.len(),
        Report::Failed { failure, .. } => failure.message.len(),
        Report::Started { .. } | Report::Stopped { .. } | Report::GivenBack { .. } => 0,
    }
}

fn start_of(report: &Report) -> Option<Wall> {
    match report {
        Report::Started { start_time, .. }
        | Report::Succeeded { start_time, .. }
        | Report::Failed { start_time, .. } => Some(*start_time),
        Report::Stopped { .. } | Report::GivenBack { .. } => None,
    }
}
