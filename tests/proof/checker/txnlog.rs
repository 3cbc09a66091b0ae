//! ZooKeeper's transaction log, as `org.apache.zookeeper.server.persistence.FileTxnLog` (3.5 to 3.9) writes it: the
//! independent witness. ZooKeeper's own `TxnLogToolkit` prints data as text, which bytes do not survive; a test holds
//! what is read here against what it prints.
//!
//! A file begins with `ZKLG`, a version and a database id. Each entry is the Adler-32 of its bytes (8 bytes), their number
//! (4), the bytes, and `B`; zeros up to the end of the file are room that was not used yet. The bytes are jute: a
//! `TxnHeader` (session, cxid, zxid, time, type), the transaction, and from 3.6 on a digest of the tree. All numbers are
//! big-endian; a buffer or a text begins with its length, −1 for none.

use anyhow::{Context, Result, bail, ensure};

/// ZooKeeper's numbers for what a transaction is.
mod kind {
    pub const CREATE: i32 = 1;
    pub const DELETE: i32 = 2;
    pub const SET_DATA: i32 = 5;
    pub const CHECK: i32 = 13;
    pub const MULTI: i32 = 14;
    pub const CREATE_2: i32 = 15;
    pub const CREATE_CONTAINER: i32 = 19;
    pub const DELETE_CONTAINER: i32 = 20;
    pub const CREATE_TTL: i32 = 21;
    pub const CREATE_SESSION: i32 = -10;
    pub const CLOSE_SESSION: i32 = -11;
    pub const ERROR: i32 = -1;
}

