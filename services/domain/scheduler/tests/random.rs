//! Sequences of events that nobody thought of.

use std::time::Duration;

use proptest::prelude::*;

use super::world::{World, spec};
use crate::domain::{Report, TaskState};

#[derive(Debug, Clone)]
enum Step {
    Submit { task: u8, priority: u8, at_most_once: bool },
    Cancel { task: u8 },
    Start { worker: u8 },
    Hello { worker: u8 },
    Cut { worker: u8 },
    Kill { worker: u8 },
    Begin { worker: u8 },
    End { worker: u8, how: u8 },
    Wait { millis: u16 },
    TakeOver,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..12u8, 0..10u8, prop::bool::weighted(0.2))
            .prop_map(|(task, priority, at_most_once)| Step::Submit { task, priority, at_most_once }),
        1 => (0..12u8).prop_map(|task| Step::Cancel { task }),
        2 => (0..3u8).prop_map(|worker| Step::Start { worker }),
        3 => (0..3u8).prop_map(|worker| Step::Hello { worker }),
        2 => (0..3u8).prop_map(|worker| Step::Cut { worker }),
        1 => (0..3u8).prop_map(|worker| Step::Kill { worker }),
        2 => (0..3u8).prop_map(|worker| Step::Begin { worker }),
        5 => (0..3u8, 0..5u8).prop_map(|(worker, how)| Step::End { worker, how }),
        2 => (0..5_000u16).prop_map(|millis| Step::Wait { millis }),
        1 => Just(Step::TakeOver),
    ]
}

fn take(world: &mut World, step: &Step, lives: &mut u8) {
    let name = |worker: u8| format!("w{worker}");
    let exists = |world: &World, worker: u8| world.hands.contains_key(&super::world::worker(&name(worker)));
    match *step {
        Step::Submit { task, priority, at_most_once } => {
            let mut spec = spec("work");
            spec.priority = crate::domain::Priority::new(priority);
            spec.at_most_once = at_most_once;
            world.submit_spec(&format!("t{task}"), spec);
        }
        Step::Cancel { task } => {
            world.cancel(&format!("t{task}"));
        }
        Step::Start { worker } => {
            *lives = lives.wrapping_add(1);
            world.cut(&name(worker));
            world.start(&name(worker), *lives);
        }
        Step::Hello { worker } if exists(world, worker) => {
            world.hello(&name(worker));
        }
        Step::Cut { worker } => world.cut(&name(worker)),
        Step::Kill { worker } => world.kill(&name(worker)),
        Step::Begin { worker } if exists(world, worker) => world.started(&name(worker)),
        Step::End { worker, how } if exists(world, worker) => end(world, &name(worker), how),
        Step::Hello { .. } | Step::Begin { .. } | Step::End { .. } => {}
        Step::Wait { millis } => world.wait(Duration::from_millis(millis.into())),
        Step::TakeOver => world.take_over(),
    }
}

/// The worker's first attempt ends. One that it was told to stop is reported as stopped. Without a link nothing arrives.
fn end(world: &mut World, name: &str, how: u8) {
    let hand = &world.hands[&super::world::worker(name)];
    let Some(attempt) = hand.running.first().cloned().filter(|_| hand.linked) else { return };
    if hand.cancelled.contains(&attempt) {
        return world.report(name, Report::Stopped { attempt });
    }
    match how {
        0 | 1 => world.succeed(name, &attempt),
        2 => world.fail(name, &attempt),
        _ => world.report(name, Report::GivenBack { attempt, started: how == 3 }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn the_invariants_hold_and_everything_ends(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        let mut lives = 0;
        for step in &steps {
            take(&mut world, step, &mut lives);
        }
        // Healing: one fresh worker is enough for everything to end.
        for worker in ["w0", "w1", "w2"] {
            world.kill(worker);
        }
        world.wait(Duration::from_secs(10));
        assert!(world.start("w9", 255));
        for _ in 0..100 {
            while let Some(attempt) = world.hands[&super::world::worker("w9")].running.first().cloned() {
                world.succeed("w9", &attempt);
            }
        }
        for state in [TaskState::Pending, TaskState::Assigned, TaskState::Running] {
            prop_assert_eq!(world.scheduler.count(state), 0);
        }
    }
}
