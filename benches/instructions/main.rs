//! Steps of the scheduler on top of so many live tasks, for tests/instructions, which counts their instructions:
//!
//!     instructions TASKS

#[allow(dead_code, unused_imports, reason = "the crate has the rest of it")]
#[path = "../../services/domain/mod.rs"]
mod domain;
#[path = "../live.rs"]
mod live;

use live::{Live, STEPS};

/// Enough that one that grows a table weighs little, few enough to be done at once.
const LIVES: u32 = 500;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, tasks] = arguments.as_slice() else { panic!("usage: instructions TASKS") };
    let mut live = Live::with(tasks.parse().expect("a number"));
    counted(&mut live);
    println!("{}", LIVES * STEPS);
    // Freeing a million tasks takes its time, too, and is of no interest.
    std::mem::forget(live);
}

/// What is counted is this function, by its name: making a million tasks is not.
#[inline(never)]
fn counted(live: &mut Live) {
    for _ in 0..LIVES {
        live.life();
    }
}
