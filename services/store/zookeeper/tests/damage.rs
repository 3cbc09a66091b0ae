//! Packed nodes that somebody else wrote or damaged: what can be read counts, what cannot is set aside, and nobody fails.

use super::*;
use crate::{domain::MAX_PAYLOAD_BYTES, wire};

/// Four tasks in a pack, all assigned in one and `a` and `b` finished in one.
fn four() -> Tree {
    let mut tree = Tree::new();
    let (mut leader, _) = Leader::take_over(&tree, 1, true);
    let ids = ["a", "b", "c", "d"];
    leader.commit(&mut tree, &ids.map(|id| submitted(id, 1)));
    leader.commit(&mut tree, &ids.map(|id| assigned(id, "w", 1, 2)));
    leader.commit(&mut tree, &[finished("a", "w", 1, 3), finished("b", "w", 1, 4)]);
    tree
}

const TASKS: &str = "/tasks/01/@1-1";
const ASSIGNMENTS: &str = "/assign/w/@1-2";
const STATUSES: &str = "/tasks/03/@1-3-status";

/// Puts something else in the place of one entry.
fn damage(tree: &mut Tree, path: &str, at: usize, with: impl FnOnce(&[u8]) -> Vec<u8>) {
    let node = tree.nodes.get_mut(path).unwrap();
    let (mut entries, problem) = wire::decode_pack(node.clone());
    assert_eq!(problem, None);
    entries[at] = with(&entries[at]).into();
    *node = wire::encode_pack(entries);
}

/// The id stays readable, what follows does not.
fn half(entry: &[u8]) -> Vec<u8> {
    [&entry[..entry.len() - 1], b"\xff\xff"].concat()
}

/// Ends and removes all that was loaded, forgets the worker, and submits again what may be.
fn live_on(tree: &mut Tree) -> Loaded {
    let (mut leader, loaded) = Leader::take_over(tree, 2, true);
    let assigned = |id: &TaskId| loaded.assignments.iter().find(|found| found.task_id == *id);
    let live = loaded.tasks.iter().map(|task| &task.submission.task_id);
    let mut changes = Vec::new();
    for task_id in live.clone() {
        let assigned_to = assigned(task_id).map(|found| found.worker.clone());
        let status = status(1, 10, Some(Outcome::Cancelled));
        changes.push(Change::Finished { task_id: task_id.clone(), assigned_to, status });
    }
    leader.commit(tree, &changes);
    let mut changes: Vec<_> = live.map(|id| removed(id.as_str())).collect();
    changes.push(Change::WorkerForgotten { worker: worker("w") });
    changes.extend(loaded.tasks.iter().map(|task| submitted(task.submission.task_id.as_str(), 20)));
    leader.commit(tree, &changes);
    let (after, _) = tree.load();
    assert_eq!(names(&after), names(&loaded), "what was removed and came again is there, and nothing else");
    assert!(after.tasks.iter().all(|task| task.status.is_none()), "{:?}", after.tasks);
    assert_eq!(after.corrupt, loaded.corrupt);
    loaded
}

#[test]
fn an_entry_that_cannot_be_read_sets_its_task_aside_and_no_other() {
    for path in [TASKS, ASSIGNMENTS, STATUSES] {
        let mut tree = four();
        damage(&mut tree, path, 1, half);
        let loaded = live_on(&mut tree);
        assert_eq!(names(&loaded), ["a", "c", "d"], "{path}");
        assert_eq!(loaded.corrupt, [id("b")], "{path}");
        assert!(tree.nodes.contains_key(path), "{path} stays, for somebody to look at");
    }
}

#[test]
fn an_entry_whose_task_nobody_can_tell_costs_nothing_else() {
    let mut tree = four();
    damage(&mut tree, TASKS, 1, |_| b"\xff".to_vec());
    let loaded = live_on(&mut tree);
    assert_eq!(names(&loaded), ["a", "c", "d"]);
    assert!(loaded.corrupt.is_empty());
    assert!(tree.nodes.contains_key(TASKS));
}

