//! The forced end of somebody else's session: the servers hold it for expired at once, and its owner learns so as of any
//! expiry.
//!
//! ZooKeeper derives the password of a session from its number, so that whoever knows the number can come back as its
//! owner, and say goodbye. ZooKeeper documents this as the way to test expiry; it only has no tool for it.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use super::ensemble::CLIENT_PORT;

const LIMIT: Duration = Duration::from_secs(5);
/// `ZooKeeperServer.superSecret`.
const SECRET: i64 = 0xB341_5C00;
const PASSWORD_BYTES: usize = 16;
/// `ZooDefs.OpCode.closeSession`.
const CLOSE_SESSION: i32 = -11;
/// Longest answer that is read: those to a connect and to a goodbye have less than 50 bytes.
const MAX_ANSWER: usize = 1024;

/// Ends the session, by way of this server.
pub fn expire(server: Ipv4Addr, session: i64) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&(server, CLIENT_PORT).into(), LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut connect = Vec::new();
    connect.extend(0_i32.to_be_bytes()); // the protocol's version
    connect.extend(0_i64.to_be_bytes()); // the last zxid seen
    connect.extend(2_000_i32.to_be_bytes()); // the session timeout, in ms
    connect.extend(session.to_be_bytes());
    connect.extend(i32::try_from(PASSWORD_BYTES).expect("it is 16").to_be_bytes());
    connect.extend(password(session));
    let answer = ask(&mut stream, &connect)?;
    // Version, timeout, and then the session: 0 if there is none such.
    if answer.get(8..16) != Some(&session.to_be_bytes()) {
        return Err(io::Error::other("the session is not there"));
    }
    let goodbye = [1_i32.to_be_bytes(), CLOSE_SESSION.to_be_bytes()].concat();
    ask(&mut stream, &goodbye).map(drop)
}

fn ask(stream: &mut TcpStream, request: &[u8]) -> io::Result<Vec<u8>> {
    let length = i32::try_from(request.len()).expect("it is short");
    stream.write_all(&[&length.to_be_bytes(), request].concat())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length)).ok().filter(|length| *length <= MAX_ANSWER);
    let mut answer = vec![0; length.ok_or_else(|| io::Error::other("not an answer"))?];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// `new java.util.Random(session ^ superSecret).nextBytes(16)`.
fn password(session: i64) -> [u8; PASSWORD_BYTES] {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut seed = ((session ^ SECRET).cast_unsigned() ^ MULTIPLIER) & MASK;
    let mut password = [0; PASSWORD_BYTES];
    for word in password.chunks_mut(4) {
        seed = seed.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        let bits = u32::try_from(seed >> 16).expect("32 bits are left");
        word.copy_from_slice(&bits.to_le_bytes());
    }
    password
}
