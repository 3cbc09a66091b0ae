use std::sync::Arc;

use super::{
    super::{
        mailbox::{End, Mailbox, Next},
        registry::{Registry, StreamId, Target},
        slot::Slot,
    },
    id, task,
};
use crate::{
    client::leader_link::HubRequest,
    domain::{
        Answer, Call, Page, Refusal, Revision, Task, TaskEvent, TaskId,
        TaskState::{self, Pending, Succeeded},
    },
    wire::CallError,
};

fn join(registry: &mut Registry, names: &[&str]) -> (StreamId, Arc<Slot>) {
    let ids: std::collections::BTreeSet<TaskId> = names.iter().map(|name| id(name)).collect();
    let slot = Arc::new(Slot::new(Mailbox::of_ids(&ids, Revision(0))));
    (registry.join(Target::Ids(ids), Revision(0), &slot), slot)
}

fn asked(registry: &mut Registry) -> Vec<(u64, Vec<String>)> {
    let mut questions = Vec::new();
    while let Some((_, request)) = registry.requests() {
        if let HubRequest::Ask { token, call: Call::Watch { task_ids } } = request {
            questions.push((token, task_ids.iter().map(ToString::to_string).collect()));
        }
    }
    questions
}

fn page(tasks: &[&Arc<Task>]) -> Answer {
    Answer::Page(Page { tasks: tasks.iter().map(|task| (***task).clone()).collect(), ..Page::default() })
}

fn event(task: &Arc<Task>, previous_state: TaskState) -> TaskEvent {
    TaskEvent { task: (**task).clone(), previous_state }
}

#[test]
fn many_watchers_of_one_task_are_one_question() {
    let mut registry = Registry::default();
    let slots: Vec<_> = (0..10_000).map(|_| join(&mut registry, &["a"]).1).collect();
    registry.up(1);
    let questions = asked(&mut registry);
    assert_eq!(questions.len(), 1);
    registry.answer(questions[0].0, page(&[&task("a", 1, Pending)]));
    registry.event(event(&task("a", 2, Succeeded), Pending));
    for slot in slots {
        assert!(matches!(slot.next().0, Next::Update(_)));
        assert!(matches!(slot.next().0, Next::Update(update) if update.task.state == Succeeded));
        assert_eq!(slot.next().0, Next::End(End::Complete));
    }
    assert_eq!(registry.watched_tasks(), 0);
}

#[test]
fn a_stream_that_joins_late_gets_a_first_state_of_its_own_time() {
    let mut registry = Registry::default();
    registry.up(1);
    let _early = join(&mut registry, &["a"]);
    let first = asked(&mut registry);
    let (_, late) = join(&mut registry, &["a"]);
    registry.answer(first[0].0, page(&[&task("a", 1, Pending)]));
    assert_eq!(late.next().0, Next::Nothing);
    let second = asked(&mut registry);
    registry.answer(second[0].0, page(&[&task("a", 2, Pending)]));
    assert!(matches!(late.next().0, Next::Update(update) if update.task.revision == Revision(2)));
}

#[test]
fn an_unknown_task_ends_its_streams_and_no_other() {
    let mut registry = Registry::default();
    registry.up(1);
    let (_, both) = join(&mut registry, &["a", "b"]);
    let (_, only_a) = join(&mut registry, &["a"]);
    let questions = asked(&mut registry);
    let answer = Page { tasks: vec![(*task("a", 1, Pending)).clone()], missing: vec![id("b")], ..Page::default() };
    registry.answer(questions[0].0, Answer::Page(answer));
    let not_found = CallError::Refused(Refusal::TaskNotFound);
    assert_eq!(both.next().0, Next::End(End::Failed { error: not_found, task_id: Some(id("b")) }));
    assert!(matches!(only_a.next().0, Next::Update(_)));
}

#[test]
fn the_interest_goes_with_the_last_stream_even_if_it_says_nothing() {
    let mut registry = Registry::default();
    registry.up(1);
    let (first, _slot) = join(&mut registry, &["a"]);
    let (_, second) = join(&mut registry, &["a"]);
    asked(&mut registry);
    registry.leave(first);
    assert!(registry.requests().is_none());
    drop(second);
    registry.sweep();
    let unwatch = HubRequest::Unwatch { task_ids: vec![id("a")], filter_ids: vec![] };
    assert_eq!(registry.requests(), Some((1, unwatch)));
}

#[test]
fn many_ids_are_asked_about_in_steps_as_the_reader_reads() {
    let mut registry = Registry::default();
    registry.up(1);
    let names: Vec<_> = (0..40).map(|at| format!("t{at:02}")).collect();
    let (stream, slot) = join(&mut registry, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let questions = asked(&mut registry);
    assert_eq!((questions.len(), questions[0].1.len()), (1, 32));
    let tasks: Vec<_> = questions[0].1.iter().map(|name| task(name, 1, Pending)).collect();
    registry.answer(questions[0].0, page(&tasks.iter().collect::<Vec<_>>()));
    assert!(asked(&mut registry).is_empty());
    for _ in 0..32 {
        let (next, wants_step) = slot.next();
        assert!(matches!(next, Next::Update(_)));
        if wants_step {
            registry.step(stream);
        }
    }
    assert_eq!(asked(&mut registry)[0].1.len(), 8);
}

#[test]
fn an_answer_of_an_earlier_link_means_nothing() {
    let mut registry = Registry::default();
    registry.up(1);
    let (_, slot) = join(&mut registry, &["a"]);
    let before = asked(&mut registry);
    registry.down();
    registry.up(2);
    registry.answer(before[0].0, page(&[&task("a", 1, Pending)]));
    assert_eq!(slot.next().0, Next::Nothing);
    let after = asked(&mut registry);
    registry.answer(after[0].0, page(&[&task("a", 2, Pending)]));
    assert!(matches!(slot.next().0, Next::Update(_)));
}
