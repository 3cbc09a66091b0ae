//! What the ensemble did, put together from the logs of its servers.
//!
//! A log may also have what was only proposed: written by a server that died before a quorum had it. What a majority has
//! logged, and all of the same epoch before it, is committed. Behind that there may be a tail that a minority has; the
//! next epoch either went on from it, or began without it and gave `/tasks` the same version again.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context, Result, ensure};

use super::txnlog::{self, Op, Txn};

/// The bits of a zxid that count within an epoch.
const COUNTER_BITS: u32 = 32;

/// Everything that was committed, in its order.
#[derive(Debug, Clone, Default)]
pub struct Log {
    pub txns: Vec<Txn>,
    /// Zxids from-to that nobody has; none in a log that is whole.
    pub gaps: Vec<(i64, i64)>,
}

impl Log {
    /// Reads the directories of all servers below `directory`. `chain` is the path whose versions chain the commits.
    pub fn read(directory: &Path, chain: &str) -> Result<Self> {
        let mut servers = Vec::new();
        let entries = std::fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?;
        for entry in entries {
            servers.push(server(&entry?.path().join("version-2"))?);
        }
        ensure!(!servers.is_empty(), "no server's log is in {}", directory.display());
        Ok(Self::merge(servers, chain))
    }

    pub fn merge(servers: Vec<BTreeMap<i64, Txn>>, chain: &str) -> Self {
        let majority = servers.len() / 2 + 1;
        let mut all: BTreeMap<i64, (Txn, usize)> = BTreeMap::new();
        for (zxid, txn) in servers.into_iter().flatten() {
            all.entry(zxid).or_insert((txn, 0)).1 += 1;
        }
        let dropped = never_committed(&all, majority, chain);
        let txns: Vec<_> =
            all.into_iter().filter(|(zxid, _)| !dropped.contains(zxid)).map(|(_, (txn, _))| txn).collect();
        let gaps = txns.windows(2).filter_map(|pair| gap(pair[0].zxid, pair[1].zxid)).collect();
        Self { txns, gaps }
    }
}

/// All log files of a server.
fn server(directory: &Path) -> Result<BTreeMap<i64, Txn>> {
    let mut txns = BTreeMap::new();
    let entries = std::fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with("log.") {
            continue;
        }
        let path = entry.path();
        let file = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let read = txnlog::read(&file).with_context(|| format!("reading {}", path.display()))?;
        txns.extend(read.into_iter().map(|txn| (txn.zxid, txn)));
    }
    Ok(txns)
}

fn epoch(zxid: i64) -> i64 {
    zxid >> COUNTER_BITS
}

/// The minority's tails that a later epoch contradicts.
fn never_committed(all: &BTreeMap<i64, (Txn, usize)>, majority: usize, chain: &str) -> BTreeSet<i64> {
    let mut quorum_until = BTreeMap::new();
    for (&zxid, (_, copies)) in all {
        if *copies >= majority {
            quorum_until.insert(epoch(zxid), zxid);
        }
    }
    let doubtful =
        |zxid: i64, copies: usize| copies < majority && quorum_until.get(&epoch(zxid)).is_none_or(|&last| zxid > last);
    // Backwards, so that what contradicts is itself already known to be committed.
    let mut first_set_after: Option<(i64, i32)> = None;
    let mut dropped = BTreeSet::new();
    let epochs: BTreeSet<_> = all.keys().map(|&zxid| epoch(zxid)).collect();
    for &of in epochs.iter().rev() {
        let in_epoch = || all.range(of << COUNTER_BITS..(of + 1) << COUNTER_BITS);
        let contradicted = in_epoch().find(|(zxid, (txn, copies))| {
            let again = |version: i32| first_set_after.is_some_and(|(_, first)| version.wrapping_sub(first) >= 0);
            doubtful(**zxid, *copies) && sets(txn, chain).is_some_and(again)
        });
        if let Some((&from, _)) = contradicted {
            dropped.extend(in_epoch().map(|(&zxid, _)| zxid).filter(|&zxid| zxid >= from));
        }
        let mut kept = in_epoch().filter(|(zxid, _)| !dropped.contains(zxid));
        if let Some(first) = kept.find_map(|(&zxid, (txn, _))| Some((zxid, sets(txn, chain)?))) {
            first_set_after = Some(first);
        }
    }
    dropped
}

/// The version that it gives to the chain's node.
fn sets(txn: &Txn, chain: &str) -> Option<i32> {
    txn.ops().iter().find_map(|op| match op {
        Op::Set { path, version, .. } if path == chain => Some(*version),
        _ => None,
    })
}

/// An epoch's counter begins at 1, and the one before it may end anywhere.
fn gap(before: i64, after: i64) -> Option<(i64, i64)> {
    let expected = if epoch(before) == epoch(after) { before + 1 } else { (epoch(after) << COUNTER_BITS) + 1 };
    (after != expected).then_some((expected, after - 1))
}
