//! One thing is wrong, and the invariant that it breaks says so.

use herdsman::wire::proto::v1::TaskState;

use super::story::{
    FIRST_LEADER, OUTSIDER, SECOND_LEADER, Story, assignment, at, ok, refused, revision, spec, status, submission,
    told, unassigned, unknown,
};
use crate::proof::{
    checker::txnlog::{Body, Op},
    evidence::{Bytes, Call, Closing, Node, RunKind, Seen, State},
};

/// Asserts that the invariant is violated, with a problem that reads like this, whichever form the records have.
#[track_caller]
fn caught(invariant: &str, problem: &str, doctor: impl FnOnce(&mut Story)) {
    let mut story = Story::told();
    doctor(&mut story);
    for report in [story.clone().packed().judged(), story.judged()] {
        let violations = &report.of(invariant).violations;
        assert!(violations.iter().any(|found| found.problem.contains(problem)), "{invariant}, {problem:?}:\n{report}");
        assert!(!report.passes());
    }
}

/// Asserts that nothing is found.
#[track_caller]
fn clean(doctor: impl FnOnce(&mut Story)) {
    let mut story = Story::told();
    doctor(&mut story);
    for report in [story.clone().packed().judged(), story.judged()] {
        assert!(report.passes(), "{report}");
    }
}

fn without(story: &mut Story, path: &str) {
    story.tree().retain(|node| node.path != path);
}

/// Forgets what was committed at this place of the tree from a moment on.
fn uncommit(story: &mut Story, path: &str, from: u64) {
    for txn in &mut story.txns {
        let Body::Multi(ops) = &mut txn.body else { continue };
        if story.evidence.plan.moment(u64::try_from(txn.epoch_ms).unwrap() * 1_000_000) >= at(from) {
            ops.retain(|op| !op.path().contains(path));
        }
    }
}

#[test]
fn what_is_right_passes_and_everything_is_looked_at() {
    for story in [Story::told(), Story::told().packed()] {
        passes_and_is_looked_at(story);
    }
}

fn passes_and_is_looked_at(story: Story) {
    let report = story.judged();
    assert!(report.passes(), "{report}");
    let looked_at: Vec<_> = report.findings.iter().map(|finding| finding.looked_at).collect();
    assert_eq!(looked_at, [4, 4, 4, 3, 15, 4, 9, 3, 1, 0, 13, 1], "{report}");
    let counts = &report.counts;
    assert_eq!((counts.acknowledged, counts.terminals, counts.leader_writes), (4, 4, 15));
    assert_eq!((counts.stale_attempts, counts.stale_attempts_accepted), (1, 0));
    assert_eq!((counts.stale_leader_writes, counts.stale_leader_writes_accepted), (1, 0));
    let text = report.to_string();
    assert!(text.ends_with("\npassed\n") && text.contains("I12") && text.contains("losses"), "{text}");
}

#[test]
fn i1_an_acknowledged_task_that_is_lost_or_another() {
    caught("I1", "a is lost", |story| without(story, "/tasks/00/a"));
    caught("I1", "a is another task", |story| {
        let Op::Create { data, .. } = submission("a", "other", revision(1, 1)) else { unreachable!() };
        story.tree().iter_mut().find(|node| node.path == "/tasks/00/a").unwrap().data = Bytes(data);
    });
    caught("I1", "cannot be read", |story| {
        story.tree().iter_mut().find(|node| node.path == "/tasks/00/a").unwrap().data = Bytes(vec![255]);
    });
}

