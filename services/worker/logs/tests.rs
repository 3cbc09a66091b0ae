use futures::{FutureExt, poll};

use super::*;

fn id(task: usize, fence: u64) -> AttemptId {
    AttemptId { task_id: format!("t{task}").parse().unwrap(), attempt: 1, fence: Fence(fence) }
}

fn find(logs: &Logs, task: usize) -> Option<Arc<Log>> {
    logs.find(&id(task, 0).task_id, 1, None)
}

#[test]
fn a_log_of_any_length_keeps_its_end_and_tells_what_is_gone() {
    let log = Log::default();
    let filler = vec![1; 3 * KEPT_BYTES];
    (0..16_384).for_each(|length| log.write(&filler[..length]));
    log.write(&filler);
    log.write(b"the end");
    assert!(log.lock().bytes.capacity() <= KEPT_BYTES, "{}", log.lock().bytes.capacity());
    let written: u64 = (0..16_384).sum::<u64>() + 3 * 65_536 + 7;
    let first = log.piece(0).unwrap();
    assert_eq!((first.offset, first.skipped), (written - 65_536, written - 65_536));
    let (mut at, mut read) = (first.offset, Vec::new());
    while let Some(piece) = log.piece(at) {
        assert!(piece.data.len() <= PIECE_BYTES && !piece.last);
        read.extend_from_slice(&piece.data);
        at = piece.offset + piece.data.len() as u64;
    }
    assert_eq!((read.len(), at, &read[KEPT_BYTES - 7..]), (KEPT_BYTES, written, &b"the end"[..]));
    assert_eq!((log.tail(7), log.before_end(7)), (b"the end".to_vec(), written - 7));
}

#[tokio::test]
async fn a_reader_waits_for_what_comes_and_for_the_end() {
    let log = Log::default();
    let mut next = std::pin::pin!(log.next(0));
    assert!(poll!(&mut next).is_pending());
    log.write(b"a");
    assert_eq!(next.await, Piece { offset: 0, data: Bytes::from_static(b"a"), skipped: 0, last: false });
    let mut next = std::pin::pin!(log.next(1));
    assert!(poll!(&mut next).is_pending());
    log.end();
    log.write(b"too late");
    let end = Piece { offset: 1, data: Bytes::new(), skipped: 0, last: true };
    assert_eq!((next.await, log.next(1).now_or_never()), (end.clone(), Some(end)));
    assert_eq!(log.piece(0).unwrap().data, "a");
    assert!(log.piece(99).unwrap().last, "what begins beyond the end has ended");
}

#[test]
fn the_newest_that_ended_are_kept() {
    let logs = Logs::default();
    for task in 0..MAX_ENDED + 5 {
        logs.open(&id(task, 1)).write(b"x");
        logs.end(&id(task, 1));
    }
    assert_eq!((find(&logs, 4).is_none(), find(&logs, 5).is_some()), (true, true));
    let full = vec![7; KEPT_BYTES];
    for task in 0..MAX_ENDED {
        logs.open(&id(task, 2)).write(&full);
        logs.end(&id(task, 2));
    }
    let shelf = logs.lock();
    assert!(shelf.ended_bytes <= MAX_ENDED_BYTES && shelf.logs.len() == shelf.ended.len(), "{}", shelf.ended_bytes);
    assert_eq!(shelf.ended.len(), MAX_ENDED_BYTES / KEPT_BYTES);
}

#[test]
fn a_log_is_found_by_its_fence_and_the_newest_without() {
    let logs = Logs::default();
    logs.open(&id(1, 5)).write(b"old");
    logs.open(&id(1, 9)).write(b"new");
    let read = |fence| logs.find(&id(1, 0).task_id, 1, fence).map(|log| log.tail(9));
    assert_eq!(read(Some(Fence(5))), Some(b"old".to_vec()));
    assert_eq!((read(None), read(Some(Fence(6)))), (Some(b"new".to_vec()), None));
}

#[test]
fn what_writes_on_after_its_end_takes_a_bounded_place() {
    let logs = Logs::default();
    for task in 0..MAX_OPEN + 5 {
        logs.open(&id(task, 1)).write(b"x");
    }
    assert_eq!(logs.lock().logs.len(), MAX_OPEN);
}
