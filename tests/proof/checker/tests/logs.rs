//! What is read of ZooKeeper's logs: files as ZooKeeper writes them, and what three servers' logs say together.

use std::collections::BTreeMap;

use crate::proof::checker::{
    log::Log,
    txnlog::{Body, Op, Txn, read},
};

/// A file with these entries, as FileTxnLog lays it out.
fn file(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut file = b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0".to_vec();
    for entry in entries {
        let (mut low, mut high) = (1u64, 0u64);
        for &byte in entry {
            low = (low + u64::from(byte)) % 65_521;
            high = (high + low) % 65_521;
        }
        file.extend((high << 16 | low).to_be_bytes());
        file.extend(u32::try_from(entry.len()).unwrap().to_be_bytes());
        file.extend(entry);
        file.push(b'B');
    }
    file
}

fn header(zxid: i64, kind: i32) -> Vec<u8> {
    let (session, cxid, time) = (0x10_i64, 3_i32, 1_790_000_000_000_i64);
    let mut header = session.to_be_bytes().to_vec();
    header.extend(cxid.to_be_bytes());
    header.extend(zxid.to_be_bytes());
    header.extend(time.to_be_bytes());
    header.extend(kind.to_be_bytes());
    header
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

fn delete(zxid: i64) -> Vec<u8> {
    [header(zxid, 2), text("/a")].concat()
}

/// A multi of a check and errors with these codes.
fn multi(zxid: i64, codes: &[i32]) -> Vec<u8> {
    let check = [text("/f"), (-1_i32).to_be_bytes().to_vec()].concat();
    let mut bytes = header(zxid, 14);
    bytes.extend(u32::try_from(codes.len() + 1).unwrap().to_be_bytes());
    let mut add = |kind: i32, data: &[u8]| {
        bytes.extend(kind.to_be_bytes());
        bytes.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend(data);
    };
    add(13, &check);
    for code in codes {
        add(-1, &code.to_be_bytes());
    }
    bytes
}

#[test]
fn a_log_ends_where_it_was_being_written() {
    let whole = file(&[delete(1), delete(2)]);
    let zxids = |file: &[u8]| read(file).unwrap().iter().map(|txn| txn.zxid).collect::<Vec<_>>();
    assert_eq!(zxids(&whole), [1, 2]);
    let padded = [whole.clone(), vec![0; 100]].concat();
    assert_eq!(zxids(&padded), [1, 2], "room that is not used yet");
    for lost in 1..delete(2).len() {
        assert_eq!(zxids(&whole[..whole.len() - lost]), [1], "{lost} bytes are missing");
    }
    let mut flipped = whole.clone();
    *flipped.iter_mut().rev().nth(1).unwrap() ^= 1;
    assert_eq!(zxids(&flipped), [1], "its checksum is wrong");
    assert_eq!(zxids(b""), [0; 0]);
    assert_eq!(zxids(&[0; 64]), [0; 0], "created and never written");
    assert!(read(b"PK and something else").is_err());
}

#[test]
fn a_multi_is_refused_with_the_code_of_what_was_refused() {
    let refused = |codes: &[i32]| read(&file(&[multi(1, codes)])).unwrap()[0].body.clone();
    assert_eq!(refused(&[-101, -2]), Body::Refused { multi: true, code: -101 });
    assert_eq!(refused(&[0, -103, -2]), Body::Refused { multi: true, code: -103 });
    assert_eq!(refused(&[]), Body::Multi(vec![Op::Check { path: "/f".into(), version: -1 }]));
}

#[test]
fn an_entry_that_is_whole_and_cannot_be_read_is_an_error() {
    assert!(read(&file(&[header(1, 2)])).is_err());
}

/// The transaction of an epoch that moves the chain to a version.
fn moves(epoch: i64, counter: i64, version: i32) -> Txn {
    let op = Op::Set { path: "/tasks".into(), data: vec![], version };
    Txn { zxid: epoch << 32 | counter, session: 1, epoch_ms: 0, body: Body::Multi(vec![op]) }
}

fn merged(servers: &[&[Txn]]) -> Log {
    let servers = servers.iter().map(|txns| txns.iter().map(|txn| (txn.zxid, txn.clone())).collect::<BTreeMap<_, _>>());
    Log::merge(servers.collect(), "/tasks")
}

fn versions(log: &Log) -> Vec<i32> {
    let set = |op: &Op| match op {
        Op::Set { version, .. } => *version,
        _ => panic!("{op:?}"),
    };
    log.txns.iter().map(|txn| set(&txn.ops()[0])).collect()
}

#[test]
fn what_only_a_dead_server_had_written_was_never_committed() {
    let common = [moves(1, 1, 1), moves(1, 2, 2)];
    let next = [moves(2, 1, 3), moves(2, 2, 4)];
    // One proposed version 3 and died; the others went on without it.
    let proposed = [&common[..], &[moves(1, 3, 3), moves(1, 4, 4)]].concat();
    let others = [&common[..], &next].concat();
    let log = merged(&[&proposed, &others, &others]);
    assert_eq!(versions(&log), [1, 2, 3, 4]);
    assert!(log.txns.iter().all(|txn| txn.zxid != 1 << 32 | 3), "{log:?}");
    assert_eq!(log.gaps, []);
}

#[test]
fn what_the_next_epoch_went_on_from_was_committed_however_few_have_it() {
    let before = [moves(1, 1, 1), moves(1, 2, 2), moves(1, 3, 3)];
    let whole = [&before[..], &[moves(2, 1, 4)]].concat();
    // The others were sent a snapshot instead of what they had missed.
    let patchy = [moves(1, 1, 1), moves(2, 1, 4)];
    let log = merged(&[&patchy, &whole, &patchy]);
    assert_eq!(versions(&log), [1, 2, 3, 4]);
    assert_eq!(log.gaps, []);
}

#[test]
fn what_nobody_has_is_missed() {
    let log = merged(&[&[moves(1, 1, 1), moves(1, 3, 3), moves(2, 2, 4)]]);
    assert_eq!(log.gaps, [(1 << 32 | 2, 1 << 32 | 2), (2 << 32 | 1, 2 << 32 | 1)]);
}
