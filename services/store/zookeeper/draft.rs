//! What the leader's changes are in nodes. Records of one kind that come in one commit share a node, if packing is on; a
//! record that comes alone has a node of its own, as all have if it is off.
//!
//! A packed node is written once and never changed. What supersedes an entry says so elsewhere: a status by a later one,
//! an assignment by a status, a task in a node that others still need by its removal, an entry among the statuses. With
//! the last entry that counts the node goes, in the same commit.

use std::collections::BTreeMap;

use zookeeper_client::{CreateMode, Error};

use super::{
    known::{Known, Spots, StatusSpot},
    multi::{Expect, Operations},
    open_pack::{Alone, Entry, LARGE, Open},
    packs::{Holds, Pack, PackId},
    paths::{self, PackName},
};
use crate::{
    domain::{Assignment, Change, QueueName, QueueSettings, Status, Submission, TaskId, Term, WorkerId},
    wire,
};

/// Spent nodes that a commit deletes beside its own changes, so that many of them make no commit too large.
const SPENT_A_COMMIT: usize = 64;
/// The same for those in a worker's place when it is forgotten. If there are more, the place stays until the next leader.
const SPENT_A_WORKER: usize = 512;

/// Names packed nodes, each only once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Names {
    term: Term,
    last: u64,
}

impl Names {
    pub fn new(term: Term) -> Self {
        Self { term, last: 0 }
    }

    fn next(&mut self) -> PackName {
        self.last += 1;
        PackName { term: self.term, number: self.last }
    }
}

/// One commit on its way into operations.
pub struct Draft<'a, O> {
    known: &'a mut Known,
    names: &'a mut Names,
    packing: bool,
    operations: &'a mut O,
    tasks: Option<Open<'a>>,
    statuses: Option<Open<'a>>,
    assignments: BTreeMap<WorkerId, Open<'a>>,
    /// Tasks that were removed from packs.
    removed: BTreeMap<PackId, Vec<TaskId>>,
}

impl<'a, O: Operations> Draft<'a, O> {
    pub fn new(known: &'a mut Known, names: &'a mut Names, packing: bool, operations: &'a mut O) -> Self {
        let assignments = BTreeMap::new();
        Self { known, names, packing, operations, tasks: None, statuses: None, assignments, removed: BTreeMap::new() }
    }

    /// Adds the change to a request that will be sent.
    pub fn add(&mut self, change: &'a Change) -> Result<(), Error> {
        match change {
            Change::Submitted(submission) => self.submit(submission),
            Change::Assigned(assignment) => self.assign(assignment),
            Change::GivenBack { task_id, worker, status } => {
                self.release_assignment(task_id, worker)?;
                self.write_status(task_id, status)
            }
            Change::Finished { task_id, assigned_to, status } => {
                if let Some(worker) = assigned_to {
                    self.release_assignment(task_id, worker)?;
                }
                self.write_status(task_id, status)
            }
            Change::Removed { task_id } => self.remove(task_id),
            Change::Swept { task_id, worker } => self.release_assignment(task_id, worker),
            Change::WorkerForgotten { worker } => self.forget(worker),
            Change::QueueSet { queue, settings } => self.set_queue(queue, settings),
            Change::DrainSet { worker, drained } => self.set_drain(worker, *drained),
        }
    }

    /// Writes what is still open, and clears up.
    pub fn finish(mut self) -> Result<(), Error> {
        for (pack, tasks) in std::mem::take(&mut self.removed) {
            self.settle_removals(pack, tasks)?;
        }
        for open in self.tasks.take().into_iter().chain(self.statuses.take()) {
            self.close(open)?;
        }
        for open in std::mem::take(&mut self.assignments).into_values() {
            self.close(open)?;
        }
        let keep = self.known.spent.len().saturating_sub(SPENT_A_COMMIT);
        for pack in self.known.spent.split_off(keep) {
            self.delete(pack)?;
        }
        Ok(())
    }

