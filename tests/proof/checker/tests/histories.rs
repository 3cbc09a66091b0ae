//! Histories that some order explains, and those that none does.

use super::story::{Story, ok, refused, revision, spec, told, unknown};
use crate::proof::{
    checker::{
        case::{Case, Operation},
        linearizable::{Verdict, judge},
        log::Log,
    },
    evidence::{Call, Outcome, State},
};

/// The verdict on what is said of `t`.
fn verdict(tell: impl FnOnce(&mut Story)) -> Verdict {
    let mut story = Story::told();
    tell(&mut story);
    story.tree();
    let case = Case::new(story.evidence, Log::default());
    judge(&case.tasks["t"].operations)
}

fn pending() -> Outcome {
    ok(told("t", State::Pending, 0, revision(3, 1)))
}

fn running() -> Outcome {
    ok(told("t", State::Running, 1, revision(3, 3)))
}

fn succeeded() -> Outcome {
    ok(told("t", State::Succeeded, 1, revision(3, 5)))
}

fn cancelled() -> Outcome {
    ok(told("t", State::Cancelled, 1, revision(3, 4)))
}

fn other(story: &mut Story, asked: u64, answered: u64, outcome: Outcome) {
    story.says(asked, answered, Call::Submit { task: "t".into(), spec: spec("other") }, outcome);
}

#[test]
fn what_overlaps_may_have_happened_in_any_order() {
    for (absent, outcome) in [(true, refused("TASK_NOT_FOUND")), (false, pending())] {
        let found = verdict(|story| {
            story.submits(10, 30, "t", pending());
            story.gets(20, 25, "t", outcome);
        });
        assert_eq!(found, Verdict::Linearizable, "absent: {absent}");
    }
    // Both of two submits with different specs were first for a while, but only one of them in the end.
    let race = |first: Outcome, second: Outcome| {
        verdict(|story| {
            story.submits(10, 30, "t", first);
            other(story, 10, 30, second);
        })
    };
    assert_eq!(race(pending(), refused("TASK_EXISTS")), Verdict::Linearizable);
    assert_eq!(race(refused("TASK_EXISTS"), refused("TASK_EXISTS")), Verdict::Not);
    assert_eq!(race(pending(), ok(told("t", State::Pending, 0, revision(3, 2)))), Verdict::Not);
}

#[test]
fn what_was_answered_before_the_next_question_holds_for_it() {
    let then = |tell: fn(&mut Story)| {
        verdict(|story| {
            story.submits(10, 20, "t", pending());
            tell(story);
        })
    };
    assert_eq!(then(|story| story.gets(30, 40, "t", running())), Verdict::Linearizable);
    assert_eq!(then(|story| story.gets(30, 40, "t", refused("TASK_NOT_FOUND"))), Verdict::Not);
    assert_eq!(then(|story| story.cancels(30, 40, "t", refused("TASK_NOT_FOUND"))), Verdict::Not);
    assert_eq!(then(|story| story.submits(30, 40, "t", refused("TASK_EXISTS"))), Verdict::Not, "the same spec");
    assert_eq!(then(|story| other(story, 30, 40, refused("TASK_EXISTS"))), Verdict::Linearizable);
    // A read that goes back.
    let back = |story: &mut Story| {
        story.gets(30, 40, "t", running());
        story.gets(50, 60, "t", pending());
    };
    assert_eq!(then(back), Verdict::Not);
    // One revision is one state.
    let two_states = |story: &mut Story| {
        story.gets(30, 40, "t", running());
        story.gets(50, 60, "t", ok(told("t", State::Assigned, 1, revision(3, 3))));
    };
    assert_eq!(then(two_states), Verdict::Not);
    // A payload that was never sent.
    let mut foreign = told("t", State::Pending, 0, revision(3, 1));
    foreign.spec = spec("foreign");
    let found = verdict(|story| {
        story.submits(10, 20, "t", pending());
        story.gets(30, 40, "t", ok(foreign));
    });
    assert_eq!(found, Verdict::Not);
}

