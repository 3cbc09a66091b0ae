//! One write of several operations, all or none. Every operation on an existing node says which version it expects:
//! nothing here passes by accident.

use zookeeper_client::{Acls, Client, CreateMode, Error, MultiWriteError, MultiWriter};

/// The version of a node's data. ZooKeeper counts in 32 bits and wraps around; −1 stands for any version in its
/// protocol and can therefore never be expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version(i32);

impl Version {
    /// None: a node at −1 cannot be named by its version.
    pub fn new(version: i32) -> Option<Self> {
        (version != -1).then_some(Self(version))
    }

    /// The version after one more write.
    pub fn next(self) -> Option<Self> {
        Self::new(self.0.wrapping_add(1))
    }
}

/// What an operation asks of the node that it touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Expect {
    Version(Version),
    /// Whatever it is, if it is there; the fence and the chain of the request already say that nobody else writes.
    Present,
}

impl Expect {
    fn raw(self) -> i32 {
        match self {
            Self::Version(Version(version)) => version,
            Self::Present => -1,
        }
    }
}

/// Why a write is not known to have happened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MultiError {
    /// It did not happen: ZooKeeper refused the operation on this node.
    #[error("{path}: {error}")]
    Refused { path: String, error: Error },
    /// Nobody knows.
    #[error("{0}")]
    Unknown(Error),
}

/// What one write is put together of, wherever it goes.
pub trait Operations {
    /// # Errors
    /// The path is none, or the operation cannot be encoded; likewise below.
    fn check(&mut self, path: String, expect: Expect) -> Result<(), Error>;
    fn create(&mut self, path: String, data: &[u8], mode: CreateMode) -> Result<(), Error>;
    fn set(&mut self, path: String, data: &[u8], expect: Expect) -> Result<(), Error>;
    fn delete(&mut self, path: String, expect: Expect) -> Result<(), Error>;
}

/// A write that is being put together for ZooKeeper.
pub struct Multi<'a> {
    writer: MultiWriter<'a>,
    paths: Vec<String>,
}

impl<'a> Multi<'a> {
    pub fn new(client: &'a Client) -> Self {
        Self { writer: client.new_multi_writer(), paths: Vec::new() }
    }

    /// Sends it at once; the future is only its answer. Anything but the clean success of every operation is an error.
    pub fn commit(mut self) -> impl Future<Output = Result<(), MultiError>> + Send + 'a {
        let answer = self.writer.commit();
        let mut paths = self.paths;
        async move {
            match answer.await {
                Ok(results) if results.len() == paths.len() => Ok(()),
                Ok(results) => {
                    let problem = format!("{} results for {} operations", results.len(), paths.len());
                    Err(MultiError::Unknown(Error::UnexpectedError(problem)))
                }
                Err(MultiWriteError::OperationFailed { index, source: error }) if index < paths.len() => {
                    Err(MultiError::Refused { path: paths.swap_remove(index), error })
                }
                Err(error) => Err(MultiError::Unknown(error.into())),
            }
        }
    }
}

impl Operations for Multi<'_> {
    fn check(&mut self, path: String, expect: Expect) -> Result<(), Error> {
        self.writer.add_check_version(&path, expect.raw())?;
        self.paths.push(path);
        Ok(())
    }

    fn create(&mut self, path: String, data: &[u8], mode: CreateMode) -> Result<(), Error> {
        self.writer.add_create(&path, data, &mode.with_acls(Acls::anyone_all()))?;
        self.paths.push(path);
        Ok(())
    }

    fn set(&mut self, path: String, data: &[u8], expect: Expect) -> Result<(), Error> {
        self.writer.add_set_data(&path, data, Some(expect.raw()))?;
        self.paths.push(path);
        Ok(())
    }

    fn delete(&mut self, path: String, expect: Expect) -> Result<(), Error> {
        self.writer.add_delete(&path, Some(expect.raw()))?;
        self.paths.push(path);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_wrap_around_and_leave_out_the_one_that_means_any() {
        assert_eq!(Version::new(i32::MAX).and_then(Version::next), Version::new(i32::MIN));
        assert_eq!(Version::new(-2).and_then(Version::next), None);
        assert_eq!(Version::new(-1), None);
        assert_eq!(Version::new(0).and_then(Version::next), Version::new(1));
    }
}
