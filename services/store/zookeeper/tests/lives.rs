//! What a packed life costs, and that any life is loaded as it was.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::*;
use crate::{
    domain::LoadedTask,
    store::zookeeper::open_pack::{PACK_BYTES, PACK_ENTRIES},
};

#[test]
fn a_batch_of_whole_lives_takes_five_writes_and_leaves_nothing() {
    let mut tree = Tree::new();
    let (mut leader, _) = Leader::take_over(&tree, 1, true);
    let ids: Vec<_> = (0..100).map(|n| format!("t{n}")).collect();
    let each = |change: &dyn Fn(&str) -> Change| ids.iter().map(|id| change(id)).collect::<Vec<_>>();
    leader.commit(&mut tree, &[submitted("first", 1), assigned("first", "w", 1, 2)]);
    assert_eq!(leader.commit(&mut tree, &each(&|id| submitted(id, 10))), 1);
    assert_eq!(leader.commit(&mut tree, &each(&|id| assigned(id, "w", 1, 20))), 1);
    assert_eq!(leader.commit(&mut tree, &each(&|id| finished(id, "w", 1, 30))), 2);
    assert_eq!(leader.commit(&mut tree, &each(&removed)), 2);
    assert_eq!(tree.written().len(), 3, "the other one's: {:?}", tree.written());
}

#[test]
fn what_comes_alone_has_a_node_of_its_own() {
    let mut tree = Tree::new();
    let (mut leader, _) = Leader::take_over(&tree, 1, true);
    leader.commit(&mut tree, &[submitted("a", 1), assigned("a", "w1", 1, 2)]);
    let task = paths::task(&id("a"));
    assert_eq!(tree.written(), ["/assign/w1", "/assign/w1/a", &task]);
    leader.commit(&mut tree, &[finished("a", "w1", 1, 3)]);
    assert_eq!(tree.written(), ["/assign/w1", &task, &paths::status(&id("a"))]);
    leader.commit(&mut tree, &[removed("a"), Change::WorkerForgotten { worker: worker("w1") }]);
    assert!(tree.written().is_empty());
}

#[test]
fn a_pack_holds_no_more_than_its_bounds_and_nothing_large() {
    let mut tree = Tree::new();
    let (mut leader, _) = Leader::take_over(&tree, 1, true);
    let small = (0..=PACK_ENTRIES * 2).map(|n| submitted(&format!("s{n}"), 1));
    let middle = (0..20).map(|n| Change::Submitted(submission(&format!("m{n}"), 1, &[0; PACK_BYTES / 4])));
    let large = (0..3).map(|n| Change::Submitted(submission(&format!("l{n}"), 1, &[0; PACK_BYTES])));
    leader.commit(&mut tree, &small.chain(middle).chain(large).collect::<Vec<_>>());
    let (packs, own): (Vec<_>, Vec<_>) = tree.written().into_iter().partition(|path| path.contains('@'));
    assert!(packs.iter().all(|path| tree.nodes[*path].len() < PACK_BYTES + 4 * PACK_ENTRIES), "{packs:?}");
    assert_eq!(own.len(), 3, "{own:?}");
    assert!((9..12).contains(&packs.len()), "{packs:?}");
    assert_eq!(tree.load().0.tasks.len(), PACK_ENTRIES * 2 + 1 + 23);
}

#[test]
fn a_task_that_stays_keeps_its_node_and_those_that_were_removed_from_it_do_not_come_back() {
    let mut tree = Tree::new();
    let (mut leader, _) = Leader::take_over(&tree, 1, true);
    let ids = ["a", "b", "c", "d"];
    leader.commit(&mut tree, &ids.map(|id| submitted(id, 1)));
    leader.commit(&mut tree, &ids.map(|id| assigned(id, "w", 1, 2)));
    leader.commit(&mut tree, &ids.map(|id| finished(id, "w", 1, 3)));
    leader.commit(&mut tree, &[removed("a"), removed("b")]);
    assert_eq!(names(&tree.load().0), ["c", "d"]);

    // The next leader knows it too, whatever it thinks of packing; and an id may come again while its old entry is there.
    let (mut leader, _) = Leader::take_over(&tree, 2, false);
    leader.commit(&mut tree, &[removed("c"), submitted("a", 100)]);
    let (loaded, _) = tree.load();
    assert_eq!(names(&loaded), ["a", "d"]);
    assert_eq!(loaded.tasks[0].status, None, "the status of its earlier life is not its own");
    let (mut leader, _) = Leader::take_over(&tree, 3, true);
    leader.commit(&mut tree, &[submitted("b", 200), submitted("c", 201)]);
    assert_eq!(names(&tree.load().0), ["a", "b", "c", "d"]);

    let (mut leader, _) = Leader::take_over(&tree, 4, true);
    leader.commit(&mut tree, &["a", "b", "c", "d"].map(removed));
    leader.commit(&mut tree, &[Change::WorkerForgotten { worker: worker("w") }]);
    assert!(tree.written().is_empty(), "the removals went with what they were about: {:?}", tree.written());
}

