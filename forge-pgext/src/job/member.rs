//! A member of a claim: one entry handed out, with what finishing it needs, in 56 bytes.

use uuid::Uuid;

/// The entry's job holds a unique key.
pub const HOLDS_KEY: u16 = 1;

/// Bytes of one packed member.
const SIZE: usize = 56;

/// One entry handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: Uuid,
    pub xid: u64,
    pub seq: u64,
    /// The concurrency gate it passed, 0 for none.
    pub gate: u64,
    pub lane: i32,
    /// The day of the table the entry is in, days since 2000-01-01.
    pub day: i32,
    pub attempt: i16,
    pub max_attempts: i16,
    pub flags: u16,
}

/// Members as stored in a claim.
pub fn encode(members: &[Member]) -> Vec<u8> {
    let mut out = Vec::with_capacity(members.len() * SIZE);
    for m in members {
        out.extend_from_slice(m.id.as_bytes());
        out.extend_from_slice(&m.xid.to_le_bytes());
        out.extend_from_slice(&m.seq.to_le_bytes());
        out.extend_from_slice(&m.gate.to_le_bytes());
        out.extend_from_slice(&m.lane.to_le_bytes());
        out.extend_from_slice(&m.day.to_le_bytes());
        out.extend_from_slice(&m.attempt.to_le_bytes());
        out.extend_from_slice(&m.max_attempts.to_le_bytes());
        out.extend_from_slice(&m.flags.to_le_bytes());
        out.extend_from_slice(&[0, 0]);
    }
    out
}

/// What [`encode`] wrote.
pub fn decode(bytes: &[u8]) -> Vec<Member> {
    fn number(bytes: &[u8]) -> u64 {
        bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
    }
    bytes
        .chunks_exact(SIZE)
        .map(|b| Member {
            id: Uuid::from_slice(&b[..16]).unwrap_or_default(),
            xid: number(&b[16..24]),
            seq: number(&b[24..32]),
            gate: number(&b[32..40]),
            lane: number(&b[40..44]) as i32,
            day: number(&b[44..48]) as i32,
            attempt: number(&b[48..50]) as i16,
            max_attempts: number(&b[50..52]) as i16,
            flags: number(&b[52..54]) as u16,
        })
        .collect()
}

/// Positions within a lease as stored in its events.
pub fn encode_positions(positions: &[usize]) -> Vec<u8> {
    positions
        .iter()
        .flat_map(|p| (*p as u16).to_le_bytes())
        .collect()
}

/// What [`encode_positions`] wrote.
pub fn decode_positions(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    bytes
        .chunks_exact(2)
        .map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])))
}
