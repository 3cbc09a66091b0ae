//! What a worker holds: attempts that run, and reports that nobody acknowledged. A slot is taken from the moment an
//! attempt is accepted until its last report is acknowledged, so that the leader's count of slots and the worker's
//! agree, and what is kept is bounded by the number of slots.
//!
//! No clock, no task, no link in here: only what follows from what.

use std::{collections::BTreeMap, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::executor::Ended;
use crate::domain::{AttemptId, Fence, Progress, Report, RunningAttempt, TaskId, Wall};

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

/// What the leader of the present link does not know of a running attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    None,
    /// Its handler is alive.
    Alive,
    /// Its handler has said how far it is.
    Progress,
}

#[derive(Debug)]
struct Running {
    start_time: Wall,
    cancel: CancellationToken,
    stop: Option<Stop>,
    /// The leader of the present link was told that it started.
    start_said: bool,
    /// The last that its handler said.
    progress: Option<Arc<Progress>>,
    news: News,
}

#[derive(Debug)]
enum Stage {
    Running(Running),
    Ended(Report),
}

#[derive(Debug)]
struct Held {
    stage: Stage,
    /// Its place among the unsaid.
    unsaid: Option<u64>,
}

#[derive(Debug)]
pub struct Slots {
    count: usize,
    held: BTreeMap<AttemptId, Held>,
    running: usize,
    /// Attempts of which there is something to say on the present link, each at most once, in the order of its coming up.
    unsaid: BTreeMap<u64, AttemptId>,
    next_unsaid: u64,
}

impl Slots {
    pub fn new(count: u32) -> Self {
        Self { count: count as usize, held: BTreeMap::new(), running: 0, unsaid: BTreeMap::new(), next_unsaid: 0 }
    }

    /// Attempts that run.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Attempts that run or have a report.
    pub fn taken(&self) -> usize {
        self.held.len()
    }

    pub fn admit(&mut self, attempt: &AttemptId) -> Admission {
        if let Some(held) = self.held.get_mut(attempt) {
            if let Stage::Running(running) = &mut held.stage {
                running.start_said = false;
            }
            self.say(attempt);
            Admission::Held
        } else if self.held.len() >= self.count {
            Admission::Full
        } else {
            Admission::Free
        }
    }

    /// The attempt runs, and stops when `cancel` is cancelled.
    pub fn start(&mut self, attempt: &AttemptId, start_time: Wall, cancel: CancellationToken) {
        self.running += 1;
        let (stop, start_said, progress, news) = (None, false, None, News::None);
        self.hold(attempt, Stage::Running(Running { start_time, cancel, stop, start_said, progress, news }));
    }

    /// The attempt is not started, and is to run elsewhere.
    pub fn give_back(&mut self, attempt: &AttemptId) {
        let report = Report::GivenBack { attempt: attempt.clone(), started: false };
        self.hold(attempt, Stage::Ended(report));
    }

    fn hold(&mut self, attempt: &AttemptId, stage: Stage) {
        self.held.insert(attempt.clone(), Held { stage, unsaid: None });
        self.say(attempt);
    }

    /// Stops an attempt, or says again how it ended. False: it is not held.
    pub fn cancel(&mut self, attempt: &AttemptId) -> bool {
        match self.held.get_mut(attempt).map(|held| &mut held.stage) {
            None => false,
            Some(Stage::Running(running)) => {
                running.stop = Some(Stop::Cancelled);
                running.cancel.cancel();
                true
            }
            Some(Stage::Ended(_)) => {
                self.say(attempt);
                true
            }
        }
    }

    /// Stops whatever runs; it is to run elsewhere.
    pub fn stop_all(&mut self) {
        for held in self.held.values_mut() {
            if let Stage::Running(running) = &mut held.stage {
                running.stop.get_or_insert(Stop::Leaving);
                running.cancel.cancel();
            }
        }
    }

    /// The attempt of this number that runs; without a fence the newest. Looks at all.
    pub fn running_attempt(&self, task_id: &TaskId, attempt: u32, fence: Option<Fence>) -> Option<&AttemptId> {
        let runs = |(id, held): &(&AttemptId, &Held)| {
            id.is(task_id, attempt, fence) && matches!(held.stage, Stage::Running(_))
        };
        self.held.iter().rev().find(runs).map(|(id, _)| id)
    }

    /// The handler of an attempt is alive, and may have said how far it is. Of no interest once it is to stop.
    pub fn progress(&mut self, attempt: &AttemptId, said: Option<Progress>) {
        let Some(Held { stage: Stage::Running(running), .. }) = self.held.get_mut(attempt) else { return };
        if running.stop.is_some() {
            return;
        }
        let new = said.filter(|said| running.progress.as_ref().is_none_or(|before| !before.says_the_same(said)));
        match new {
            Some(progress) => {
                running.progress = Some(Arc::new(progress));
                running.news = News::Progress;
            }
            None if running.news == News::None => running.news = News::Alive,
            None => {}
        }
        self.say(attempt);
    }

