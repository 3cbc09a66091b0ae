use std::collections::BTreeSet;

use super::{
    super::mailbox::{End, MAX_PENDING_BYTES, MAX_PENDING_TASKS, Mailbox, Next},
    id, task, with_result,
};
use crate::domain::{
    Revision, TaskId,
    TaskState::{Assigned, Cancelled, Pending, Running, Succeeded},
};

fn of(ids: &[&str], after: u64) -> Mailbox {
    let ids: BTreeSet<TaskId> = ids.iter().map(|name| id(name)).collect();
    Mailbox::of_ids(&ids, Revision(after))
}

/// What a reader would get: id, revision, skipped, resume.
fn read(mailbox: &mut Mailbox) -> Vec<(String, u64, u32, u64)> {
    let mut told = Vec::new();
    while let Next::Update(update) = mailbox.next() {
        told.push((update.task.id.to_string(), update.task.revision.0, update.skipped, update.resume.0));
    }
    told
}

fn told(name: &str, revision: u64, skipped: u32, resume: u64) -> (String, u64, u32, u64) {
    (name.to_owned(), revision, skipped, resume)
}

#[test]
fn a_reader_gets_the_present_state_and_then_every_change() {
    let mut mailbox = of(&["a"], 0);
    assert_eq!(mailbox.next(), Next::Nothing);
    mailbox.snapshot(&task("a", 1, Pending));
    assert_eq!(read(&mut mailbox), [told("a", 1, 0, 1)]);
    mailbox.change(&task("a", 2, Assigned));
    assert_eq!(read(&mut mailbox), [told("a", 2, 0, 2)]);
    mailbox.change(&task("a", 3, Succeeded));
    assert_eq!(read(&mut mailbox), [told("a", 3, 0, 3)]);
    assert_eq!(mailbox.next(), Next::End(End::Complete));
}

#[test]
fn a_slow_reader_gets_the_newest_state_and_is_told_how_many_it_missed() {
    let mut mailbox = of(&["a"], 0);
    mailbox.snapshot(&task("a", 1, Pending));
    read(&mut mailbox);
    for (revision, state) in [(2, Assigned), (3, Running), (4, Pending), (5, Assigned)] {
        mailbox.change(&task("a", revision, state));
    }
    assert_eq!(read(&mut mailbox), [told("a", 5, 3, 5)]);
    mailbox.change(&task("a", 6, Running));
    mailbox.change(&task("a", 7, Succeeded));
    assert_eq!(read(&mut mailbox), [told("a", 7, 1, 7)]);
}

#[test]
fn what_happened_before_the_first_state_is_not_told_twice_and_not_counted() {
    let mut mailbox = of(&["a"], 0);
    mailbox.change(&task("a", 2, Assigned));
    mailbox.change(&task("a", 3, Running));
    assert_eq!(mailbox.next(), Next::Nothing);
    mailbox.snapshot(&task("a", 3, Running));
    assert_eq!(read(&mut mailbox), [told("a", 3, 0, 3)]);
}

#[test]
fn an_end_that_arrives_before_an_older_first_state_is_not_lost() {
    let mut mailbox = of(&["a"], 0);
    mailbox.change(&task("a", 3, Succeeded));
    mailbox.snapshot(&task("a", 2, Running));
    assert_eq!(read(&mut mailbox), [told("a", 2, 0, 2), told("a", 3, 0, 3)]);
    assert_eq!(mailbox.next(), Next::End(End::Complete));
}

#[test]
fn a_resumed_reader_is_not_told_what_it_knows_unless_it_is_the_end() {
    let mut mailbox = of(&["a"], 5);
    mailbox.snapshot(&task("a", 5, Running));
    assert_eq!(mailbox.next(), Next::Nothing);
    mailbox.change(&task("a", 5, Running));
    assert_eq!(mailbox.next(), Next::Nothing);
    let mut ended = of(&["a"], 5);
    ended.snapshot(&task("a", 5, Cancelled));
    assert_eq!(read(&mut ended), [told("a", 5, 0, 5)]);
    assert_eq!(ended.next(), Next::End(End::Complete));
}

#[test]
fn nothing_follows_an_end() {
    let mut mailbox = of(&["a", "b"], 0);
    mailbox.snapshot(&task("a", 1, Succeeded));
    mailbox.snapshot(&task("b", 2, Pending));
    mailbox.change(&task("a", 9, Running));
    mailbox.change(&task("a", 1, Succeeded));
    assert_eq!(read(&mut mailbox), [told("a", 1, 0, 0), told("b", 2, 0, 2)]);
    assert_eq!(mailbox.next(), Next::Nothing);
}

#[test]
fn changes_wait_for_every_first_state_and_come_in_the_order_of_revisions() {
    let mut mailbox = of(&["a", "b"], 0);
    mailbox.snapshot(&task("a", 1, Pending));
    mailbox.change(&task("a", 5, Assigned));
    assert_eq!(read(&mut mailbox), [told("a", 1, 0, 0)]);
    mailbox.snapshot(&task("b", 4, Pending));
    mailbox.change(&task("b", 6, Assigned));
    mailbox.change(&task("a", 7, Running));
    // a@7 overtook a@5, so b@6 comes first.
    assert_eq!(read(&mut mailbox), [told("b", 4, 0, 5), told("b", 6, 0, 6), told("a", 7, 1, 7)]);
}