#[test]
fn what_is_given_back_and_assigned_again_in_one_commit_stands_as_it_was_last() {
    let mut tree = Tree::new();
    let (mut leader, _) = Leader::take_over(&tree, 1, true);
    leader.commit(
        &mut tree,
        &[submitted("a", 1), submitted("b", 2), assigned("a", "w1", 1, 3), assigned("b", "w1", 1, 4)],
    );
    let back = |name, revision| Change::GivenBack {
        task_id: id(name),
        worker: worker("w1"),
        status: status(1, revision, None),
    };
    leader.commit(&mut tree, &[back("a", 5), back("b", 6), assigned("a", "w1", 2, 7), assigned("b", "w2", 2, 8)]);
    let (loaded, _) = tree.load();
    assert_eq!(loaded.assignments, [assignment("a", "w1", 2, 7), assignment("b", "w2", 2, 8)]);
    let (mut leader, _) = Leader::take_over(&tree, 2, true);
    let cancel = |name, to, revision| finished(name, to, 2, revision);
    leader.commit(&mut tree, &[cancel("a", "w1", 10), cancel("b", "w2", 11), removed("a"), submitted("a", 12)]);
    let (loaded, _) = tree.load();
    assert_eq!(loaded.tasks[0], LoadedTask { submission: submission("a", 12, b"x"), status: None });
    assert_eq!(loaded.tasks[1].status, Some(status(2, 11, Some(Outcome::Cancelled))));
    assert!(loaded.assignments.is_empty());
}

#[test]
fn an_assignment_of_a_task_that_is_gone_goes_with_its_node() {
    let mut tree = Tree::new();
    let (mut leader, _) = Leader::take_over(&tree, 1, true);
    leader.commit(&mut tree, &[submitted("a", 1)]);
    leader.commit(&mut tree, &[submitted("b", 2)]);
    leader.commit(&mut tree, &[assigned("a", "w", 1, 3), assigned("b", "w", 1, 4)]);
    // As an operator does.
    tree.nodes.remove(&paths::task(&id("a")));
    assert_eq!(tree.load().0.assignments, [assignment("b", "w", 1, 4)]);
    tree.nodes.remove(&paths::task(&id("b")));
    // The first commit of the next leader sweeps it, whichever that is.
    for forget in [false, true] {
        let mut tree = tree.clone();
        let (mut leader, loaded) = Leader::take_over(&tree, 3, true);
        assert!(loaded.assignments.is_empty());
        if !forget {
            assert_eq!(leader.commit(&mut tree, &[]), 1);
        }
        leader.commit(&mut tree, &[Change::WorkerForgotten { worker: worker("w") }]);
        assert!(tree.written().is_empty(), "{:?}", tree.written());
    }
}

/// Random lives as a right leader lets them happen: what it assigns it voids.
#[derive(Default)]
struct Model {
    tasks: BTreeMap<TaskId, (Submission, Option<Status>)>,
    assigned: BTreeMap<TaskId, Assignment>,
    workers: BTreeSet<WorkerId>,
    revision: u64,
}