#[test]
fn a_pack_that_breaks_off_gives_what_came_before() {
    let mut tree = four();
    let node = tree.nodes.get_mut(TASKS).unwrap();
    node.truncate(node.len() - 1);
    let loaded = live_on(&mut tree);
    assert_eq!(names(&loaded), ["a", "b", "c"]);
    assert!(tree.nodes.contains_key(TASKS));
}

#[test]
fn the_tasks_of_a_pack_that_is_garbage_are_unknown_and_stop_nobody() {
    let mut tree = four();
    tree.nodes.insert(TASKS.into(), b"\xff\xff garbage".to_vec());
    let (mut leader, loaded) = Leader::take_over(&tree, 2, true);
    assert!(loaded.tasks.is_empty() && loaded.assignments.is_empty() && loaded.corrupt.is_empty());
    // Nobody can know that the ids were taken.
    leader.commit(&mut tree, &[submitted("a", 20), submitted("b", 21)]);
    let (loaded, _) = tree.load();
    assert_eq!(names(&loaded), ["a", "b"]);
    assert!(loaded.tasks.iter().all(|task| task.status.is_none()), "of their earlier lives they know nothing");
    assert_eq!(tree.written().iter().filter(|path| path.contains("@1-")).collect::<Vec<_>>(), [&TASKS]);
}

#[test]
fn a_pack_with_something_below_it_is_used_and_stays() {
    for path in [TASKS, ASSIGNMENTS, STATUSES] {
        let mut tree = four();
        tree.nodes.insert(format!("{path}/notes"), Vec::new());
        let loaded = live_on(&mut tree);
        assert_eq!(names(&loaded), ["a", "b", "c", "d"], "{path}");
        assert!(tree.nodes.contains_key(path), "{path}");
    }
}

#[test]
fn foreign_nodes_beside_packed_ones_are_in_nobodys_way() {
    let mut tree = four();
    for path in ["/tasks/01/@1", "/tasks/02/@1-1", "/tasks/02/@1-2", "/tasks/04/@7-4-status", "/tasks/01/@x-1"] {
        tree.nodes.insert(path.into(), Vec::new());
    }
    let loaded = live_on(&mut tree);
    assert_eq!(names(&loaded), ["a", "b", "c", "d"]);
}

#[test]
fn a_task_that_lies_in_two_nodes_is_set_aside() {
    let mut tree = four();
    tree.nodes.insert(paths::task(&id("a")), wire::encode_submission(&submission("a", 9, b"other")));
    let loaded = live_on(&mut tree);
    assert_eq!(names(&loaded), ["b", "c", "d"]);
    assert_eq!(loaded.corrupt, [id("a")]);
}

#[test]
fn an_unreadable_entry_of_a_task_that_was_removed_sets_nothing_aside() {
    let mut tree = four();
    let (mut leader, _) = Leader::take_over(&tree, 2, true);
    leader.commit(&mut tree, &[removed("a")]);
    damage(&mut tree, TASKS, 0, half);
    let (loaded, _) = tree.load();
    assert_eq!(names(&loaded), ["b", "c", "d"]);
    assert!(loaded.corrupt.is_empty());
}

#[test]
fn the_largest_results_of_packed_tasks_have_packs_of_their_own() {
    let mut tree = four();
    let (mut leader, _) = Leader::take_over(&tree, 2, true);
    let large = Outcome::Succeeded(vec![b'x'; MAX_PAYLOAD_BYTES].into());
    let finish = |name, revision| Change::Finished {
        task_id: id(name),
        assigned_to: Some(worker("w")),
        status: status(1, revision, Some(large.clone())),
    };
    assert_eq!(leader.commit(&mut tree, &[finish("c", 5), finish("d", 6)]), 3, "two packs, and the assignments go");
    let (loaded, _) = tree.load();
    assert!(loaded.tasks[2..].iter().all(|task| task.status.as_ref().unwrap().outcome == Some(large.clone())));
}
