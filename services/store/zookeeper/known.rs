//! The little that has to be known of the tree to write the next change: a node that is there is set or deleted, one that
//! is not is created, and a packed one goes with its last entry. Nobody else writes there, so what was found at the load
//! and what was sent since is what is there; if that is ever wrong, the commit fails and the next leader loads anew.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use super::packs::{PackId, Packs};
use crate::domain::{QueueName, TaskId, WorkerId};

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// Every task, and every id that is set aside: a packed node does not keep the ids in it from coming again.
    spots: HashMap<TaskId, Spots>,
    pub packs: Packs,
    /// Workers with a place for assignments.
    pub workers: HashSet<WorkerId>,
    /// Those of them that cannot be removed: something else lies there.
    pub occupied: HashSet<WorkerId>,
    /// Queues with a node, and whether that can be removed: somebody may have put something under it.
    pub queues: HashMap<QueueName, bool>,
    /// The same of workers that are drained.
    pub drains: HashMap<WorkerId, bool>,
    /// Packs of which no entry counts any more, still to be deleted.
    pub spent: Vec<PackId>,
}

/// Where the nodes of one task are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Spots {
    /// None: it has a node of its own.
    pub task: Option<PackId>,
    pub status: StatusSpot,
    /// None: if it is assigned, that is a node of its own.
    pub assignment: Option<PackId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum StatusSpot {
    #[default]
    Nowhere,
    /// Under the task's own node, where every later status goes too.
    Child,
    Pack(PackId),
}

impl Spots {
    /// The packs that hold something of the task.
    pub fn packs(self) -> impl Iterator<Item = PackId> {
        let status = if let StatusSpot::Pack(pack) = self.status { Some(pack) } else { None };
        [self.task, status, self.assignment].into_iter().flatten()
    }
}

impl Known {
    pub fn spots(&self, task_id: &TaskId) -> Spots {
        self.spots.get(task_id).copied().unwrap_or_default()
    }

    /// A new task. False: it is known already.
    pub fn enter(&mut self, task_id: &TaskId) -> bool {
        match self.spots.entry(task_id.clone()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(Spots::default());
                true
            }
        }
    }

    /// The spots of a task, to be changed.
    pub fn at(&mut self, task_id: &TaskId) -> &mut Spots {
        self.spots.entry(task_id.clone()).or_default()
    }

    pub fn place(&mut self, task_id: &TaskId, spots: Spots) {
        self.spots.insert(task_id.clone(), spots);
    }

    pub fn remove(&mut self, task_id: &TaskId) -> Spots {
        self.spots.remove(task_id).unwrap_or_default()
    }
}

/// What is known of a tree without packed nodes, in order: its tasks, its workers.
#[cfg(test)]
impl std::hash::Hash for Known {
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        use std::collections::{BTreeMap, BTreeSet};
        assert!(self.packs.iter().next().is_none(), "packed nodes have no order");
        self.spots.iter().collect::<BTreeMap<_, _>>().hash(hasher);
        self.workers.iter().collect::<BTreeSet<_>>().hash(hasher);
        self.occupied.iter().collect::<BTreeSet<_>>().hash(hasher);
        self.queues.iter().collect::<BTreeMap<_, _>>().hash(hasher);
        self.drains.iter().collect::<BTreeMap<_, _>>().hash(hasher);
    }
}
