//! The stream of calls: as many a second as was asked for, whatever becomes of them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use herdsman::wire::proto::v1::TaskSpec;
use tokio::time::{MissedTickBehavior, interval};

use super::{Workload, voice::Voice};
use crate::proof::evidence::Outcome;

/// Tasks that are remembered, to be asked about, cancelled and submitted again.
const REMEMBERED: usize = 400;
/// Tasks of which watchers by filter follow one in so many.
pub const SHARDS: u64 = 10;
/// The label that says which.
pub const SHARD: &str = "shard";
/// How long a task goes on that does not stop when it is cancelled.
const STUBBORN: Duration = Duration::from_millis(1_200);
/// A bad minute is sat out: an unknown submit is repeated for so long.
const PATIENCE: u32 = 100;

/// Tasks that others follow, the newest last.
#[derive(Debug, Default)]
pub struct Recent(Mutex<VecDeque<(String, TaskSpec)>>);

impl Recent {
    fn remember(&self, id: &str, spec: &TaskSpec) {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_back((id.into(), spec.clone()));
        if recent.len() > REMEMBERED {
            recent.pop_front();
        }
    }

    /// One of the newest so many.
    pub fn pick(&self, newest: usize) -> Option<(String, TaskSpec)> {
        let recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let back = fastrand::usize(..newest.min(recent.len()).max(1));
        recent.iter().rev().nth(back).cloned()
    }
}

/// Makes calls until it is dropped; those that it has begun go on.
pub async fn run(workload: Arc<Workload>, recent: Arc<Recent>, per_second: u32, seed: u64) {
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut ticks = interval(Duration::from_secs(1) / per_second);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        ticks.tick().await;
        // With so many calls unanswered nobody makes more, then or later.
        let Ok(permit) = Arc::clone(&workload.calls).try_acquire_owned() else { continue };
        let voices = workload.voices.clone();
        let first = chance.usize(..voices.len());
        let (workload, recent) = (Arc::clone(&workload), Arc::clone(&recent));
        let (what, new) = (chance.u32(..100), draw(&mut chance));
        tokio::spawn(async move {
            call(&workload, &recent, &voices, first, what, new).await;
            drop(permit);
        });
    }
}

async fn call(workload: &Workload, recent: &Recent, voices: &[Voice], first: usize, what: u32, new: TaskSpec) {
    let voice = &voices[first];
    let known = recent.pick(REMEMBERED);
    match (what, known) {
        (0..5, Some((id, spec))) => drop(voice.submit(&id, &spec).await),
        (5..8, Some((id, spec))) => {
            let other = TaskSpec { priority: Some(spec.priority.map_or(1, |priority| (priority + 1) % 10)), ..spec };
            drop(voice.submit(&id, &other).await);
        }
        (8..13, Some((id, _))) => drop(voice.cancel(&id).await),
        (13..20, Some((id, _))) => drop(voice.get(&id).await),
        (20..23, _) => submit_twice(workload, voices, &new).await,
        (23..26, _) => cancel_what_goes_on(workload, voice).await,
        _ => submit(workload, recent, voices, first, &new).await,
    }
}

/// Twice at once, through two client services.
async fn submit_twice(workload: &Workload, voices: &[Voice], spec: &TaskSpec) {
    let id = workload.new_id("twice");
    futures::future::join_all(voices.iter().map(|voice| voice.submit(&id, spec))).await;
}

/// Cancels a task that does not stop: its attempt comes to its end, and says so, when that is no longer wanted.
async fn cancel_what_goes_on(workload: &Workload, voice: &Voice) {
    let id = workload.new_id("stubborn");
    let payload = STUBBORN.as_millis().to_string();
    if matches!(voice.submit(&id, &super::spec("stubborn", &payload)).await, Outcome::Ok { .. }) {
        tokio::time::sleep(STUBBORN / 2).await;
        voice.cancel(&id).await;
    }
}

/// As a client does that wants its task run: it repeats what it does not know, at another client service each time.
async fn submit(workload: &Workload, recent: &Recent, voices: &[Voice], first: usize, spec: &TaskSpec) {
    let id = workload.new_id("task");
    for voice in voices.iter().cycle().skip(first).take(PATIENCE as usize) {
        match voice.submit(&id, spec).await {
            Outcome::Ok { .. } => {
                recent.remember(&id, spec);
                voice.counts.acknowledged.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Outcome::Refused { .. } => return,
            Outcome::Unknown { .. } => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// A task as they come: mostly short programs, some long ones, some that fail, some with children.
fn draw(chance: &mut fastrand::Rng) -> TaskSpec {
    let (kind, ms) = match chance.u32(..100) {
        0..5 => ("fail", chance.u32(0..50)),
        5..8 => ("parent", chance.u32(0..500)),
        8..11 => ("work", chance.u32(500..3_000)),
        _ => ("work", chance.u32(0..100)),
    };
    let mut spec = super::spec(kind, &format!("{ms} {:016x}", chance.u64(..)));
    spec.labels.insert(SHARD.into(), chance.u64(..SHARDS).to_string());
    // Few, so that nothing waits behind them for long.
    spec.priority = (chance.u32(..100) < 5).then(|| chance.i32(5..10));
    spec.at_most_once = chance.u32(..100) < 3;
    spec
}