#[test]
fn i2_an_id_that_is_two_tasks_or_nobodys() {
    caught("I2", "b was created 2 times", |story| {
        story.commit(SECOND_LEADER, 40_000, vec![submission("b", "b", revision(2, 20))]);
    });
    caught("I2", "a is kept in 2 places", |story| {
        let mut copy = story.tree().iter().find(|node| node.path == "/tasks/00/a").unwrap().clone();
        copy.path = "/tasks/01/a".into();
        story.tree().push(copy);
    });
    caught("I2", "nobody asked for z", |story| {
        story.commit(SECOND_LEADER, 40_000, vec![submission("z", "z", revision(2, 20))]);
    });
    caught("I2", "z was never created", |story| {
        story.commit(SECOND_LEADER, 40_000, vec![assignment("z", "worker-1", 1, revision(2, 20))]);
    });
    // Its submitter was not told, but somebody did submit it.
    clean(|story| {
        story.submits(39_000, 0, "z", unknown());
        story.commit(SECOND_LEADER, 40_000, vec![submission("z", "z", revision(2, 20))]);
    });
    caught("I2", "a was changed after it was created", |story| {
        let Op::Create { path, data, .. } = submission("a", "a", revision(1, 9)) else { unreachable!() };
        story.tree().retain(|node| node.path != path);
        let (data, version, czxid, mzxid, ephemeral_owner) = (Bytes(data), 1, 9, 9, 0);
        story.tree().push(Node { path, data, version, czxid, mzxid, ephemeral_owner });
    });
}

#[test]
fn i3_a_second_end_and_numbers_that_do_not_grow() {
    caught("I3", "a was changed after its end", |story| {
        let again = status("a", TaskState::Failed, 1, revision(2, 20), "worker-0", revision(1, 2));
        story.commit(SECOND_LEADER, 40_000, vec![again]);
    });
    caught("I3", "d was changed after its end", |story| {
        story.commit(SECOND_LEADER, 40_000, vec![assignment("d", "worker-1", 2, revision(2, 20))]);
    });
    caught("I3", "attempt 1 follows 1", |story| {
        uncommit(story, "/c/status", 25_000);
        story.commit(SECOND_LEADER, 26_000, vec![assignment("c", "worker-0", 1, revision(2, 20))]);
    });
    caught("I3", "a status goes back", |story| {
        uncommit(story, "/c/status", 25_000);
        let old = status("c", TaskState::Succeeded, 1, revision(2, 5), "worker-1", revision(2, 6));
        story.commit(SECOND_LEADER, 26_000, vec![old]);
    });
    caught("I3", "what is kept is not what was committed last", |story| without(story, "/tasks/00/a/status"));
}

#[test]
fn i4_an_outcome_of_an_attempt_that_was_not_current_or_did_not_run() {
    caught("I4", "attempt 2 was current", |story| {
        uncommit(story, "/b/status", 13_000);
        let stale = status("b", TaskState::Succeeded, 1, revision(2, 20), "worker-0", revision(1, 5));
        story.commit(SECOND_LEADER, 13_600, vec![stale]);
    });
    caught("I4", "no attempt was current", |story| {
        uncommit(story, "/assign/worker-1/b", 12_000);
    });
    caught("I4", "no start line", |story| story.evidence.runs.retain(|run| run.task != "c"));
    caught("I4", "without an end line", |story| {
        story.evidence.runs.retain(|run| run.task != "c" || run.kind == RunKind::Start);
    });
}

#[test]
fn i5_a_write_without_its_own_fence_or_without_the_chain() {
    let op = || submission("z", "z", revision(2, 20));
    let fence = |of: i64| Op::Check { path: format!("/election/{of}-latch-{of:010}"), version: -1 };
    let chain = || Op::Set { path: "/tasks".into(), data: vec![], version: 90 };
    caught("I5", "is not fenced", |story| story.txn(OUTSIDER, 40_000, Body::Single(op())));
    caught("I5", "is not fenced", |story| story.txn(SECOND_LEADER, 40_000, Body::Multi(vec![chain(), op()])));
    let behind = vec![chain(), op(), fence(SECOND_LEADER)];
    caught("I5", "is not fenced", |story| story.txn(SECOND_LEADER, 40_000, Body::Multi(behind)));
    // Another's node, and one whose session has ended.
    for (session, of) in [(OUTSIDER, SECOND_LEADER), (FIRST_LEADER, FIRST_LEADER)] {
        let ops = vec![fence(of), chain(), op()];
        caught("I5", "is not fenced", |story| story.txn(session, 40_000, Body::Multi(ops)));
    }
    let unchained = vec![fence(SECOND_LEADER), op()];
    caught("I5", "is not chained", |story| story.txn(SECOND_LEADER, 40_000, Body::Multi(unchained)));
    let announced = Op::Create { path: "/master".into(), data: vec![], ephemeral: true };
    caught("I5", "is not fenced", |story| story.txn(OUTSIDER, 40_000, Body::Single(announced)));
    caught("I5", "the log is not whole", |story| story.txns.retain(|txn| txn.zxid != 9));
    // The places of the tree are anybody's to make, and a leader that leaves takes its announcement along.
    let place = |path: &str| Op::Create { path: path.into(), data: vec![], ephemeral: false };
    let leave =
        vec![Op::Delete { path: "/election/34-latch-0000000034".into() }, Op::Delete { path: "/master".into() }];
    clean(|story| {
        story.txn(OUTSIDER, 40_000, Body::Multi(vec![place("/tasks"), place("/tasks/0f"), place("/assign")]));
        story.txn(SECOND_LEADER, 41_000, Body::Multi(leave));
    });
    clean(|story| {
        story.txn(OUTSIDER, 40_000, Body::Refused { multi: true, code: -101 });
    });
}

