//! The one binary: every role, and the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First: a worker runs this program once more as the guard of each program that it starts.
    herdsman::worker::guard::enter_if_asked();
    herdsman::cli::run()
}
