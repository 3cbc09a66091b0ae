//! Which of the records that were found count. Nodes are written in commits, all or none, so the rules are few: of the
//! lives of an id the latest, if nothing says that it is over; of a life the latest status; and an assignment whose attempt
//! that status has not used. What does not count is left to go with its node.

use std::collections::{BTreeMap, HashMap, HashSet};

use tracing::{info, warn};

use super::{
    assemble::{Assembly, Own},
    known::{Known, Spots, StatusSpot},
    packs::{Holds, PackId},
    paths::{self, PackName},
};
use crate::domain::{Assignment, Fence, Loaded, LoadedTask, Status, TaskId};

/// A task as far as it is put together.
struct Life {
    task: LoadedTask,
    spots: Spots,
}

type Lives = BTreeMap<TaskId, Life>;

impl Assembly {
    pub fn finish(mut self) -> (Loaded, Known) {
        let mut lives = self.packed_lives();
        self.add_own(&mut lives);
        self.add_statuses(&mut lives);
        self.set_aside(&mut lives);
        self.count_removals();
        let assignments = self.add_assignments(&mut lives);

        let Self { mut known, aside, queues, drained, .. } = self;
        let mut tasks = Vec::with_capacity(lives.len());
        for (id, Life { task, spots }) in lives {
            for pack in spots.packs() {
                known.packs.get_mut(pack).live += 1;
            }
            known.place(&id, spots);
            tasks.push(task);
        }
        for (id, pack) in known.packs.iter() {
            if pack.is_spent() {
                known.spent.push(id);
            } else if let (true, Holds::Assignments(worker)) = (pack.pinned, &pack.holds) {
                known.occupied.insert(worker.clone());
            }
        }
        info!(tasks = tasks.len(), assignments = assignments.len(), packs = known.packs.iter().count(), "loaded");
        if aside.count > 0 {
            warn!(nodes = aside.count, tasks = aside.ids.len(), "set aside what cannot be read");
        }
        aside.ids.iter().for_each(|id| known.place(id, Spots::default()));
        let corrupt = aside.ids.into_iter().collect();
        let workers = known.workers.iter().cloned().collect();
        (Loaded { tasks, assignments, corrupt, workers, queues, drained }, known)
    }

    /// The tasks in packs that were not removed from them.
    fn packed_lives(&mut self) -> Lives {
        let removed: HashSet<(PackName, &TaskId)> = self.removals.iter().map(|(_, id, from)| (*from, id)).collect();
        let mut lives = Lives::new();
        for (pack, submission) in std::mem::take(&mut self.packed) {
            let id = &submission.task_id;
            if removed.contains(&(self.known.packs.get(pack).name, id)) {
                continue;
            }
            // An id comes again only when its earlier life is over.
            if lives.get(id).is_none_or(|other| other.task.submission.revision < submission.revision) {
                let spots = Spots { task: Some(pack), ..Spots::default() };
                lives.insert(id.clone(), Life { task: LoadedTask { submission, status: None }, spots });
            }
        }
        for (pack, id, problem) in std::mem::take(&mut self.unreadable) {
            let node = self.known.packs.get_mut(pack);
            if !removed.contains(&(node.name, &id)) {
                node.pinned = true;
                self.aside.set(id, &node.path(), &problem);
            }
        }
        lives
    }

    fn add_own(&mut self, lives: &mut Lives) {
        for (id, own) in std::mem::take(&mut self.own) {
            let judged = judge(own, self.children.remove(&id)).and_then(|life| {
                if lives.contains_key(&id) { Err("lies in a packed node too".to_owned()) } else { Ok(life) }
            });
            match judged {
                Ok(life) => drop(lives.insert(id, life)),
                Err(problem) => self.aside.set(id.clone(), &paths::task(&id), &problem),
            }
        }
    }