#[test]
fn the_place_to_resume_never_passes_what_is_still_unread() {
    let mut mailbox = Mailbox::of_filter(Revision(0));
    mailbox.snapshot(&task("a", 3, Pending));
    mailbox.change(&task("a", 5, Assigned));
    mailbox.snapshot(&task("z", 9, Pending));
    mailbox.page_done(true);
    assert_eq!(read(&mut mailbox), [told("a", 3, 0, 0), told("z", 9, 0, 4), told("a", 5, 0, 9)]);
}

#[test]
fn a_reader_far_behind_is_sent_away_to_resume_and_keeps_no_memory() {
    let mut mailbox = Mailbox::of_filter(Revision(0));
    mailbox.page_done(true);
    for revision in 1..=MAX_PENDING_TASKS as u64 {
        mailbox.change(&task(&format!("t{revision}"), revision, Pending));
    }
    assert!(matches!(mailbox.next(), Next::Update(_)));
    mailbox.change(&task("x", 20_000, Pending));
    mailbox.change(&task("y", 20_001, Pending));
    assert_eq!(mailbox.next(), Next::End(End::Resume));
}

#[test]
fn unread_results_are_bounded_in_bytes() {
    let mut mailbox = Mailbox::of_filter(Revision(0));
    mailbox.page_done(true);
    let large = 64 * 1024;
    let many = (MAX_PENDING_BYTES / large) as u64;
    for revision in 1..=many {
        mailbox.change(&with_result(&format!("t{revision}"), revision, Succeeded, large));
    }
    assert_eq!(read(&mut mailbox).len(), usize::try_from(many).unwrap());
    for revision in 100..=100 + many {
        mailbox.change(&with_result(&format!("t{revision}"), revision, Succeeded, large));
    }
    assert_eq!(mailbox.next(), Next::End(End::Resume));
}

#[test]
fn a_step_of_first_states_is_wanted_once_and_only_when_the_last_was_read() {
    let mut mailbox = Mailbox::of_filter(Revision(0));
    assert!(mailbox.wants_step());
    assert!(!mailbox.wants_step());
    mailbox.snapshot(&task("a", 1, Pending));
    mailbox.page_done(false);
    assert!(!mailbox.wants_step());
    assert!(matches!(mailbox.next(), Next::Update(_)));
    assert!(mailbox.wants_step());
}

#[test]
fn a_lost_link_moves_a_filter_to_what_it_missed_and_no_further() {
    let mut mailbox = Mailbox::of_filter(Revision(0));
    mailbox.page_done(true);
    mailbox.change(&task("a", 1, Pending));
    mailbox.change(&task("b", 2, Pending));
    assert!(matches!(mailbox.next(), Next::Update(_)));
    // b@2 is unread, but it is here: only what came after it is missing.
    assert_eq!(mailbox.catch_up(), Some(Revision(2)));
    mailbox.snapshot(&task("b", 8, Running));
    mailbox.page_done(true);
    assert_eq!(read(&mut mailbox), [told("b", 8, 1, 8)]);
}

#[test]
fn a_link_lost_among_the_first_states_sends_a_reader_that_has_some_away() {
    let mut nothing_told = Mailbox::of_filter(Revision(7));
    nothing_told.snapshot(&task("a", 9, Pending));
    assert_eq!(nothing_told.catch_up(), Some(Revision(7)));
    assert_eq!(nothing_told.next(), Next::Nothing);
    let mut some_told = Mailbox::of_filter(Revision(7));
    some_told.snapshot(&task("a", 9, Pending));
    assert!(matches!(some_told.next(), Next::Update(_)));
    assert_eq!(some_told.catch_up(), None);
    assert_eq!(some_told.next(), Next::End(End::Resume));
}

#[test]
fn a_storm_of_changes_before_the_first_states_sends_nobody_away() {
    let mut mailbox = Mailbox::of_filter(Revision(0));
    assert!(mailbox.wants_step());
    let changes = 2 * MAX_PENDING_TASKS as u64;
    for number in 0..changes {
        mailbox.change(&task(&format!("t{number}"), 100 + number, Pending));
    }
    mailbox.snapshot(&task("a", 1, Pending));
    assert_eq!(mailbox.page_done(true), Some(Revision(99)), "what was dropped is asked for");
    assert_eq!(read(&mut mailbox), [told("a", 1, 0, 0)], "nothing is told out of its order");
    assert!(mailbox.wants_step());
    for number in 0..changes {
        mailbox.snapshot(&task(&format!("t{number}"), 100 + number, Pending));
    }
    assert_eq!(mailbox.page_done(true), None);
    let told = read(&mut mailbox);
    assert_eq!(told.len(), usize::try_from(changes).unwrap());
    assert_eq!(told.last().unwrap().3, 99 + changes);
}

#[test]
fn nor_do_large_results_before_the_first_states() {
    let mut mailbox = Mailbox::of_filter(Revision(0));
    let large = MAX_PENDING_BYTES / 10;
    for number in 0..25 {
        mailbox.change(&with_result(&format!("t{number}"), 100 + number, Succeeded, large));
    }
    assert_eq!(mailbox.next(), Next::Nothing);
    assert_eq!(mailbox.page_done(true), Some(Revision(99)));
}