#[test]
fn i6_a_second_run_and_one_that_was_never_assigned() {
    caught("I6", "attempt 1 ran 2 times", |story| story.run(RunKind::Start, 26_000, "c", 1, revision(2, 6)));
    caught("I6", "was never assigned", |story| story.run(RunKind::Start, 26_000, "c", 2, revision(2, 30)));
    caught("I6", "was never assigned", |story| story.run(RunKind::Start, 26_000, "c", 1, revision(2, 30)));
}

#[test]
fn i7_a_task_that_waits_after_healing() {
    caught("I7", "c has not ended", |story| uncommit(story, "/c/status", 25_000));
    caught("I7", "b is stuck at", |story| {
        // As if nobody had noticed that its first attempt was lost.
        uncommit(story, "/b", 12_000);
        story.evidence.runs.retain(|run| run.task != "b");
    });
    caught("I7", "b is stuck at", |story| {
        // As if it waited for a worker for good.
        uncommit(story, "/worker-1/b", 0);
        uncommit(story, "/b/status", 12_700);
        story.evidence.plan.rounds[0].faults[0].until = at(12_700);
    });
}

#[test]
fn i8_a_watcher_that_is_told_something_else() {
    caught("I8", "follows", |story| story.sees(1, 1_960, "a", State::Running, 1, revision(1, 1)));
    caught("I8", "follows the end", |story| story.sees(1, 1_960, "a", State::Pending, 1, revision(1, 9)));
    caught("I8", "is not how it ended", |story| {
        story.opens(2, 5_000, "late", "a", 0);
        story.sees(2, 5_001, "a", State::Failed, 1, revision(1, 3));
    });
    let is_assigned = |seen: &Seen| matches!(seen, Seen::Event { state: State::Assigned, .. });
    caught("I8", "1 changes are missing", |story| story.evidence.watches.retain(|seen| !is_assigned(seen)));
    clean(|story| {
        story.evidence.watches.retain(|seen| !is_assigned(seen));
        for seen in &mut story.evidence.watches {
            if let Seen::Event { state: State::Succeeded, skipped, .. } = seen {
                *skipped = 1;
            }
        }
    });
    let is_end = |seen: &Seen| matches!(seen, Seen::Event { state: State::Succeeded, .. });
    caught("I8", "was never told that a ended", |story| story.evidence.watches.retain(|seen| !is_end(seen)));
    caught("I8", "is not after", |story| {
        story.opens(2, 1_500, "late", "a", revision(1, 2));
        story.sees(2, 1_501, "a", State::Assigned, 1, revision(1, 2));
    });
    caught("I8", "goes back", |story| {
        story.opens(2, 5_000, "watcher", "a", 0);
        story.sees(2, 5_001, "a", State::Assigned, 1, revision(1, 2));
    });
    caught("I8", "which nobody opened", |story| story.sees(7, 1_960, "a", State::Running, 1, revision(1, 1)));
    // Who stops before the end need not be told of it.
    clean(|story| {
        story.opens(2, 15_100, "impatient", "c", 0);
        story.sees(2, 15_101, "c", State::Pending, 0, revision(2, 5));
        story.closes(2, 16_000, Closing::Dropped);
    });
}

