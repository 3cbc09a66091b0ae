//! What may be done with a task that has ended.

use super::world::{World, task};
use crate::domain::{Answer, Refusal};

#[test]
fn a_retry_said_again_is_the_same_after_the_old_task_is_gone() {
    let mut world = World::new();
    world.start("w", 1);
    world.submit("a");
    world.succeed("w", &world.attempt("a"));
    world.retry("a", "b");
    let first = world.get("b");
    assert_eq!(first.retry_of, Some(task("a")));
    world.request_delete("a");
    world.take_over();
    assert!(matches!(world.retry("a", "b"), Answer::Task(task) if task.create_time == first.create_time));
    assert_eq!(world.retry("a", "c"), Answer::Refused(Refusal::TaskNotFound));
}