impl Model {
    fn revision(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    fn change(&mut self, rng: &mut Rng, ids: u64, winding_up: bool) -> Option<Change> {
        let name = format!("t{}", rng.u64(..ids));
        let task_id = id(&name);
        let Some((_, status)) = self.tasks.get(&task_id).cloned() else {
            if winding_up {
                return None;
            }
            let submission = submission(&name, self.revision(), &vec![b'x'; rng.usize(..200)]);
            self.tasks.insert(task_id, (submission.clone(), None));
            return Some(Change::Submitted(submission));
        };
        let used = status.as_ref().map_or(0, |status| status.attempt);
        let ended = status.is_some_and(|status| status.outcome.is_some());
        Some(match self.assigned.get(&task_id).cloned() {
            _ if ended => {
                self.tasks.remove(&task_id);
                Change::Removed { task_id }
            }
            None if winding_up || rng.u8(..8) == 0 => self.end(task_id, used, None, rng),
            None => {
                let worker = format!("w{}", rng.u8(..4));
                let assignment = assignment(&name, &worker, used + 1, self.revision());
                self.workers.insert(assignment.worker.clone());
                self.assigned.insert(task_id, assignment.clone());
                Change::Assigned(assignment)
            }
            Some(assignment) => {
                self.assigned.remove(&task_id);
                if !winding_up && rng.u8(..3) == 0 {
                    let status = status_of(assignment.attempt, self.revision(), None);
                    self.set(&task_id, &status);
                    return Some(Change::GivenBack { task_id, worker: assignment.worker, status });
                }
                self.end(task_id, assignment.attempt, Some(assignment.worker), rng)
            }
        })
    }

    fn end(&mut self, task_id: TaskId, attempt: u32, assigned_to: Option<WorkerId>, rng: &mut Rng) -> Change {
        let result = vec![b'y'; if rng.u8(..20) == 0 { PACK_BYTES } else { rng.usize(..100) }];
        let status = status_of(attempt, self.revision(), Some(Outcome::Succeeded(result.into())));
        self.set(&task_id, &status);
        Change::Finished { task_id, assigned_to, status }
    }

    fn set(&mut self, task_id: &TaskId, status: &Status) {
        self.tasks.get_mut(task_id).unwrap().1 = Some(status.clone());
    }

    fn forget(&mut self, rng: &mut Rng) -> Option<Change> {
        let worker = worker(&format!("w{}", rng.u8(..4)));
        let idle = self.assigned.values().all(|assignment| assignment.worker != worker);
        (idle && self.workers.remove(&worker)).then_some(Change::WorkerForgotten { worker })
    }

    fn check(&self, loaded: &Loaded, when: &str) {
        let tasks = self
            .tasks
            .values()
            .map(|(submission, status)| LoadedTask { submission: submission.clone(), status: status.clone() });
        assert_eq!(loaded.tasks, tasks.collect::<Vec<_>>(), "{when}");
        assert_eq!(loaded.assignments, self.assigned.values().cloned().collect::<Vec<_>>(), "{when}");
        assert_eq!(loaded.workers, self.workers.iter().cloned().collect::<Vec<_>>(), "{when}");
        assert!(loaded.corrupt.is_empty(), "{when}: {:?}", loaded.corrupt);
    }
}

use super::status as status_of;

#[test]
fn any_life_of_many_tasks_is_loaded_as_it_was_and_ends_with_an_empty_tree() {
    /// With packing, without, and by turns, as when masters are told differently.
    const SEEDS: u64 = 80;
    for seed in 0..SEEDS {
        let mut rng = Rng::with_seed(seed);
        let (mut tree, mut model) = (Tree::new(), Model::default());
        let ids = rng.u64(2..60);
        for term in 1..=6 {
            let packing = match seed % 4 {
                0 => false,
                1 => rng.bool(),
                _ => true,
            };
            let (mut leader, _) = Leader::take_over(&tree, term, packing);
            let winding_up = term == 6;
            for _ in 0..if winding_up { 400 } else { rng.usize(1..20) } {
                let most = if winding_up { 20 } else { rng.usize(1..100) };
                let mut changes: Vec<_> = (0..most).filter_map(|_| model.change(&mut rng, ids, winding_up)).collect();
                changes.extend(model.forget(&mut rng));
                let operations = leader.commit(&mut tree, &changes);
                assert!(
                    operations <= 3 * changes.len() + 64,
                    "{operations} for {} changes, seed {seed}",
                    changes.len()
                );
                // A takeover in the middle would find this, and the leader itself need not be told.
                if rng.u8(..4) == 0 {
                    model.check(&tree.load().0, &format!("in the middle of term {term}, seed {seed}"));
                }
            }
            model.check(&tree.load().0, &format!("after term {term}, seed {seed}"));
        }
        assert!(model.tasks.is_empty() && model.workers.is_empty(), "seed {seed}");
        assert!(tree.written().is_empty(), "seed {seed} leaves {:?}", tree.written());
    }
}
