//! A file of JSON lines: any number of threads append, each line in one write.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    marker::PhantomData,
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result};
use serde::{Serialize, de::DeserializeOwned};

/// Appends lines to a file. A clone writes to the same file.
#[derive(Debug)]
pub struct Lines<T> {
    file: Arc<File>,
    lines: PhantomData<fn(T)>,
}

impl<T> Clone for Lines<T> {
    fn clone(&self) -> Self {
        Self { file: self.file.clone(), lines: PhantomData }
    }
}

impl<T: Serialize> Lines<T> {
    /// Opens the file, which may be there already: then lines are added.
    pub fn append(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("opening {}", path.display()))?;
        Ok(Self { file: Arc::new(file), lines: PhantomData })
    }

    /// The line is in the file when this returns.
    ///
    /// # Panics
    /// It cannot be written: a run whose evidence has holes proves nothing.
    pub fn write(&self, line: &T) {
        let mut text = serde_json::to_vec(line).expect("a line of evidence has a JSON form");
        text.push(b'\n');
        (&*self.file).write_all(&text).expect("evidence can be written");
    }
}

/// Reads all lines of a file.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let lines = BufReader::new(file).lines().enumerate();
    lines
        .map(|(at, line)| {
            let line = line.with_context(|| format!("reading {}", path.display()))?;
            serde_json::from_str(&line).with_context(|| format!("{}:{}: {line}", path.display(), at + 1))
        })
        .collect()
}
