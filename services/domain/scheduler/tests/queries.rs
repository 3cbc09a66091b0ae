//! What readers are told, page by page.

use super::world::{World, task};
use crate::domain::{
    ListQuery, Loaded, Now, Revision, Scheduler, TaskFilter, TaskState, Term, WorkerQuery, scheduler::Limits,
};

#[test]
fn workers_are_listed_in_pages_each_once() {
    let mut world = World::new();
    for id in ["c", "a", "b"] {
        world.start(id, 1);
    }
    let mut query = WorkerQuery { page_size: 2, after: None };
    let first = world.scheduler.workers(&query);
    query.after.clone_from(&first.next_after);
    let second = world.scheduler.workers(&query);
    let ids: Vec<_> = first.workers.iter().chain(&second.workers).map(|view| view.worker_id.as_str()).collect();
    assert_eq!((ids, second.next_after), (vec!["a", "b", "c"], None));
}

#[test]
fn a_corrupt_record_is_told_from_a_missing_task() {
    let now: Now = World::new().now;
    let loaded = Loaded { corrupt: vec![task("bad")], ..Loaded::default() };
    let (scheduler, _) = Scheduler::recover(Limits::default(), Term(1), now, loaded);
    let page = scheduler.present(&[task("bad"), task("nobody")]);
    assert_eq!((page.corrupt, page.missing), (vec![task("bad")], vec![task("nobody")]));
}

/// The ids of all pages of a query.
fn listed(world: &World, mut query: ListQuery) -> Vec<String> {
    let mut ids = Vec::new();
    loop {
        let page = world.scheduler.list(&query);
        assert!(page.tasks.iter().all(|task| task.revision > query.after_revision));
        ids.extend(page.tasks.iter().map(|task| task.id.to_string()));
        if !page.turn(&mut query) {
            return ids;
        }
    }
}

#[test]
fn whoever_goes_on_from_a_revision_is_told_once_of_what_has_changed_since_and_of_nothing_else() {
    let mut world = World::new();
    world.start("w", 1);
    // Two of them run.
    for id in ["d", "c", "b", "a"] {
        world.submit(id);
    }
    let seen = world.scheduler.list(&ListQuery { page_size: 10, ..ListQuery::default() });
    let newest = seen.tasks.iter().map(|task| task.revision).max().unwrap();
    world.succeed("w", &world.attempt("c"));
    world.submit("e");
    let since = |after_revision, page_size| ListQuery { page_size, after_revision, ..ListQuery::default() };
    // In the order of their latest changes, however small the pages are: b got the slot of c.
    for page_size in [1, 2, 10] {
        assert_eq!(listed(&world, since(newest, page_size)), ["c", "b", "e"], "{page_size}");
    }
    let ended = TaskFilter { states: [TaskState::Succeeded].into(), ..TaskFilter::default() };
    assert_eq!(listed(&world, ListQuery { filter: ended, ..since(newest, 1) }), ["c"]);
    // What a later leader does not remember it finds all the same, in the order of ids; what runs has changed with it.
    world.take_over();
    assert_eq!(listed(&world, since(Revision(0), 2)), ["a", "b", "c", "d", "e"]);
    assert_eq!(listed(&world, since(newest, 2)), ["b", "c", "d", "e"]);
}
