use std::collections::BTreeSet;

use super::*;

const SLOTS: u32 = 4;

fn id(task: u64) -> AttemptId {
    AttemptId { task_id: format!("t{task}").parse().unwrap(), attempt: 1, fence: Fence(1) }
}

fn started(report: &Report) -> bool {
    matches!(report, Report::Started { .. })
}

/// Numbers that are always the same and look like chance.
fn chance(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// What is counted and queued along the way agrees with what is held.
fn check(slots: &Slots) {
    let running = slots.held.values().filter(|held| matches!(held.stage, Stage::Running(_))).count();
    assert_eq!(slots.running(), running);
    assert!(slots.taken() <= SLOTS as usize);
    let queued: BTreeSet<_> = slots.unsaid.iter().map(|(place, attempt)| (*place, attempt.clone())).collect();
    let placed = slots.held.iter().filter_map(|(attempt, held)| Some((held.unsaid?, attempt.clone()))).collect();
    assert_eq!(queued, placed);
}

#[test]
fn whatever_happens_the_count_and_the_queue_agree_with_what_is_held() {
    let mut state = 1;
    let mut slots = Slots::new(SLOTS);
    for step in 0..20_000 {
        // Now and then the id is another task's.
        let attempt = AttemptId { fence: Fence(1 + step / 50), ..id(chance(&mut state) % 6) };
        match chance(&mut state) % 9 {
            0 | 1 if slots.admit(&attempt) == Admission::Free => {
                slots.start(&attempt, Wall(step), CancellationToken::new());
            }
            2 if slots.admit(&attempt) == Admission::Free => slots.give_back(&attempt),
            3 => drop(slots.cancel(&attempt)),
            4 => drop(slots.ended(&attempt, Ended::Succeeded([].into())).cloned()),
            5 => slots.acknowledge(&attempt),
            6 | 7 => drop(slots.next()),
            8 if step % 2 == 0 => slots.progress(&attempt, (step % 4 == 0).then(|| Progress::new(0.5))),
            _ if step % 10 == 0 => drop(slots.introduce()),
            _ if step % 10 == 1 => slots.stop_all(),
            _ if step % 10 == 2 => drop(slots.abandon()),
            _ => {}
        }
        check(&slots);
    }
}

#[test]
fn what_came_up_first_is_said_first_and_once() {
    let mut slots = Slots::new(SLOTS);
    for task in [2, 0, 1] {
        slots.start(&id(task), Wall(0), CancellationToken::new());
    }
    assert_eq!(slots.admit(&id(2)), Admission::Held);
    slots.ended(&id(0), Ended::Succeeded([].into()));
    let said: Vec<_> = std::iter::from_fn(|| slots.next()).collect();
    assert_eq!(said.iter().map(Report::attempt).collect::<Vec<_>>(), [&id(2), &id(0), &id(1)]);
    assert_eq!(said.iter().map(started).collect::<Vec<_>>(), [true, false, true]);
}

#[test]
fn a_report_of_a_removed_task_is_not_taken_for_one_of_the_task_that_took_its_id() {
    let mut slots = Slots::new(SLOTS);
    slots.start(&id(0), Wall(0), CancellationToken::new());
    slots.ended(&id(0), Ended::Succeeded([].into()));
    let younger = AttemptId { fence: Fence(2), ..id(0) };
    assert_eq!(slots.admit(&younger), Admission::Free);
    slots.start(&younger, Wall(0), CancellationToken::new());
    slots.acknowledge(&id(0));
    assert_eq!(slots.next(), Some(Report::Started { attempt: younger, start_time: Wall(0) }));
    assert_eq!((slots.next(), slots.running()), (None, 1));
}

#[test]
fn the_newest_progress_is_said_after_the_start_and_once() {
    let mut slots = Slots::new(SLOTS);
    slots.start(&id(0), Wall(0), CancellationToken::new());
    slots.progress(&id(0), Some(Progress::new(0.1)));
    slots.progress(&id(0), Some(Progress::new(0.2)));
    slots.progress(&id(0), None);
    let progress = |fraction: f64| Some(Arc::new(Progress::new(fraction)));
    let said = |slots: &mut Slots| std::iter::from_fn(|| slots.next()).collect::<Vec<_>>();
    let started = Report::Started { attempt: id(0), start_time: Wall(0) };
    assert_eq!(said(&mut slots), [started.clone(), Report::Progress { attempt: id(0), progress: progress(0.2) }]);
    // That it says the same again says that it is alive.
    for again in [Some(Progress { update_time: Wall(9), ..Progress::new(0.2) }), None] {
        slots.progress(&id(0), again);
        assert_eq!(said(&mut slots), [Report::Progress { attempt: id(0), progress: None }]);
    }
    slots.progress(&id(0), Some(Progress::new(0.3)));
    let (running, _) = slots.introduce();
    assert_eq!((running[0].progress.clone(), said(&mut slots)), (progress(0.3), vec![]), "the hello says it");
    assert_eq!(slots.admit(&id(0)), Admission::Held);
    assert_eq!(said(&mut slots), [started], "it was assigned again: the start is said again");
    slots.cancel(&id(0));
    slots.progress(&id(0), Some(Progress::new(0.4)));
    slots.progress(&id(1), Some(Progress::new(0.4)));
    assert_eq!(said(&mut slots), [], "what is to stop, or is not held, is of no interest");
}
