//! The one binary: every role, and the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    herdsman::cli::run()
}
