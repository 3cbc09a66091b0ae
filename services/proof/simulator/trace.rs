//! What happened, in order: every line goes into one hash, and is kept only if somebody wants to read it.

use std::{
    fmt::{self, Write},
    hash::{DefaultHasher, Hasher},
    time::Duration,
};

#[derive(Default)]
pub struct Trace {
    hasher: DefaultHasher,
    count: u64,
    /// None: nobody reads.
    lines: Option<Vec<String>>,
}

impl Trace {
    pub fn new(kept: bool) -> Self {
        Self { lines: kept.then(Vec::new), ..Self::default() }
    }

    pub fn note(&mut self, at: Duration, what: fmt::Arguments<'_>) {
        self.count += 1;
        self.hasher.write_u128(at.as_nanos());
        // A hasher takes everything.
        let _ = Hashed(&mut self.hasher).write_fmt(what);
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>10.4} {what}", at.as_secs_f64()));
        }
    }

    /// The hash of all lines, their number, and the lines if they were kept.
    pub fn finish(self) -> (u64, u64, Vec<String>) {
        (self.hasher.finish(), self.count, self.lines.unwrap_or_default())
    }
}

struct Hashed<'a>(&'a mut DefaultHasher);

impl fmt::Write for Hashed<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}