    fn submit(&mut self, submission: &Submission) -> Result<(), Error> {
        let id = &submission.task_id;
        if !self.known.enter(id) {
            // The node of a pack would not clash. One that is sure to: so the request fails in its turn, as it should.
            return self.operations.create(paths::TASKS.to_owned(), &[], CreateMode::Persistent);
        }
        let record = wire::encode_submission(submission);
        if !self.packing || record.len() > LARGE {
            return self.operations.create(paths::task(id), &record, CreateMode::Persistent);
        }
        let entry = Entry { task_id: id.clone(), packed: record.into(), alone: Alone::Same };
        let open = self.tasks.take();
        let open = self.with_room(open, Holds::Tasks, &entry)?;
        self.known.at(id).task = Some(open.pack);
        self.tasks = Some(self.push(open, entry));
        Ok(())
    }

    fn assign(&mut self, assignment: &'a Assignment) -> Result<(), Error> {
        let Assignment { task_id: id, worker, .. } = assignment;
        // One that nobody voided in words is void by this one.
        self.release_packed_assignment(id)?;
        if !self.known.workers.contains(worker) {
            self.known.workers.insert(worker.clone());
            self.operations.create(paths::assignments(worker), &[], CreateMode::Persistent)?;
        }
        if !self.packing {
            let alone = wire::encode_assignment(assignment);
            return self.operations.create(paths::assignment(worker, id), &alone, CreateMode::Persistent);
        }
        let packed = wire::encode_assignment_entry(assignment);
        let entry = Entry { task_id: id.clone(), packed, alone: Alone::Assignment(assignment) };
        let open = self.assignments.remove(worker);
        let open = self.with_room(open, Holds::Assignments(worker.clone()), &entry)?;
        self.known.at(id).assignment = Some(open.pack);
        let open = self.push(open, entry);
        self.assignments.insert(worker.clone(), open);
        Ok(())
    }

    fn write_status(&mut self, id: &TaskId, status: &'a Status) -> Result<(), Error> {
        let spots = self.release_status(id)?;
        if spots.status == StatusSpot::Child {
            return self.operations.set(paths::status(id), &wire::encode_status(status), Expect::Present);
        }
        let packed = wire::encode_status_entry(id, status);
        let large = packed.len() > LARGE;
        // The status of a task without a node of its own has nowhere else to be than in a pack.
        let own = spots.task.is_none();
        if own && (large || !self.packing) {
            self.known.at(id).status = StatusSpot::Child;
            return self.operations.create(paths::status(id), &wire::encode_status(status), CreateMode::Persistent);
        }
        let alone = if own { Alone::Status(status) } else { Alone::Never };
        let pack = self.push_status(Entry { task_id: id.clone(), packed, alone })?;
        self.known.at(id).status = StatusSpot::Pack(pack);
        Ok(())
    }

    fn remove(&mut self, id: &TaskId) -> Result<(), Error> {
        self.release_status(id)?;
        self.release_packed_assignment(id)?;
        if let Some(pack) = self.known.spots(id).task {
            self.settle(pack)?;
        }
        let spots = self.known.remove(id);
        if spots.status == StatusSpot::Child {
            self.operations.delete(paths::status(id), Expect::Present)?;
        }
        let Some(pack) = spots.task else { return self.operations.delete(paths::task(id), Expect::Present) };
        self.known.packs.get_mut(pack).live -= 1;
        self.removed.entry(pack).or_default().push(id.clone());
        Ok(())
    }

    fn forget(&mut self, worker: &WorkerId) -> Result<(), Error> {
        if self.known.occupied.contains(worker) || !self.known.workers.contains(worker) {
            return Ok(());
        }
        let packs = &self.known.packs;
        let here = |pack: &PackId| packs.get(*pack).is_of(worker);
        let (spent, others): (Vec<_>, Vec<_>) = self.known.spent.iter().copied().partition(here);
        if spent.len() > SPENT_A_WORKER {
            return Ok(());
        }
        self.known.spent = others;
        for pack in spent {
            self.delete(pack)?;
        }
        self.known.workers.remove(worker);
        self.operations.delete(paths::assignments(worker), Expect::Present)
    }