/// `RUNTIMEINCONSISTENCY`: the operations behind the one that failed, which say nothing themselves.
const BEHIND_A_FAILURE: i32 = -2;
const MAGIC: &[u8; 4] = b"ZKLG";
const FORMAT: i32 = 2;
/// Behind the magic: the format and the database id.
const FILE_HEADER_BYTES: usize = 16;
const END_OF_ENTRY: u8 = b'B';

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Txn {
    pub zxid: i64,
    pub session: i64,
    /// By the wall clock of the server that led.
    pub epoch_ms: i64,
    pub body: Body,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    SessionCreated,
    /// Its ephemerals go.
    SessionClosed,
    /// One operation by itself.
    Single(Op),
    /// All of them.
    Multi(Vec<Op>),
    /// Nothing happened; the code is that of the operation that was refused.
    Refused {
        multi: bool,
        code: i32,
    },
    /// Changes no data.
    Other(i32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    Create { path: String, data: Vec<u8>, ephemeral: bool },
    Delete { path: String },
    Set { path: String, data: Vec<u8>, version: i32 },
    Check { path: String, version: i32 },
}

impl Op {
    pub fn path(&self) -> &str {
        match self {
            Self::Create { path, .. } | Self::Delete { path } | Self::Set { path, .. } | Self::Check { path, .. } => {
                path
            }
        }
    }
}

impl Txn {
    /// What it did; nothing if it was refused.
    pub fn ops(&self) -> &[Op] {
        match &self.body {
            Body::Single(op) => std::slice::from_ref(op),
            Body::Multi(ops) => ops,
            Body::SessionCreated | Body::SessionClosed | Body::Refused { .. } | Body::Other(_) => &[],
        }
    }
}

/// Reads one file. What was being written when the server was killed is not there: the last entry may be torn.
///
/// # Errors
/// Not a transaction log, or an entry that is whole cannot be read.
pub fn read(file: &[u8]) -> Result<Vec<Txn>> {
    // Just created, and the server was killed.
    if file.len() < FILE_HEADER_BYTES || file.iter().take(FILE_HEADER_BYTES).all(|&byte| byte == 0) {
        return Ok(Vec::new());
    }
    let mut input = Input(file);
    ensure!(input.take(MAGIC.len())? == MAGIC, "not a transaction log");
    let format = input.int()?;
    ensure!(format == FORMAT, "the log has format {format}, not {FORMAT}");
    input.long()?;

    let mut txns = Vec::new();
    while let Some(bytes) = input.entry() {
        let txn = transaction(&mut Input(bytes)).with_context(|| format!("entry {}", txns.len() + 1))?;
        txns.push(txn);
    }
    Ok(txns)
}

fn transaction(input: &mut Input) -> Result<Txn> {
    let (session, _cxid) = (input.long()?, input.int()?);
    let (zxid, epoch_ms, kind) = (input.long()?, input.long()?, input.int()?);
    let body = match kind {
        kind::CREATE_SESSION => Body::SessionCreated,
        kind::CLOSE_SESSION => Body::SessionClosed,
        kind::ERROR => Body::Refused { multi: false, code: input.int()? },
        kind::MULTI => multi(input).with_context(|| format!("the multi {zxid:#x}"))?,
        kind => op(kind, input)?.map_or(Body::Other(kind), Body::Single),
    };
    Ok(Txn { zxid, session, epoch_ms, body })
}

fn multi(input: &mut Input) -> Result<Body> {
    let count = input.int()?;
    let mut ops = Vec::new();
    let mut refused = None;
    for _ in 0..count.max(0) {
        let (kind, data) = (input.int()?, input.buffer()?);
        let mut data = Input(&data);
        if kind == kind::ERROR {
            let code = data.int()?;
            // Zero: it passed, and went back with the others.
            if code != 0 && refused.is_none_or(|known| known == BEHIND_A_FAILURE) {
                refused = Some(code);
            }
        } else if refused.is_none() {
            ops.push(op(kind, &mut data)?.with_context(|| format!("a multi with an operation of type {kind}"))?);
        }
    }
    Ok(refused.map_or(Body::Multi(ops), |code| Body::Refused { multi: true, code }))
}

/// None: an operation that changes no data.
fn op(kind: i32, input: &mut Input) -> Result<Option<Op>> {
    let op = match kind {
        kind::CREATE | kind::CREATE_2 => {
            let (path, data) = (input.text()?, input.buffer()?);
            input.acls()?;
            Op::Create { path, data, ephemeral: input.boolean()? }
        }
        kind::CREATE_CONTAINER | kind::CREATE_TTL => {
            Op::Create { path: input.text()?, data: input.buffer()?, ephemeral: false }
        }
        kind::DELETE | kind::DELETE_CONTAINER => Op::Delete { path: input.text()? },
        kind::SET_DATA => Op::Set { path: input.text()?, data: input.buffer()?, version: input.int()? },
        kind::CHECK => Op::Check { path: input.text()?, version: input.int()? },
        _ => return Ok(None),
    };
    Ok(Some(op))
}

/// What is still to be read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// The bytes of the next whole entry.
    fn entry(&mut self) -> Option<&'a [u8]> {
        let (checksum, length) = (self.long().ok()?, self.int().ok()?);
        let length = usize::try_from(length).ok().filter(|&length| length > 0)?;
        let bytes = self.take(length).ok()?;
        let whole = self.take(1).ok()? == [END_OF_ENTRY];
        (whole && checksum == i64::from(adler32(bytes))).then_some(bytes)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.0.split_at_checked(count) else {
            bail!("{} bytes where {count} should be", self.0.len());
        };
        self.0 = rest;
        Ok(taken)
    }

    fn int(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into()?))
    }

    fn long(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.take(8)?.try_into()?))
    }

    fn boolean(&mut self) -> Result<bool> {
        Ok(self.take(1)? != [0])
    }

    fn buffer(&mut self) -> Result<Vec<u8>> {
        match self.int()? {
            -1 => Ok(Vec::new()),
            length => Ok(self.take(usize::try_from(length)?)?.to_vec()),
        }
    }

    fn text(&mut self) -> Result<String> {
        Ok(String::from_utf8(self.buffer()?)?)
    }

    fn acls(&mut self) -> Result<()> {
        for _ in 0..self.int()?.max(0) {
            self.int()?;
            self.text()?;
            self.text()?;
        }
        Ok(())
    }
}

fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65_521;
    /// So many bytes cannot overflow the sums.
    const RUN: usize = 5_552;
    let (mut low, mut high) = (1, 0);
    for run in bytes.chunks(RUN) {
        for &byte in run {
            low += u32::from(byte);
            high += low;
        }
        (low, high) = (low % MODULUS, high % MODULUS);
    }
    high << 16 | low
}

mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_adlers() {
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
        assert_eq!(adler32(&vec![255; 100_000]), {
            let (low, high) = (0..100_000).fold((1u64, 0u64), |(low, high), _| {
                let low = (low + 255) % 65_521;
                (low, (high + low) % 65_521)
            });
            u32::try_from(high << 16 | low).unwrap()
        });
    }
}
