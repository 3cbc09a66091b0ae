//! Packed nodes while they fill: what a commit writes of each kind, until one is full or the commit is at its end.

use std::borrow::Cow;

use bytes::Bytes;

use super::packs::PackId;
use crate::{
    domain::{Assignment, Status, TaskId},
    wire,
};

/// Most entries of a packed node, and most bytes. As much again does hardly save anything: with a hundred entries the
/// nodes are no longer what a task costs. And a task that stays keeps what it shares a node with: at worst this many bytes
/// of dead tasks, and as many of dead statuses.
pub const PACK_ENTRIES: usize = 128;
pub const PACK_BYTES: usize = 16 * 1024;
/// What is larger shares a node with nobody: it would hold them, and gain nothing.
pub const LARGE: usize = PACK_BYTES / 2;
/// A packed node that is not written yet.
pub struct Open<'a> {
    pub pack: PackId,
    pub bytes: usize,
    pub entries: Vec<Entry<'a>>,
}

pub struct Entry<'a> {
    pub task_id: TaskId,
    pub packed: Bytes,
    pub alone: Alone<'a>,
}

/// What to write instead of an entry that shares its node with no other. Encoded only then: most do.
#[derive(Clone, Copy)]
pub enum Alone<'a> {
    /// The same.
    Same,
    Status(&'a Status),
    Assignment(&'a Assignment),
    /// It has to be packed.
    Never,
}

impl Open<'_> {
    pub fn has_room(&self, entry: &Entry<'_>) -> bool {
        self.entries.len() < PACK_ENTRIES && self.bytes + entry.packed.len() <= PACK_BYTES
    }
}

impl Alone<'_> {
    /// None: it has to be packed.
    pub fn data(self, packed: &Bytes) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Same => Some(Cow::Borrowed(packed)),
            Self::Status(status) => Some(Cow::Owned(wire::encode_status(status))),
            Self::Assignment(assignment) => Some(Cow::Owned(wire::encode_assignment(assignment))),
            Self::Never => None,
        }
    }
}