    fn set_queue(&mut self, queue: &QueueName, settings: &QueueSettings) -> Result<(), Error> {
        let (path, data) = (paths::queue(queue), wire::encode_queue(queue, settings));
        let is_default = *settings == QueueSettings::default();
        match self.known.queues.get(queue) {
            None if is_default => Ok(()),
            None => {
                self.known.queues.insert(queue.clone(), true);
                self.operations.create(path, &data, CreateMode::Persistent)
            }
            Some(true) if is_default => {
                self.known.queues.remove(queue);
                self.operations.delete(path, Expect::Present)
            }
            Some(_) => self.operations.set(path, &data, Expect::Present),
        }
    }

    fn set_drain(&mut self, worker: &WorkerId, drained: bool) -> Result<(), Error> {
        let (path, data) = (paths::drain(worker), wire::encode_drain(worker, drained));
        match self.known.drains.get(worker) {
            None if !drained => Ok(()),
            None => {
                self.known.drains.insert(worker.clone(), true);
                self.operations.create(path, &data, CreateMode::Persistent)
            }
            Some(true) if !drained => {
                self.known.drains.remove(worker);
                self.operations.delete(path, Expect::Present)
            }
            Some(_) => self.operations.set(path, &data, Expect::Present),
        }
    }

    /// The latest status of the task counts no more, unless it lies where the next one will. Returns where the task is then.
    fn release_status(&mut self, id: &TaskId) -> Result<Spots, Error> {
        let mut spots = self.known.spots(id);
        if let StatusSpot::Pack(pack) = spots.status
            && self.settle(pack)?
        {
            spots = self.known.spots(id);
        }
        if let StatusSpot::Pack(pack) = spots.status {
            spots.status = StatusSpot::Nowhere;
            self.known.place(id, spots);
            self.release(pack)?;
        }
        Ok(spots)
    }

    fn release_assignment(&mut self, id: &TaskId, worker: &WorkerId) -> Result<(), Error> {
        match self.packed_assignment(id)? {
            Some(pack) if self.known.packs.get(pack).is_of(worker) => self.drop_assignment(id, pack),
            _ => self.operations.delete(paths::assignment(worker, id), Expect::Present),
        }
    }

    fn release_packed_assignment(&mut self, id: &TaskId) -> Result<(), Error> {
        self.packed_assignment(id)?.map_or(Ok(()), |pack| self.drop_assignment(id, pack))
    }

    /// The written pack that has the task's assignment.
    fn packed_assignment(&mut self, id: &TaskId) -> Result<Option<PackId>, Error> {
        let pack = self.known.spots(id).assignment;
        match pack {
            // It may have been written as a node of its own.
            Some(open) if self.settle(open)? => Ok(self.known.spots(id).assignment),
            _ => Ok(pack),
        }
    }

    fn drop_assignment(&mut self, id: &TaskId, pack: PackId) -> Result<(), Error> {
        self.known.at(id).assignment = None;
        self.release(pack)
    }

    /// One entry of a written pack counts no more.
    fn release(&mut self, pack: PackId) -> Result<(), Error> {
        let entry = self.known.packs.get_mut(pack);
        entry.live -= 1;
        if entry.is_spent() { self.delete(pack) } else { Ok(()) }
    }

    fn delete(&mut self, pack: PackId) -> Result<(), Error> {
        let pack = self.known.packs.remove(pack);
        self.operations.delete(pack.path(), Expect::Present)?;
        // Nobody has to be told any more what was removed from it. These may be many; they go by and by.
        for (statuses, count) in pack.removals {
            let entry = self.known.packs.get_mut(statuses);
            entry.live -= count;
            if entry.is_spent() {
                self.known.spent.push(statuses);
            }
        }
        Ok(())
    }