#[test]
fn an_end_is_final_whoever_made_it() {
    type Told = (Verdict, fn(&mut Story));
    let after_submit = |tell: fn(&mut Story)| {
        verdict(|story| {
            story.submits(10, 20, "t", pending());
            tell(story);
        })
    };
    let cases: [Told; 6] = [
        (Verdict::Linearizable, |story| {
            story.cancels(30, 40, "t", refused("TASK_ENDED"));
            story.gets(50, 60, "t", succeeded());
        }),
        (Verdict::Not, |story| {
            story.gets(30, 40, "t", succeeded());
            story.cancels(50, 60, "t", cancelled());
        }),
        (Verdict::Not, |story| {
            story.cancels(30, 40, "t", cancelled());
            story.cancels(50, 60, "t", refused("TASK_ENDED"));
        }),
        (Verdict::Not, |story| {
            story.cancels(30, 40, "t", cancelled());
            story.gets(50, 60, "t", succeeded());
        }),
        (Verdict::Not, |story| {
            story.cancels(30, 40, "t", refused("TASK_ENDED"));
            story.gets(50, 60, "t", ok(told("t", State::Running, 1, revision(3, 9))));
        }),
        (Verdict::Not, |story| story.cancels(30, 40, "t", succeeded())),
    ];
    for (at, (expected, tell)) in cases.into_iter().enumerate() {
        assert_eq!(after_submit(tell), expected, "case {at}");
    }
}

#[test]
fn an_unknown_outcome_may_be_so_at_any_later_time_or_never() {
    let unknown_submit = |tell: fn(&mut Story)| {
        verdict(|story| {
            story.submits(10, 20, "t", unknown());
            tell(story);
        })
    };
    for tell in [
        (|story| story.gets(30, 40, "t", refused("TASK_NOT_FOUND"))) as fn(&mut Story),
        |story| story.gets(30, 40, "t", pending()),
        |story| {
            story.gets(30, 40, "t", refused("TASK_NOT_FOUND"));
            story.gets(50, 60, "t", pending());
        },
        |story| other(story, 30, 40, ok(told("t", State::Pending, 0, revision(3, 1)))),
    ] {
        assert_eq!(unknown_submit(tell), Verdict::Linearizable);
    }
    let vanished = |story: &mut Story| {
        story.gets(30, 40, "t", pending());
        story.gets(50, 60, "t", refused("TASK_NOT_FOUND"));
    };
    assert_eq!(unknown_submit(vanished), Verdict::Not);
    // It cannot happen before it was asked for.
    let too_early = |story: &mut Story| story.gets(1, 5, "t", pending());
    assert_eq!(unknown_submit(too_early), Verdict::Not);
    let cancel = |outcome: Outcome| {
        verdict(|story| {
            story.submits(10, 20, "t", pending());
            story.cancels(30, 0, "t", unknown());
            story.gets(50, 60, "t", outcome);
        })
    };
    for outcome in [running(), cancelled(), succeeded()] {
        assert_eq!(cancel(outcome), Verdict::Linearizable);
    }
}

#[test]
fn refusals_of_the_moment_and_unanswered_reads_say_nothing() {
    let found = verdict(|story| {
        story.gets(5, 9, "t", unknown());
        story.submits(10, 20, "t", refused("BUDGET_EXHAUSTED"));
        story.submits(30, 40, "t", pending());
        story.gets(50, 0, "t", unknown());
    });
    assert_eq!(found, Verdict::Linearizable);
}

#[test]
fn hundreds_of_reads_among_dozens_of_unknown_outcomes_are_decided() {
    let many = |last: Outcome| {
        verdict(|story| {
            for at in 0..40 {
                story.submits(10 + at, 0, "t", unknown());
                story.cancels(2_000 + at, 0, "t", unknown());
            }
            for at in 0..400 {
                story.gets(100 + 10 * at, 125 + 10 * at, "t", running());
            }
            story.gets(9_000, 9_001, "t", cancelled());
            story.gets(9_002, 9_003, "t", last);
        })
    };
    assert_eq!(many(cancelled()), Verdict::Linearizable);
    assert_eq!(many(refused("TASK_NOT_FOUND")), Verdict::Not);
}

#[test]
fn operations_are_shown_in_words() {
    let mut story = Story::told();
    story.tree();
    let case = Case::new(story.evidence, Log::default());
    let shown: Vec<_> = case.tasks["d"].operations.iter().map(Operation::to_string).collect();
    assert!(shown[0].ends_with("29.000s to 29.100s: get d -> refused: TASK_NOT_FOUND"), "{shown:?}");
    assert!(shown[1].contains("submit d work \"d\" -> Pending attempt 0 at 0x20000000008"), "{shown:?}");
}
