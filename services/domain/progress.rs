//! How far a running attempt is, in the words of its handler.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use super::Wall;

/// Most bytes of a progress' message and details together: it is held for every running attempt and pushed to everybody
/// who watches, so it is a line for people and a few numbers for programs.
pub const MAX_PROGRESS_BYTES: usize = 2 * 1024;
/// Most details of a progress.
pub const MAX_PROGRESS_DETAILS: usize = 16;

/// A part of a whole, in millionths: exact, and finer than anybody looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fraction(u32);

impl Fraction {
    const WHOLE: u32 = 1_000_000;

    /// None: not a number from 0 to 1.
    pub fn new(value: f64) -> Option<Self> {
        // So many seconds have so many microseconds: the conversion that refuses what is no such number.
        let micros = Duration::try_from_secs_f64(value).ok()?.as_micros();
        u32::try_from(micros).ok().filter(|&millionths| millionths <= Self::WHOLE).map(Self)
    }

    /// From 0 to 1.
    pub fn get(self) -> f64 {
        f64::from(self.0) / f64::from(Self::WHOLE)
    }
}

impl fmt::Display for Fraction {
    /// In whole per cent, rounded down: 100% is all of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0 / (Self::WHOLE / 100))
    }
}

/// How far a running attempt is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Progress {
    pub fraction: Option<Fraction>,
    /// For people.
    pub message: Arc<str>,
    /// For programs.
    pub details: BTreeMap<String, String>,
    /// When the handler said so, by its worker's clock; set by the worker.
    pub update_time: Wall,
}

/// Why something is no progress.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProgress {
    #[error("details: must be at most {MAX_PROGRESS_DETAILS}, are {0}")]
    TooMany(usize),
    #[error("details: a key must not be empty")]
    EmptyKey,
    #[error("message and details must be at most {MAX_PROGRESS_BYTES} bytes together, are {0}")]
    TooLarge(usize),
}

impl Progress {
    /// That so much of the whole is done. What is not from 0 to 1 is taken for the nearer end, what is no number for
    /// nothing said.
    pub fn new(fraction: f64) -> Self {
        Self { fraction: Fraction::new(fraction.clamp(0.0, 1.0)), ..Self::default() }
    }

    /// With a line for people; cut where it is too long.
    #[must_use]
    pub fn message(mut self, message: impl AsRef<str>) -> Self {
        let (message, room) = (message.as_ref(), MAX_PROGRESS_BYTES - details_bytes(&self.details));
        self.message = message[..message.floor_char_boundary(room)].into();
        self
    }

    /// With a value for programs; one that does not fit is left out.
    #[must_use]
    pub fn detail(mut self, key: impl Into<String>, value: impl fmt::Display) -> Self {
        let (key, value) = (key.into(), value.to_string());
        let before = self.details.insert(key.clone(), value);
        if self.check().is_err() {
            match before {
                Some(before) => self.details.insert(key, before),
                None => self.details.remove(&key),
            };
        }
        self
    }

    /// # Errors
    /// It is larger than it may be.
    pub fn check(&self) -> Result<(), InvalidProgress> {
        if self.details.len() > MAX_PROGRESS_DETAILS {
            return Err(InvalidProgress::TooMany(self.details.len()));
        }
        if self.details.contains_key("") {
            return Err(InvalidProgress::EmptyKey);
        }
        let bytes = self.bytes();
        if bytes > MAX_PROGRESS_BYTES { Err(InvalidProgress::TooLarge(bytes)) } else { Ok(()) }
    }

    /// Of its message and its details.
    pub fn bytes(&self) -> usize {
        self.message.len() + details_bytes(&self.details)
    }

    /// Says the same, whenever it was said.
    pub fn says_the_same(&self, other: &Self) -> bool {
        (self.fraction, &self.message, &self.details) == (other.fraction, &other.message, &other.details)
    }
}

fn details_bytes(details: &BTreeMap<String, String>) -> usize {
    details.iter().map(|(key, value)| key.len() + value.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_is_a_number_from_none_to_all() {
        for (value, shown) in [(0.0, "0%"), (0.424_242, "42%"), (0.999_9, "99%"), (1.0, "100%")] {
            let fraction = Fraction::new(value).unwrap();
            assert!((fraction.get() - value).abs() < 1e-6);
            assert_eq!(fraction.to_string(), shown);
        }
        for value in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Fraction::new(value), None);
        }
    }

    #[test]
    fn whatever_a_handler_says_it_is_within_the_bounds() {
        let mut progress = Progress::new(f64::INFINITY).detail("", "").detail("large", "x".repeat(MAX_PROGRESS_BYTES));
        assert_eq!((progress.fraction, progress.details.len()), (Fraction::new(1.0), 0));
        for at in 0..2 * MAX_PROGRESS_DETAILS {
            progress = progress.detail(format!("key-{at}"), at);
        }
        let progress = progress.message("ä".repeat(MAX_PROGRESS_BYTES)).detail("key-0", "x".repeat(100));
        assert_eq!(progress.check(), Ok(()));
        assert_eq!((progress.details.len(), progress.details["key-0"].as_str()), (MAX_PROGRESS_DETAILS, "0"));
        assert_eq!(Progress::new(f64::NAN).fraction, None);
    }
}
