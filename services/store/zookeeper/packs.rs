//! Which packed nodes there are, and how many of their entries still count: a node goes with the last of them. Small, for
//! there may be as many as tasks.

use std::num::NonZeroU32;

use super::paths::{self, PackName};
use crate::domain::WorkerId;

/// Stands for a packed node, for as long as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackId(NonZeroU32);

/// A packed node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pack {
    pub name: PackName,
    pub holds: Holds,
    /// Entries that count.
    pub live: u32,
    /// It cannot be deleted: part of it cannot be read, or something else lies below it.
    pub pinned: bool,
    /// Of tasks: the removals of its entries, by the pack of statuses that each lies in.
    pub removals: Vec<(PackId, u32)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holds {
    Tasks,
    Statuses,
    Assignments(WorkerId),
}

impl Pack {
    pub fn new(name: PackName, holds: Holds) -> Self {
        Self { name, holds, live: 0, pinned: false, removals: Vec::new() }
    }

    pub fn path(&self) -> String {
        match &self.holds {
            Holds::Tasks => paths::task_pack(self.name),
            Holds::Statuses => paths::status_pack(self.name),
            Holds::Assignments(worker) => paths::assignment_pack(worker, self.name),
        }
    }

    /// It has this worker's assignments.
    pub fn is_of(&self, worker: &WorkerId) -> bool {
        matches!(&self.holds, Holds::Assignments(of) if of == worker)
    }

    /// No entry counts, and it can go.
    pub fn is_spent(&self) -> bool {
        self.live == 0 && !self.pinned
    }

    /// One more of its entries is removed, and the pack of statuses `to` says so.
    pub fn removed_in(&mut self, to: PackId) {
        match self.removals.last_mut() {
            Some((last, count)) if *last == to => *count += 1,
            _ => self.removals.push((to, 1)),
        }
    }
}

/// All of them. Numbers of nodes that are gone are used again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Packs {
    packs: Vec<Option<Pack>>,
    free: Vec<PackId>,
}

impl Packs {
    pub fn add(&mut self, pack: Pack) -> PackId {
        if let Some(id) = self.free.pop() {
            self.packs[index(id)] = Some(pack);
            return id;
        }
        self.packs.push(Some(pack));
        let number = u32::try_from(self.packs.len()).ok().and_then(NonZeroU32::new);
        PackId(number.expect("four thousand million nodes fit into no ZooKeeper"))
    }

    pub fn get(&self, id: PackId) -> &Pack {
        self.packs[index(id)].as_ref().expect("an id is kept no longer than its pack")
    }

    pub fn get_mut(&mut self, id: PackId) -> &mut Pack {
        self.packs[index(id)].as_mut().expect("an id is kept no longer than its pack")
    }

    pub fn remove(&mut self, id: PackId) -> Pack {
        let pack = self.packs[index(id)].take().expect("an id is kept no longer than its pack");
        self.free.push(id);
        pack
    }

    pub fn iter(&self) -> impl Iterator<Item = (PackId, &Pack)> {
        let ids = (1..).map_while(NonZeroU32::new).map(PackId);
        ids.zip(&self.packs).filter_map(|(id, pack)| pack.as_ref().map(|pack| (id, pack)))
    }
}

fn index(id: PackId) -> usize {
    id.0.get() as usize - 1
}
