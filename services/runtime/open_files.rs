//! How many files and sockets a process may have open at once.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit to what the system allows this process: the usual default of 1,024 is for interactive shells, and a
/// program that a handler runs takes four of them, a connection one. What cannot be raised stays as it is.
pub fn allow_many() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        tracing::warn!(?current, ?maximum, "cannot raise the limit of open files");
    }
}