    /// Gives each task its status, if that lies in a pack. One of an earlier life of its id is older than its submit.
    fn add_statuses(&mut self, lives: &mut Lives) {
        for (id, Life { task, spots }) in lives {
            let Some((pack, status)) = self.statuses.get(id) else { continue };
            if status.revision <= task.status.as_ref().map_or(task.submission.revision, |child| child.revision) {
                continue;
            }
            if spots.status == StatusSpot::Child {
                let path = self.known.packs.get(*pack).path();
                self.aside.set(id.clone(), &path, "is newer than the status in a node of its own");
            }
            task.status = Some(status.clone());
            spots.status = StatusSpot::Pack(*pack);
        }
    }

    /// The leader leaves alone what is set aside: every entry of such a task stays, and its node and place with it.
    fn set_aside(&mut self, lives: &mut Lives) {
        let ids = &self.aside.ids;
        let packs = &mut self.known.packs;
        let mut pin = |pack: PackId| packs.get_mut(pack).pinned = true;
        for id in ids {
            lives.remove(id).into_iter().flat_map(|life| life.spots.packs()).for_each(&mut pin);
            self.statuses.get(id).into_iter().for_each(|(pack, _)| pin(*pack));
        }
        let aside = |(_, assignment): &&(PackId, Assignment)| ids.contains(&assignment.task_id);
        self.packed_assignments.iter().filter(aside).for_each(|(pack, _)| pin(*pack));
        let stay = self.assignments.iter().filter(|assignment| ids.contains(&assignment.task_id));
        self.known.occupied.extend(stay.map(|assignment| assignment.worker.clone()));
    }

    /// A removal counts as long as the node is there that it is about.
    fn count_removals(&mut self) {
        let packs = &mut self.known.packs;
        let tasks = packs.iter().filter(|(_, pack)| pack.holds == Holds::Tasks);
        let tasks: HashMap<PackName, PackId> = tasks.map(|(id, pack)| (pack.name, id)).collect();
        self.removals.sort_unstable();
        for (said, _, from) in &self.removals {
            if let Some(from) = tasks.get(from) {
                packs.get_mut(*from).removed_in(*said);
                packs.get_mut(*said).live += 1;
            }
        }
    }

    /// All assignments with nodes of their own, for the leader to judge, and those in packs that count.
    fn add_assignments(&mut self, lives: &mut Lives) -> Vec<Assignment> {
        let mut assignments = std::mem::take(&mut self.assignments);
        let own: HashSet<_> = assignments.iter().map(|own| (own.worker.clone(), own.task_id.clone())).collect();
        let mut best = BTreeMap::<TaskId, (PackId, Assignment)>::new();
        for (pack, assignment) in std::mem::take(&mut self.packed_assignments) {
            let (id, worker) = (&assignment.task_id, &assignment.worker);
            let counts = lives.get(id).is_some_and(|life| is_current(&life.task, &assignment));
            // Two nodes cannot be told apart by what voids one of them.
            if !counts || own.contains(&(worker.clone(), id.clone())) {
                continue;
            }
            if best.get(id).is_none_or(|(_, other)| other.attempt < assignment.attempt) {
                best.insert(id.clone(), (pack, assignment));
            }
        }
        for (id, (pack, assignment)) in best {
            if let Some(life) = lives.get_mut(&id) {
                life.spots.assignment = Some(pack);
            }
            assignments.push(assignment);
        }
        assignments
    }
}

/// It belongs to this life of the id, and its attempt is not used up.
fn is_current(task: &LoadedTask, assignment: &Assignment) -> bool {
    let unused = |status: &Status| status.outcome.is_none() && status.attempt < assignment.attempt;
    assignment.fence > Fence::from(task.submission.revision) && task.status.as_ref().is_none_or(unused)
}

/// The task, or why it cannot be used.
fn judge(own: Own, status: Option<Result<Status, String>>) -> Result<Life, String> {
    let submission = own.submission?;
    let named = |problem| format!("{}: {problem}", paths::STATUS);
    let status = status.transpose().map_err(named)?;
    if own.children != usize::from(status.is_some()) {
        return Err(format!("has children besides {}, and could not be removed", paths::STATUS));
    }
    let spot = if status.is_some() { StatusSpot::Child } else { StatusSpot::Nowhere };
    Ok(Life { task: LoadedTask { submission, status }, spots: Spots { status: spot, ..Spots::default() } })
}
