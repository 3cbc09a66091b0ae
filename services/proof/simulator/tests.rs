//! Thousands of simulations, and that one seed is one simulation.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use super::{Outcome, Sights, simulate};

/// How many seeds there are for whoever names no number, and the first of them.
const SEEDS: u64 = 2_000;
const FIRST: u64 = 1;
/// How the script that runs this says what it wants.
const ENV_SEEDS: &str = "HERDSMAN_SIMULATE_SEEDS";
const ENV_FROM: &str = "HERDSMAN_SIMULATE_FROM";
const ENV_SEED: &str = "HERDSMAN_SIMULATE_SEED";
/// How often a long run says how far it is, in seeds.
const PROGRESS: u64 = 500;
/// So many seeds that fail are enough to look at.
const MOST_FAILED: usize = 8;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text:?}")))
}

#[test]
fn the_same_seed_is_the_same_simulation_and_another_one_is_another() {
    let [one, again, other] = [7, 7, 8].map(|seed| simulate(seed, true));
    for (at, (one, again)) in one.lines.iter().zip(&again.lines).enumerate() {
        assert_eq!(one, again, "line {at} of {} and {}", one.len(), again.len());
    }
    assert_eq!(one, again);
    assert_ne!(one.hash, other.hash);
    assert!(one.events > 500, "{} events are no life of a cluster", one.events);
}

#[test]
fn nothing_is_lost_and_nothing_ends_twice_in_thousands_of_bad_days() {
    if let Some(seed) = number(ENV_SEED) {
        return replay(seed);
    }
    let (first, seeds) = (number(ENV_FROM).unwrap_or(FIRST), number(ENV_SEEDS).unwrap_or(SEEDS));
    let next = AtomicU64::new(first);
    let (start, sum) = (Instant::now(), Mutex::new((Sights::default(), 0)));
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, Into::into) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds || lock(&failed).len() >= MOST_FAILED {
                        return;
                    }
                    let outcome = simulate(seed, false);
                    let mut sum = lock(&sum);
                    sum.0.add(&outcome.sights);
                    sum.1 += outcome.events;
                    drop(sum);
                    if (seed - first + 1).is_multiple_of(PROGRESS) {
                        println!("{} seeds in {:.0?}", seed - first + 1, start.elapsed());
                    }
                    if !outcome.violations.is_empty() {
                        lock(&failed).push(outcome);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    for Outcome { seed, violations, .. } in &failed {
        println!("seed {seed} fails; replay it with: tests/simulate --seed {seed}\n  {}", violations.join("\n  "));
    }
    assert!(failed.is_empty(), "seeds that fail: {:?}", failed.iter().map(|outcome| outcome.seed).collect::<Vec<_>>());
    let (mut sights, events) = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{seeds} seeds from {first}, {events} events, in {:.1?}:", start.elapsed());
    let sights = sights.by_name();
    for (name, times) in &sights {
        println!("  {name}: {times}");
    }
    let never: Vec<_> = sights.iter().filter(|(_, times)| **times == 0).map(|(name, _)| *name).collect();
    assert!(never.is_empty() || seeds < SEEDS, "no simulation met these, so that nothing is proved: {never:?}");
}

fn replay(seed: u64) {
    let outcome = simulate(seed, true);
    outcome.lines.iter().for_each(|line| println!("{line}"));
    println!("seed {seed}: {} events, hash {:016x}", outcome.events, outcome.hash);
    assert!(outcome.violations.is_empty(), "seed {seed}:\n  {}", outcome.violations.join("\n  "));
}
