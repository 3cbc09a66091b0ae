//! Users: they submit, again if they do not know, cancel, ask, and watch; some read slowly, some not at all for a long time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Sim,
    cluster::{Front, KIND},
    work::Plan,
};
use crate::{
    client::simulated::{AskError, Target, Update},
    domain::{Answer, Call, Policy, Refusal, RetryPolicy, Revision, TaskFilter, TaskId, TaskSpec, Timeouts},
};

/// Between two attempts of a user that was told to try again.
const RETRY: Duration = Duration::from_millis(200);
/// How often a user asks again before it gives up.
const ATTEMPTS: u32 = 6;
/// How long a task takes at most: what is left when all is well again has to fit into the time that it has.
const LONGEST: u64 = 1_500;

/// How a watcher reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    AtOnce,
    Slowly(Duration),
    /// Not before everything is well again.
    Late,
}

#[derive(Clone)]
pub struct Users {
    sim: Sim,
    fronts: Arc<[Front]>,
    /// Watchers that wait for the end of a task.
    waiting: Arc<AtomicU32>,
    well: Instant,
}

impl Users {
    /// `well` is when everything is well again.
    pub fn new(sim: Sim, fronts: Vec<Front>, well: Instant) -> Self {
        Self { sim, fronts: fronts.into(), waiting: Arc::default(), well }
    }

    /// Begins to submit; the last is submitted before `until`.
    pub fn start(&self, until: Duration) {
        let tasks = self.sim.chance(|chance| chance.usize(15..40));
        for number in 0..tasks {
            let at = self.sim.millis(300..u64::try_from(until.as_millis()).unwrap_or(u64::MAX));
            tokio::spawn(self.clone().use_one(number, at));
        }
        for front in self.fronts.iter() {
            let reading = self.reading();
            tokio::spawn(self.clone().watch_all(front.clone(), reading));
        }
    }

