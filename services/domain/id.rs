//! Identifiers, valid by construction.

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, LazyLock},
};

/// Longest id or name, in bytes.
pub const MAX_ID_BYTES: usize = 63;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    #[error("must not be empty")]
    Empty,
    #[error("must be at most {MAX_ID_BYTES} bytes, is {0}")]
    TooLong(usize),
    #[error("must match [a-z0-9][a-z0-9._-]*, has {0:?} at byte {1}")]
    Character(char, usize),
}

/// The one grammar of every id and name: `[a-z0-9][a-z0-9._-]{0,62}`. It is safe as a znode name, as a file name and in
/// a URL, and `@` and upper case stay free for Herdsman's own nodes.
fn check(text: &str) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty);
    }
    if text.len() > MAX_ID_BYTES {
        return Err(InvalidId::TooLong(text.len()));
    }
    let allowed = |at: usize, byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || (at > 0 && matches!(byte, b'.' | b'_' | b'-'))
    };
    // A character that is more than one byte has none that is allowed.
    match text.bytes().enumerate().position(|(at, byte)| !allowed(at, byte)) {
        Some(at) => Err(InvalidId::Character(text[at..].chars().next().unwrap_or_default(), at)),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name!(
    /// Names a task; chosen by the submitter it is the idempotency key.
    TaskId
);
name!(
    /// The name of the handler that runs a task.
    Kind
);
name!(
    /// A named line of tasks.
    QueueName
);
name!(
    /// Names a worker across the lives of its process.
    WorkerId
);

impl TaskId {
    /// The id of a retry that is given none: `.r1` after this one, or one more if this one ends so. The same each time, so
    /// that a retry that is asked for twice is one.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn of_retry(&self) -> Result<Self, InvalidId> {
        let numbered =
            self.as_str().rsplit_once(".r").filter(|(base, digits)| !base.is_empty() && !digits.starts_with('0'));
        let (base, number) = numbered
            .and_then(|(base, digits)| Some((base, digits.parse::<u32>().ok()?.checked_add(1)?)))
            .unwrap_or((self.as_str(), 1));
        format!("{base}.r{number}").parse()
    }
}

impl QueueName {
    /// The queue of the tasks that name none. Most tasks are in it: one text for all of them.
    pub fn of_most() -> &'static Self {
        static DEFAULT: LazyLock<QueueName> = LazyLock::new(|| QueueName("default".into()));
        &DEFAULT
    }
}

impl Default for QueueName {
    fn default() -> Self {
        Self::of_most().clone()
    }
}

/// One life of a worker's process: a UUID, fresh at each start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub [u8; 16]);

impl fmt::Display for Incarnation {
    /// The usual form of a UUID.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The number of a leadership; strictly grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Term(pub u64);

impl Term {
    /// The last whose revisions fit: 24 bits of 64, a leadership a second for half a year.
    pub const HIGHEST: Self = Self((1 << (u64::BITS - Revision::COUNTER_BITS)) - 1);
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The version of a task as watchers see it: strictly grows, across failovers too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl Revision {
    /// Changes that one term can number: 2^40 is 35 years of 1,000 changes a second.
    const COUNTER_BITS: u32 = 40;

    /// The last revision before anything that `term` does.
    pub fn start_of(term: Term) -> Self {
        Self(term.0 << Self::COUNTER_BITS)
    }

    pub fn term(self) -> Term {
        Term(self.0 >> Self::COUNTER_BITS)
    }

    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The revision at which an attempt was assigned: the token that lets other systems refuse a stale attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fence(pub u64);

impl From<Revision> for Fence {
    fn from(revision: Revision) -> Self {
        Self(revision.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_grammar() {
        for good in ["a", "0", "a.b_c-d", &"x".repeat(63)] {
            assert!(good.parse::<TaskId>().is_ok(), "{good}");
        }
        for bad in ["", "../x", ".a", "-a", "A", "a/b", "a\0", "ä", "a b", &"x".repeat(64)] {
            assert!(bad.parse::<TaskId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_id_of_a_retry_counts_on() {
        for (id, retry) in
            [("a", "a.r1"), ("a.r1", "a.r2"), ("a.r9", "a.r10"), ("a.r01", "a.r01.r1"), ("a.red", "a.red.r1")]
        {
            assert_eq!(id.parse::<TaskId>().unwrap().of_retry().unwrap().as_str(), retry);
        }
        assert_eq!("x".repeat(61).parse::<TaskId>().unwrap().of_retry(), Err(InvalidId::TooLong(64)));
    }

    #[test]
    fn a_later_term_has_the_higher_revisions() {
        let late_in_one = Revision(Revision::start_of(Term(1)).0 + (1 << 39));
        assert!(Revision::start_of(Term(2)).next() > late_in_one);
        assert_eq!(late_in_one.term(), Term(1));
    }
}
