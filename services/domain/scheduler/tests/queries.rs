//! What readers are told, page by page.

use super::world::{World, task};
use crate::domain::{Loaded, Now, Scheduler, Term, WorkerQuery, scheduler::Limits};

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