    /// Watchers that were not told the end of an acknowledged task.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    async fn use_one(self, number: usize, at: Duration) {
        let id: TaskId = format!("t{number}").parse().expect("a good id");
        let spec = Arc::new(self.spec());
        sleep(at).await;
        if self.sim.one_in(5) {
            tokio::spawn(self.clone().submit_twice(id.clone(), spec.clone()));
        }
        if self.sim.one_in(20) {
            let other = Arc::new(TaskSpec::new(KIND.parse().expect("a good name"), b"succeed 7"));
            tokio::spawn(self.clone().submit_twice(id.clone(), other));
        }
        if self.sim.one_in(12) {
            // Perhaps before it is there.
            tokio::spawn(self.clone().ask_later(Call::Cancel { task_id: id.clone() }));
        }
        if !self.submit(&id, &spec).await {
            return;
        }
        for _ in 0..self.sim.chance(|chance| chance.usize(0..3)) {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(self.clone().watch_one(id.clone()));
        }
        if self.sim.one_in(7) {
            tokio::spawn(self.clone().ask_later(Call::Cancel { task_id: id.clone() }));
        }
        for _ in 0..self.sim.chance(|chance| chance.usize(0..4)) {
            tokio::spawn(self.clone().ask_later(Call::Get { task_id: id.clone() }));
        }
    }

    fn spec(&self) -> TaskSpec {
        let time =
            self.sim.chance(|chance| if chance.u8(..4) == 0 { chance.u64(500..LONGEST) } else { chance.u64(1..200) });
        let time = Duration::from_millis(time);
        let plan = match self.sim.chance(|chance| chance.u8(..30)) {
            0 => Plan::Kill(time.min(Duration::from_millis(50))),
            1..4 => Plan::Fail(time),
            _ => Plan::Succeed(time),
        };
        let mut spec = TaskSpec::new(KIND.parse().expect("a good name"), &plan.payload());
        spec.at_most_once = self.sim.one_in(6);
        spec.policy = self.policy(spec.at_most_once).map(Box::new);
        spec
    }

    /// Of one task in three; the times are about as long as those of the work, the outages and the takeovers.
    fn policy(&self, at_most_once: bool) -> Option<Policy> {
        let time = |longest: u64| self.sim.one_in(2).then(|| self.sim.millis(1..longest));
        let retry = RetryPolicy {
            max_attempts: if at_most_once { 1 } else { self.sim.chance(|chance| chance.u32(1..4)) },
            initial_backoff: Some(self.sim.millis(1..500)),
            backoff_multiplier: None,
            max_backoff: None,
            final_exit_statuses: None,
        };
        // The whole has room for each part.
        let schedule_to_close = time(10_000).map(|limit| limit + Duration::from_secs(10));
        let timeouts = Timeouts {
            schedule_to_start: time(10_000),
            start_to_close: time(LONGEST),
            schedule_to_close,
            heartbeat: None,
        };
        let policy = Policy { retry: Some(retry), timeouts: Some(timeouts), not_before: None, delay: time(2_000) };
        self.sim.one_in(3).then_some(policy)
    }

    /// True: it is acknowledged. Who does not know asks again, under the same id.
    async fn submit(&self, id: &TaskId, spec: &Arc<TaskSpec>) -> bool {
        for _ in 0..ATTEMPTS {
            let time_left = self.sim.millis(2_000..20_000);
            let call = Call::Submit { task_id: id.clone(), spec: spec.clone(), traceparent: None, time_left };
            match self.ask(call, time_left).await {
                Ok(Answer::Task(_)) => return true,
                Ok(Answer::Refused(Refusal::TaskExists)) => return false,
                _ => sleep(RETRY).await,
            }
        }
        false
    }

    async fn submit_twice(self, id: TaskId, spec: Arc<TaskSpec>) {
        sleep(self.sim.millis(0..400)).await;
        self.submit(&id, &spec).await;
    }

    async fn ask_later(self, call: Call) {
        sleep(self.sim.millis(0..3_000)).await;
        // An unknown outcome is left unknown.
        let _ = self.ask(call, self.sim.millis(1_000..10_000)).await;
    }

    async fn ask(&self, call: Call, limit: Duration) -> Result<Answer, AskError> {
        let front = self.front();
        let asked = self.sim.oracle(|oracle| oracle.asks(&call));
        let answer = front.link.ask(call, Instant::now() + limit).await;
        if let Err(error) = &answer {
            self.sim.note(format_args!("{} could not answer: {error}", front.host));
        }
        if let Some(asked) = asked {
            self.sim.oracle(|oracle| oracle.answered(&asked, &answer));
        }
        answer
    }

    fn front(&self) -> Front {
        self.fronts[self.sim.chance(|chance| chance.usize(..self.fronts.len()))].clone()
    }

    fn reading(&self) -> Reading {
        match self.sim.chance(|chance| chance.u8(..6)) {
            0 => Reading::Late,
            1 => Reading::Slowly(self.sim.millis(200..1_500)),
            _ => Reading::AtOnce,
        }
    }

    /// Watches one task to its end, by as many streams as that takes.
    async fn watch_one(self, id: TaskId) {
        let reading = self.reading();
        let mut after = Revision(0);
        loop {
            let target = Target::Ids([id.clone()].into());
            let ended = self.read(&self.front(), target, reading, &mut after).await;
            if ended {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                return;
            }
            sleep(RETRY).await;
        }
    }

    /// Watches everything through one client service, for ever.
    async fn watch_all(self, front: Front, reading: Reading) {
        let mut after = Revision(0);
        loop {
            self.read(&front, Target::Filter(TaskFilter::default()), reading, &mut after).await;
            sleep(RETRY).await;
        }
    }

    /// Reads one stream. True: it has told a task's end, and ended.
    async fn read(&self, front: &Front, target: Target, reading: Reading, after: &mut Revision) -> bool {
        let (one, age) = (matches!(target, Target::Ids(_)), self.sim.millis(3_000..60_000));
        let Ok(mut watch) = front.hub.watch(target, *after, age).await else { return false };
        let stream = self.sim.oracle(|oracle| oracle.opens(front.host));
        if reading == Reading::Late {
            sleep_until(self.well).await;
        }
        let mut ended = false;
        while let Some(next) = watch.next().await {
            match next {
                Ok(update) => {
                    self.tell(stream, &update);
                    *after = update.resume.max(*after);
                    ended |= one && update.task.state.is_terminal();
                }
                Err(error) => {
                    self.sim.note(format_args!("stream {stream} failed: {error:?}"));
                    return false;
                }
            }
            if let Reading::Slowly(pause) = reading
                && Instant::now() < self.well
            {
                sleep(pause).await;
            }
        }
        ended
    }

    fn tell(&self, stream: u64, update: &Update) {
        let Update { task, skipped, .. } = update;
        let (id, state, revision) = (&task.id, task.state, task.revision.0);
        self.sim.note(format_args!("stream {stream}: {id} {state:?} revision {revision:x}, skipped {skipped}"));
        self.sim.oracle(|oracle| oracle.tells(stream, update));
    }
}