    /// Tasks were removed from a pack: it goes with the last of them, or it is said that they are gone.
    fn settle_removals(&mut self, pack: PackId, tasks: Vec<TaskId>) -> Result<(), Error> {
        if self.known.packs.get(pack).is_spent() {
            return self.delete(pack);
        }
        let name = self.known.packs.get(pack).name.to_string();
        for task_id in tasks {
            let packed = wire::encode_removal_entry(&task_id, name.clone());
            let statuses = self.push_status(Entry { task_id, packed, alone: Alone::Never })?;
            self.known.packs.get_mut(pack).removed_in(statuses);
        }
        Ok(())
    }

    fn push_status(&mut self, entry: Entry<'a>) -> Result<PackId, Error> {
        if entry.packed.len() > LARGE {
            let open = self.open(Holds::Statuses);
            let open = self.push(open, entry);
            let pack = open.pack;
            return self.close(open).map(|()| pack);
        }
        let open = self.statuses.take();
        let open = self.with_room(open, Holds::Statuses, &entry)?;
        let pack = open.pack;
        self.statuses = Some(self.push(open, entry));
        Ok(pack)
    }

    fn open(&mut self, holds: Holds) -> Open<'a> {
        let pack = self.known.packs.add(Pack::new(self.names.next(), holds));
        Open { pack, bytes: 0, entries: Vec::new() }
    }

    /// This open pack, or a new one if there is none or the entry does not fit into it.
    fn with_room(&mut self, open: Option<Open<'a>>, holds: Holds, entry: &Entry<'a>) -> Result<Open<'a>, Error> {
        match open {
            Some(open) if open.has_room(entry) => return Ok(open),
            Some(full) => self.close(full)?,
            None => {}
        }
        Ok(self.open(holds))
    }

    fn push(&mut self, mut open: Open<'a>, entry: Entry<'a>) -> Open<'a> {
        self.known.packs.get_mut(open.pack).live += 1;
        open.bytes += entry.packed.len();
        open.entries.push(entry);
        open
    }

    /// Before an entry of a pack is let go, the pack is written. False: it was already.
    fn settle(&mut self, pack: PackId) -> Result<bool, Error> {
        let is_it = |open: &mut Open<'_>| open.pack == pack;
        let open = match &self.known.packs.get(pack).holds {
            Holds::Tasks => self.tasks.take_if(is_it),
            Holds::Statuses => self.statuses.take_if(is_it),
            Holds::Assignments(worker) => {
                let here = self.assignments.get(worker).is_some_and(|open| open.pack == pack);
                if here { self.assignments.remove(worker) } else { None }
            }
        };
        open.map_or(Ok(false), |open| self.close(open).map(|()| true))
    }

    /// Writes a pack, or its one entry as a node of its own.
    fn close(&mut self, open: Open<'a>) -> Result<(), Error> {
        if let [Entry { task_id, packed, alone }] = open.entries.as_slice()
            && let Some(alone) = alone.data(packed)
        {
            let pack = self.known.packs.remove(open.pack);
            let spots = self.known.spots(task_id);
            let (path, spots) = match pack.holds {
                Holds::Tasks => (paths::task(task_id), Spots { task: None, ..spots }),
                Holds::Statuses => (paths::status(task_id), Spots { status: StatusSpot::Child, ..spots }),
                Holds::Assignments(worker) => {
                    (paths::assignment(&worker, task_id), Spots { assignment: None, ..spots })
                }
            };
            self.known.place(task_id, spots);
            return self.operations.create(path, &alone, CreateMode::Persistent);
        }
        let data = wire::encode_pack(open.entries.into_iter().map(|entry| entry.packed).collect());
        self.operations.create(self.known.packs.get(open.pack).path(), &data, CreateMode::Persistent)
    }
}
