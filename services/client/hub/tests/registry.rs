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
        Answer, Call, Page, Refusal, Revision, Task, TaskEvent, TaskFilter, TaskId,
        TaskState::{self, Pending, Succeeded},
    },
    wire::CallError,
};

fn join(registry: &mut Registry, names: &[&str]) -> (StreamId, Arc<Slot>) {
    let ids: std::collections::BTreeSet<TaskId> = names.iter().map(|name| id(name)).collect();
    let slot = Arc::new(Slot::new(Mailbox::of_ids(&ids, Revision(0))));
    (registry.join(Target::Ids(ids), Revision(0), &slot), slot)
}

fn join_all(registry: &mut Registry) -> (StreamId, Arc<Slot>) {
    let slot = Arc::new(Slot::new(Mailbox::of_filter(Revision(0))));
    (registry.join(Target::Filter(TaskFilter::default()), Revision(0), &slot), slot)
}

/// A watch that is closed as soon as it is open, on a task of its own.
fn come_and_go(registry: &mut Registry, at: usize) {
    let (by_id, _slot) = join(registry, &[&format!("t{at}"), "same"]);
    let (by_filter, _slot) = join_all(registry);
    registry.leave(by_id);
    registry.leave(by_filter);
}

fn missing(name: &str) -> Answer {
    Answer::Page(Page { missing: vec![id(name)], ..Page::default() })
}

fn not_found(name: &str) -> Next {
    Next::End(End::Failed { error: CallError::Refused(Refusal::TaskNotFound), task_id: Some(id(name)) })
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
    Answer::Page(Page { tasks: tasks.iter().map(|task| (*task).clone()).collect(), ..Page::default() })
}

fn event(task: &Arc<Task>, previous_state: TaskState) -> TaskEvent {
    TaskEvent { task: task.clone(), previous_state }
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
    let answer = Page { tasks: vec![task("a", 1, Pending)], missing: vec![id("b")], ..Page::default() };
    registry.answer(questions[0].0, Answer::Page(answer));
    assert_eq!(both.next().0, not_found("b"));
    assert!(matches!(only_a.next().0, Next::Update(_)));
}

#[test]
fn a_task_whose_record_cannot_be_read_ends_its_streams_as_that() {
    let mut registry = Registry::default();
    registry.up(1);
    let (_, slot) = join(&mut registry, &["a"]);
    let questions = asked(&mut registry);
    registry.answer(questions[0].0, Answer::Page(Page { corrupt: vec![id("a")], ..Page::default() }));
    let end = End::Failed { error: CallError::Refused(Refusal::CorruptRecord), task_id: Some(id("a")) };
    assert_eq!(slot.next().0, Next::End(end));
}

#[test]
fn a_task_that_is_submitted_while_an_earlier_question_is_answered_is_found_by_later_watches() {
    let mut registry = Registry::default();
    registry.up(1);
    let (_, early) = join(&mut registry, &["a"]);
    let first = asked(&mut registry);
    let (_, on_its_way) = join(&mut registry, &["a"]);
    let second = asked(&mut registry);
    let (_, not_asked_for) = join(&mut registry, &["a"]);
    registry.answer(first[0].0, missing("a"));
    assert_eq!(early.next().0, not_found("a"));
    // The next request is the question, not one that lets the task go.
    let Some((_, HubRequest::Ask { token: third, call: Call::Watch { task_ids } })) = registry.requests() else {
        panic!("the third stream is not asked for")
    };
    assert_eq!(task_ids, [id("a")]);
    for (token, revision, slot) in [(second[0].0, 1, &on_its_way), (third, 2, &not_asked_for)] {
        registry.answer(token, page(&[&task("a", revision, Pending)]));
        assert!(matches!(slot.next().0, Next::Update(update) if update.task.revision == Revision(revision)));
    }
    registry.event(event(&task("a", 3, Succeeded), Pending));
    for slot in [&on_its_way, &not_asked_for] {
        while let Next::Update(_) = slot.next().0 {}
        assert_eq!(slot.next().0, Next::End(End::Complete));
    }
    assert_eq!(registry.watched_tasks(), 0);
}

#[test]
fn a_task_that_is_not_there_any_more_ends_the_watches_that_followed_it() {
    let mut registry = Registry::default();
    registry.up(1);
    let (_, follows) = join(&mut registry, &["a"]);
    let first = asked(&mut registry);
    registry.answer(first[0].0, page(&[&task("a", 1, Pending)]));
    assert!(matches!(follows.next().0, Next::Update(_)));
    registry.up(2);
    let again = asked(&mut registry);
    registry.answer(again[0].0, missing("a"));
    assert_eq!(follows.next().0, not_found("a"));
    assert_eq!(registry.watched_tasks(), 0);
}

#[test]
fn watches_that_come_and_go_without_a_leader_leave_nothing_behind() {
    let mut registry = Registry::default();
    (0..100).for_each(|at| come_and_go(&mut registry, at));
    assert_eq!(registry.backlog(), 0);
    registry.up(1);
    let (stays, _slot) = join(&mut registry, &["same"]);
    asked(&mut registry);
    registry.down();
    (0..100).for_each(|at| come_and_go(&mut registry, at));
    registry.leave(stays);
    assert_eq!(registry.backlog(), 0);
}

#[test]
fn watches_that_come_and_go_while_the_link_does_not_move_leave_nothing_behind() {
    let mut registry = Registry::default();
    registry.up(1);
    (0..100).for_each(|at| come_and_go(&mut registry, at));
    assert_eq!(registry.backlog(), 0);
    assert_eq!(registry.requests(), None);
}

#[test]
fn a_filter_that_the_leader_has_heard_of_is_let_go_there() {
    let mut registry = Registry::default();
    registry.up(1);
    let (stream, _slot) = join_all(&mut registry);
    // Its registration leaves, its first page does not.
    assert!(matches!(registry.requests(), Some((1, HubRequest::Ask { call: Call::WatchFilter { .. }, .. }))));
    registry.leave(stream);
    let unwatch = HubRequest::Unwatch { task_ids: vec![], filter_ids: vec![stream] };
    assert_eq!(registry.requests(), Some((1, unwatch)));
    assert_eq!(registry.backlog(), 0);
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
