//! Where handlers leave what they say of attempts that run, for the crew to take from. Nobody waits for anybody: what is
//! said again before it was taken replaces what was said before, so that a handler may say as much as it likes, and what
//! is kept is bounded by the attempts that run.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use prometheus_client::metrics::counter::Counter;
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};

use super::{
    logs::{Log, Logs},
    patience::Pulse,
};
use crate::domain::{AttemptId, Fence, Progress, TaskId};

#[derive(Debug, Default)]
pub struct Desk {
    pub logs: Logs,
    left: Mutex<Left>,
    /// Something was left since the last time that all was taken.
    any: AtomicBool,
    /// The same of questions.
    asked: AtomicBool,
    called: Notify,
    /// Progress that could not be read, or was too large.
    invalid: Counter,
}

#[derive(Debug, Default)]
struct Left {
    /// What was said last of each attempt; None: only that it is alive.
    said: BTreeMap<AttemptId, Option<Progress>>,
    /// No more than outputs are read at once.
    questions: Vec<Question>,
}

/// Somebody wants to read the log of an attempt of which none is known: it may run, and have written nothing.
#[derive(Debug)]
pub struct Question {
    pub task_id: TaskId,
    pub attempt: u32,
    /// None: whichever.
    pub fence: Option<Fence>,
    /// None: it does not run here.
    pub answer: oneshot::Sender<Option<Arc<Log>>>,
}

impl Desk {
    pub fn new(invalid: Counter) -> Self {
        Self { invalid, ..Self::default() }
    }

    fn leave(&self, attempt: &AttemptId, said: Option<Progress>) {
        let mut left = self.lock();
        match left.said.get_mut(attempt) {
            // That it is alive follows from the other, too.
            Some(before) => *before = said.or(before.take()),
            None => _ = left.said.insert(attempt.clone(), said),
        }
        let first = !self.any.swap(true, Ordering::AcqRel);
        drop(left);
        if first {
            self.called.notify_one();
        }
    }

    pub fn ask(&self, question: Question) {
        let mut left = self.lock();
        left.questions.push(question);
        self.asked.store(true, Ordering::Release);
        drop(left);
        self.called.notify_one();
    }

    /// Resolves when something was asked, or was left, the latter at `earliest` at the earliest. May be dropped and called
    /// again at any time.
    pub async fn called(&self, earliest: Instant) {
        while !self.asked.load(Ordering::Acquire) {
            if self.any.load(Ordering::Acquire) {
                tokio::select! {
                    () = sleep_until(earliest) => return,
                    () = self.called.notified() => {}
                }
            } else {
                self.called.notified().await;
            }
        }
    }

    /// Takes all that was left.
    pub fn take(&self) -> BTreeMap<AttemptId, Option<Progress>> {
        let mut left = self.lock();
        self.any.store(false, Ordering::Release);
        std::mem::take(&mut left.said)
    }

    /// Takes all that was asked.
    pub fn take_questions(&self) -> Vec<Question> {
        let mut left = self.lock();
        self.asked.store(false, Ordering::Release);
        std::mem::take(&mut left.questions)
    }

    #[cfg(test)]
    pub fn invalid(&self) -> u64 {
        self.invalid.get()
    }

    fn lock(&self) -> MutexGuard<'_, Left> {
        // A map is whole between its methods, even if one panicked.
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt's way to say how it is going. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reporter {
    attempt: AttemptId,
    desk: Arc<Desk>,
    /// Of an attempt that must not be silent for long.
    pulse: Option<Pulse>,
}

impl Reporter {
    pub(super) fn new(attempt: AttemptId, desk: Arc<Desk>, pulse: Option<Pulse>) -> Self {
        Self { attempt, desk, pulse }
    }

    /// For an attempt outside a worker, as in a test of a handler: nobody takes what is said.
    pub fn detached(attempt: AttemptId) -> Self {
        Self::new(attempt, Arc::default(), None)
    }

    pub(super) fn progress(&self, progress: Progress) {
        let fits = progress.check().is_ok();
        if !fits {
            self.invalid();
        }
        self.leave(Some(progress).filter(|_| fits));
    }

    pub(super) fn alive(&self) {
        self.leave(None);
    }

    fn leave(&self, said: Option<Progress>) {
        if let Some(pulse) = &self.pulse {
            pulse.beat();
        }
        self.desk.leave(&self.attempt, said);
    }

    /// Its log.
    pub(super) fn log(&self) -> Arc<Log> {
        self.desk.logs.open(&self.attempt)
    }

    /// A line that should have been progress could not be read.
    pub(super) fn invalid(&self) {
        self.desk.invalid.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Fence;

    #[tokio::test]
    async fn what_is_said_later_stands_for_what_was_said_before() {
        let desk = Arc::new(Desk::default());
        let attempts = ["a", "b"].map(|id| AttemptId { task_id: id.parse().unwrap(), attempt: 1, fence: Fence(1) });
        let [a, b] = attempts.clone().map(|attempt| Reporter::new(attempt, desk.clone(), None));
        for percent in 0..=100 {
            a.progress(Progress::new(f64::from(percent) / 100.0));
        }
        a.alive();
        b.alive();
        desk.called(Instant::now()).await;
        let [a, b] = attempts;
        assert_eq!(desk.take(), [(a, Some(Progress::new(1.0))), (b, None)].into());
        assert!(desk.take().is_empty());
    }
}
