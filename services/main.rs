//! The one binary: every role, and the command line.

use std::process::ExitCode;

/// Tasks are many small pieces that one thread makes and another drops: what the C library's allocator spends most on.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First: a worker runs this program once more as the guard of each program that it starts.
    herdsman::worker::guard::enter_if_asked();
    herdsman::cli::run()
}
