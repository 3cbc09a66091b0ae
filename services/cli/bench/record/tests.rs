use std::sync::Arc;

use tokio::sync::Semaphore;
use tonic::Code;

use super::*;

fn succeeded() -> Seen {
    Seen { state: TaskState::Succeeded.into(), ..Seen::default() }
}

fn send(record: &Record, tasks: usize, room: &Arc<Semaphore>) -> Range<usize> {
    let room = room.clone().try_acquire_owned().expect("there is room");
    record.sending(vec![Instant::now(); tasks].into_iter(), Some(room))
}

#[test]
fn a_call_makes_way_at_its_answer_or_when_its_tasks_have_ended() {
    for (next_after, room_after_answer) in [(NextAfter::Ack, 1), (NextAfter::End, 0)] {
        let (record, room) = (Record::new(Instant::now(), next_after, WatchBy::One), Arc::new(Semaphore::new(1)));
        let tasks = send(&record, 2, &room);
        // One is pushed before the answer, and twice.
        for _ in 0..2 {
            record.ended([(0, &succeeded())].into_iter());
        }
        assert_eq!(room.available_permits(), 0, "{next_after:?}");
        record.answered(tasks, [Ok(()), Ok(())].into_iter());
        assert_eq!(room.available_permits(), room_after_answer, "{next_after:?}");
        record.ended([(1, &succeeded())].into_iter());
        assert_eq!(room.available_permits(), 1, "{next_after:?}");
        assert_eq!(record.found().totals.complaint(WatchBy::One), None);
    }
}

#[tokio::test]
async fn it_is_over_when_everything_was_sent_and_what_was_accepted_has_ended() {
    let (record, room) = (Record::new(Instant::now(), NextAfter::Ack, WatchBy::One), Arc::new(Semaphore::new(1)));
    let tasks = send(&record, 3, &room);
    let codes = [Ok(()), Err(Code::ResourceExhausted), Err(Code::ResourceExhausted)];
    record.answered(tasks, codes.into_iter());
    assert!(record.silence().is_some(), "one is waited for");
    record.ended([(0, &succeeded())].into_iter());
    assert!(record.silence().is_none());
    assert!(!record.state().is_over(), "more may be sent");
    record.all_sent();
    record.over().await;
    let totals = record.found().totals;
    let complaint = totals.complaint(WatchBy::Each).unwrap();
    assert_eq!(complaint, "of 3 tasks 1 succeeded: 2 RESOURCE_EXHAUSTED");
}

#[test]
fn a_task_that_a_resumed_watch_shows_running_has_not_ended() {
    let (record, room) = (Record::new(Instant::now(), NextAfter::End, WatchBy::One), Arc::new(Semaphore::new(1)));
    let tasks = send(&record, 1, &room);
    record.answered(tasks, [Ok(())].into_iter());
    let running = Seen { state: TaskState::Running.into(), ..Seen::default() };
    record.ended([(0, &running)].into_iter());
    assert_eq!((record.found().totals.ended(), room.available_permits()), (0, 0));
    record.ended([(0, &succeeded())].into_iter());
    assert_eq!(record.found().totals.complaint(WatchBy::One), None);
    assert_eq!(room.available_permits(), 1);
}

#[test]
fn nobody_waits_for_the_end_of_what_is_not_watched() {
    let record = Record::new(Instant::now(), NextAfter::Ack, WatchBy::None);
    let tasks = record.sending(vec![Instant::now(); 2].into_iter(), None);
    record.answered(tasks, [Ok(()), Err(Code::ResourceExhausted)].into_iter());
    record.all_sent();
    assert!(record.state().is_over());
    let found = record.found();
    assert!(found.ends.is_none());
    let complaint = found.totals.complaint(WatchBy::None).unwrap();
    assert_eq!(complaint, "of 2 tasks 1 were accepted: 1 RESOURCE_EXHAUSTED");
}

#[test]
fn a_push_takes_as_long_as_the_end_is_ago_and_no_less_than_nothing() {
    let record = Record::new(Instant::now(), NextAfter::Ack, WatchBy::Each);
    let tasks = record.sending(vec![Instant::now(); 2].into_iter(), None);
    record.answered(tasks, [Ok(()), Ok(())].into_iter());
    for (number, seconds) in [(0, -5), (1, 60)] {
        let mut task = succeeded();
        let now = prost_types::Timestamp::from(SystemTime::now());
        task.end_time = Some(prost_types::Timestamp { seconds: now.seconds + seconds, ..now });
        record.ended([(number, &task)].into_iter());
    }
    let pushing = record.found().ends.unwrap().pushing;
    assert!(pushing.p50.abs() < f64::EPSILON, "{pushing:?}");
    assert!((5_000.0..60_000.0).contains(&pushing.max), "{pushing:?}");
}

#[test]
fn a_task_that_was_due_long_ago_has_waited_since() {
    let due = Instant::now();
    let record = Record::new(due, NextAfter::Ack, WatchBy::One);
    let late = Duration::from_secs(5);
    let due = due.checked_sub(late).expect("the clock is past its first seconds");
    let tasks = record.sending([due].into_iter(), None);
    record.answered(tasks, [Ok(())].into_iter());
    assert!(record.found().accepting.max >= 5_000.0);
}