#[test]
fn i9_a_child_that_lives_on_and_a_death_after_which_nobody_looked() {
    caught("I9", "its children live on", |story| story.scan(16_500, &["worker-2.1"]));
    caught("I9", "nobody looked", |story| story.evidence.scans.truncate(1));
}

#[test]
fn i10_an_assignment_that_is_nobodys() {
    let keep = |story: &mut Story, op: Op| {
        let Op::Create { path, data, .. } = op else { unreachable!() };
        let (data, version, czxid, mzxid, ephemeral_owner) = (Bytes(data), 0, 9, 9, 0);
        story.tree().push(Node { path, data, version, czxid, mzxid, ephemeral_owner });
    };
    caught("I10", "is of no live task", |story| keep(story, assignment("c", "worker-1", 1, revision(2, 6))));
    caught("I10", "is of no live task", |story| keep(story, assignment("z", "worker-1", 1, revision(2, 6))));
    let lives_on = |story: &mut Story, worker: &str| {
        story.submits(54_000, 0, "z", unknown());
        let ops = vec![submission("z", "z", revision(2, 20)), assignment("z", worker, 1, revision(2, 21))];
        story.commit(SECOND_LEADER, 54_000, ops);
    };
    caught("I10", "is for a dead incarnation", |story| lives_on(story, "worker-0"));
    clean(|story| lives_on(story, "worker-1"));
    caught("I10", "was read for the last time", |story| {
        story.tree();
        story.evidence.trees[0].at = at(50_000);
    });
}

#[test]
fn i11_an_answer_that_no_order_explains() {
    caught("I11", "c: no order", |story| story.gets(16_000, 16_100, "c", refused("TASK_NOT_FOUND")));
    caught("I11", "a: no order", |story| {
        let call = Call::Submit { task: "a".into(), spec: spec("other") };
        story.says(5_000, 5_100, call, ok(told("a", State::Succeeded, 1, revision(1, 3))));
    });
}

#[test]
fn i12_a_task_that_an_outage_reran() {
    caught("I12", "was run again", |story| {
        uncommit(story, "/c", 25_000);
        let back = status("c", TaskState::Pending, 1, revision(2, 20), "worker-1", revision(2, 6));
        let again = assignment("c", "worker-0", 2, revision(2, 21));
        story.commit(SECOND_LEADER, 26_000, vec![unassigned("c", "worker-1"), back, again]);
    });
    caught("I12", "nothing ran", |story| story.evidence.plan.rounds[1].outages[0].running.clear());
    caught("I12", "nobody knows it", |story| story.evidence.plan.rounds[1].outages[0].running[0].task = "y".into());
}

#[test]
fn a_round_whose_faults_bit_nothing_fails() {
    let quiet = |story: &mut Story| {
        // Without the question that was not answered in the outage.
        let mut last = 0;
        story.evidence.history.retain(|said| {
            use crate::proof::evidence::Said;
            match said {
                Said::Asked { op, at: asked, .. } if *asked == at(20_100) => {
                    last = *op;
                    false
                }
                Said::Answered { op, .. } => *op != last,
                Said::Asked { .. } => true,
            }
        });
    };
    let mut story = Story::told();
    quiet(&mut story);
    let report = story.judged();
    assert!(report.findings.iter().all(|finding| finding.violations.is_empty()), "{report}");
    assert!(!report.passes(), "{report}");
    assert!(report.to_string().contains("BIT NOTHING"), "{report}");
    // Each of the three is enough, in its own round.
    let bites = Story::told().judged().bites;
    let numbers = |at: usize| {
        let (_, bite) = &bites[at];
        (bite.refused_writes, bite.unknown_outcomes, bite.reassignments, bite.takeovers)
    };
    assert_eq!((numbers(0), numbers(1)), ((1, 1, 1, 2), (0, 1, 0, 0)));
    clean(|story| {
        quiet(story);
        story.txn(SECOND_LEADER, 22_000, Body::Refused { multi: true, code: -103 });
    });
    clean(|story| {
        story.evidence.plan.rounds[1].faults.clear();
        story.evidence.plan.rounds[1].outages.clear();
        quiet(story);
    });
}