    /// An attempt has ended. None: it was not running.
    pub fn ended(&mut self, attempt: &AttemptId, ended: Ended) -> Option<&Report> {
        let held = self.held.get_mut(attempt)?;
        let Stage::Running(Running { start_time, stop, .. }) = held.stage else { return None };
        let id = attempt.clone();
        held.stage = Stage::Ended(match (stop, ended) {
            (Some(Stop::Cancelled), _) => Report::Stopped { attempt: id },
            // A handler that was interrupted may return anything; running it again is what it was promised.
            (Some(Stop::Leaving), _) | (None, Ended::Aborted) => Report::GivenBack { attempt: id, started: true },
            (None, Ended::Succeeded(result)) => Report::Succeeded { attempt: id, start_time, result },
            (None, Ended::Failed(failure)) => Report::Failed { attempt: id, start_time, failure },
        });
        self.running -= 1;
        self.say(attempt);
        match &self.held.get(attempt)?.stage {
            Stage::Ended(report) => Some(report),
            Stage::Running(_) => None,
        }
    }

    /// Whatever still runs is taken as ended: nobody waits for it any longer.
    pub fn abandon(&mut self) -> Vec<AttemptId> {
        let running = self.held.iter().filter(|(_, held)| matches!(held.stage, Stage::Running(_)));
        let running: Vec<_> = running.map(|(attempt, _)| attempt.clone()).collect();
        for attempt in &running {
            self.ended(attempt, Ended::Aborted);
        }
        running
    }

    /// The report need not be repeated: the slot is free. An attempt that runs goes on.
    pub fn acknowledge(&mut self, attempt: &AttemptId) {
        if let Some(Held { stage: Stage::Ended(_), unsaid, .. }) = self.held.get(attempt) {
            if let Some(place) = unsaid {
                self.unsaid.remove(place);
            }
            self.held.remove(attempt);
        }
    }

    /// Everything there is to say on a new link, as its hello says it. What does not fit becomes unsaid.
    pub fn introduce(&mut self) -> (Vec<RunningAttempt>, Vec<Report>) {
        self.unsaid.clear();
        let mut room = MAX_HELLO_REPORT_BYTES;
        let (mut running, mut reports, mut late) = (Vec::new(), Vec::new(), Vec::new());
        for (attempt, held) in &mut self.held {
            held.unsaid = None;
            match &mut held.stage {
                Stage::Running(held) => {
                    (held.start_said, held.news) = (true, News::None);
                    let (start_time, progress) = (held.start_time, held.progress.clone());
                    running.push(RunningAttempt { attempt: attempt.clone(), start_time, progress });
                }
                Stage::Ended(report) => match (room.checked_sub(bytes(report)), start_of(report)) {
                    (None, Some(start_time)) => {
                        running.push(RunningAttempt { attempt: attempt.clone(), start_time, progress: None });
                        late.push(attempt.clone());
                    }
                    (left, _) => {
                        room = left.unwrap_or_default();
                        reports.push(report.clone());
                    }
                },
            }
        }
        for attempt in late {
            self.say(&attempt);
        }
        (running, reports)
    }

    /// The next thing to say: that an attempt started, how far it is or, if it has ended meanwhile, how.
    pub fn next(&mut self) -> Option<Report> {
        while let Some((_, attempt)) = self.unsaid.pop_first() {
            let Some(held) = self.held.get_mut(&attempt) else { continue };
            held.unsaid = None;
            match &mut held.stage {
                Stage::Running(running) if !running.start_said => {
                    running.start_said = true;
                    let start_time = running.start_time;
                    if running.news != News::None {
                        self.say(&attempt);
                    }
                    return Some(Report::Started { attempt, start_time });
                }
                Stage::Running(running) => {
                    let news = std::mem::replace(&mut running.news, News::None);
                    let progress = running.progress.clone().filter(|_| news == News::Progress);
                    return Some(Report::Progress { attempt, progress });
                }
                Stage::Ended(report) => return Some(report.clone()),
            }
        }
        None
    }

    fn say(&mut self, attempt: &AttemptId) {
        let Some(held) = self.held.get_mut(attempt).filter(|held| held.unsaid.is_none()) else { return };
        held.unsaid = Some(self.next_unsaid);
        self.unsaid.insert(self.next_unsaid, attempt.clone());
        self.next_unsaid += 1;
    }
}

fn bytes(report: &Report) -> usize {
    match report {
        Report::Succeeded { result, .. } => result.len(),
        Report::Failed { failure, .. } => failure.message.len(),
        Report::Started { .. } | Report::Progress { .. } | Report::Stopped { .. } | Report::GivenBack { .. } => 0,
    }
}

fn start_of(report: &Report) -> Option<Wall> {
    match report {
        Report::Started { start_time, .. }
        | Report::Succeeded { start_time, .. }
        | Report::Failed { start_time, .. } => Some(*start_time),
        Report::Progress { .. } | Report::Stopped { .. } | Report::GivenBack { .. } => None,
    }
}

#[cfg(test)]
mod tests;
