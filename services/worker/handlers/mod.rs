//! The handlers that come with Herdsman: three built in, and programs that a worker's configuration names.

mod builtin;
mod exec;
mod file;
mod output;
mod progress;

pub use exec::{Exec, Template, TemplateError};
pub use file::{LoadError, load};

use super::handler::Handlers;
use crate::domain::Kind;

impl Handlers {
    /// `echo`, `sleep` and `noop`.
    pub fn built_in() -> Self {
        let kind = |name: &str| name.parse::<Kind>().expect("the names of the built-in kinds follow the grammar");
        Self::default()
            .with(kind("echo"), builtin::Echo)
            .with(kind("sleep"), builtin::Sleep)
            .with(kind("noop"), builtin::Noop)
    }
}
