//! The file: where it is, that it is ours alone, that it is whole.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use redb::{
    Builder, Database, DatabaseError, StorageBackend, StorageError,
    backends::{FileBackend, InMemoryBackend},
};

use super::tables::Tables;
use crate::store::StoreError;

const NAME: &str = "herdsman.redb";
/// A file in the making; it gets its name when it is complete, so that a process that dies meanwhile leaves none that
/// cannot be opened.
const NEW_NAME: &str = "herdsman.redb.new";
/// Locked while a process uses the directory.
const LOCK_NAME: &str = "herdsman.lock";

/// Pages kept in memory, in bytes. The leader reads the file once and keeps what it needs itself.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// An open store. The lock is released after the file is closed.
pub(super) struct StoreFile {
    pub(super) tables: Tables,
    _lock: Option<File>,
}

pub(super) fn open(directory: &Path) -> Result<StoreFile, StoreError> {
    let broken = |what: &str, error: io::Error| StoreError::Broken(format!("{what} {}: {error}", directory.display()));
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|error| broken("cannot make", error))?;
    let lock = lock(directory)?;
    let path = directory.join(NAME);
    if !path.try_exists().map_err(|error| broken("cannot look into", error))? {
        create(directory, &path)?;
    }
    let database = open_database(&path, file_backend(&path, false)?)?;
    Ok(StoreFile { tables: Tables::open(database, &path.display().to_string())?, _lock: Some(lock) })
}

pub(super) fn in_memory() -> Result<StoreFile, StoreError> {
    on(InMemoryBackend::new())
}

/// A store on any backend.
pub(super) fn on(backend: impl StorageBackend) -> Result<StoreFile, StoreError> {
    let name = "the store in memory";
    let database = open_database(Path::new(name), backend)?;
    Tables::create(&database).map_err(|error| StoreError::Broken(format!("{name}: {error}")))?;
    Ok(StoreFile { tables: Tables::open(database, name)?, _lock: None })
}

fn lock(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join(LOCK_NAME);
    let cannot = |error: io::Error| StoreError::Broken(format!("cannot lock {}: {error}", path.display()));
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(in_use(directory)),
        Err(TryLockError::Error(error)) => Err(cannot(error)),
    }
}

/// Makes the file and its name durable.
fn create(directory: &Path, path: &Path) -> Result<(), StoreError> {
    let cannot = |error: String| StoreError::Broken(format!("cannot make {}: {error}", path.display()));
    let new = directory.join(NEW_NAME);
    let database = open_database(&new, file_backend(&new, true)?)?;
    Tables::create(&database).map_err(|error| cannot(error.to_string()))?;
    database.close().map_err(|error| cannot(error.to_string()))?;
    std::fs::rename(&new, path).map_err(|error| cannot(error.to_string()))?;
    // The directory may be new itself.
    let above = directory.join("..");
    for parent in [directory, above.as_path()] {
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(|error| cannot(error.to_string()))?;
    }
    Ok(())
}

fn file_backend(path: &Path, new: bool) -> Result<FileBackend, StoreError> {
    let cannot = |error: io::Error| StoreError::Broken(format!("cannot open {}: {error}", path.display()));
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(new).truncate(new).mode(0o600).open(path).map_err(cannot)?;
    // An empty file would be taken for a new store.
    if !new && file.metadata().map_err(cannot)?.len() == 0 {
        return Err(StoreError::Broken(format!("{} is damaged: it is empty", path.display())));
    }
    FileBackend::new(file).map_err(|error| describe(path, &error))
}

/// Checks every page on the way: a file that something else altered must not be found out in the middle of a term.
fn open_database(path: &Path, backend: impl StorageBackend) -> Result<Database, StoreError> {
    Builder::new()
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true)
        .create_with_backend(backend)
        .map_err(|error| describe(path, &error))
}

fn describe(path: &Path, error: &DatabaseError) -> StoreError {
    let shown = path.display();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => in_use(path),
        DatabaseError::Storage(StorageError::Corrupted(problem)) => {
            StoreError::Broken(format!("{shown} is damaged: {problem}"))
        }
        DatabaseError::Storage(StorageError::Io(error))
            if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            StoreError::Broken(format!("{shown} is damaged, or not Herdsman's: {error}"))
        }
        error => StoreError::Broken(format!("cannot open {shown}: {error}")),
    }
}

fn in_use(path: &Path) -> StoreError {
    StoreError::Broken(format!("{} is in use by another process", path.display()))
}
