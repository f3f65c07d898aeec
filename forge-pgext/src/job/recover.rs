//! Rebuilding a lane's frontier from tables: after a start, a crash, or a restore into another cluster.

use super::entry::position;
use super::{lane, member};
use crate::pg::snapshot::Snapshot;
use crate::pg::spi;
use crate::pg::table::{Key, Operator, Table, family};
use forge_core::frontier::{Frontier, Range};
use pgrx::pg_sys::Datum;
use pgrx::{FromDatum, PgBuiltInOids};
use std::collections::BTreeSet;

/// Clocks may step back a little: claims this much older are read as well.
const SLACK_US: i64 = 60_000_000;

/// The frontier for work without shared memory, and whether it stands in the table just so.
pub fn stored(lane: i32, snapshot: &Snapshot) -> (Frontier, bool) {
    match lane::newest(lane, snapshot) {
        Some(stored) if stored.exact => (stored.frontier, true),
        Some(_) => (frontier(lane, snapshot), false),
        // Nothing has been handed out yet, which needs no writing down.
        None => (frontier(lane, snapshot), true),
    }
}

/// The frontier that follows from the newest one written down and the claims since.
pub fn frontier(lane: i32, snapshot: &Snapshot) -> Frontier {
    let (mut frontier, since) = match lane::newest(lane, snapshot) {
        Some(stored) => (stored.frontier, stored.since - SLACK_US),
        None => match first_entry(lane, snapshot) {
            Some(first) => (Frontier::default(), first - SLACK_US),
            None => return Frontier::default(),
        },
    };
    let claimed = claimed_since(lane, since);
    let highest = highest_claimed(lane, &frontier, &claimed, snapshot);
    let open = frontier.ranges.clone();
    for range in open.iter().filter(|r| !r.skip) {
        forget_claimed(lane, range, &claimed, &mut frontier, snapshot);
    }
    if let Some(highest) = highest {
        pass(lane, highest, &claimed, &mut frontier, snapshot);
    }
    frontier
}

/// When the lane's oldest entry was written; `None` when it has none.
fn first_entry(lane: i32, snapshot: &Snapshot) -> Option<i64> {
    let mut first: Option<i64> = None;
    scan(lane, None, snapshot, |_, _, row| {
        let at = row[7].map_or(0, |d: Datum| d.value() as i64);
        first = Some(first.map_or(at, |f| f.min(at)));
    });
    first
}

/// Sequence numbers of the lane's entries in claims since `since`.
fn claimed_since(lane: i32, since: i64) -> BTreeSet<u64> {
    let mut claimed = BTreeSet::new();
    spi::query(
        "SELECT members, lease FROM forge_private.claim WHERE at >= $1",
        &[(
            PgBuiltInOids::TIMESTAMPTZOID.value(),
            Some(Datum::from(since)),
        )],
        |row| {
            let bytes = row[0]
                .and_then(|d| unsafe { Vec::<u8>::from_datum(d, false) })
                .unwrap_or_default();
            claimed.extend(
                member::decode(&bytes)
                    .iter()
                    .filter(|m| m.lane == lane)
                    .map(|m| m.seq),
            );
        },
    );
    claimed
}

fn scan(
    lane: i32,
    above: Option<(u64, u64)>,
    snapshot: &Snapshot,
    mut visit: impl FnMut(u64, u64, &[Option<Datum>]),
) {
    let mut keys = vec![Key {
        column: 1,
        operator: Operator::Int4Eq,
        value: Datum::from(lane),
    }];
    if let Some((xid, _)) = above {
        keys.push(Key {
            column: 2,
            operator: Operator::Int8Gt,
            value: Datum::from(xid as i64 - 1),
        });
    }
    for oid in family("entry") {
        if let Some(table) = Table::read(oid) {
            table.scan(0, &keys, snapshot, |row| {
                let (xid, seq) = position(row);
                if above.is_none_or(|a| (xid, seq) > a) {
                    visit(xid, seq, row);
                }
                true
            });
        }
    }
}

fn highest_claimed(
    lane: i32,
    from: &Frontier,
    claimed: &BTreeSet<u64>,
    snapshot: &Snapshot,
) -> Option<(u64, u64)> {
    if claimed.is_empty() {
        return None;
    }
    let mut highest = None;
    scan(lane, Some((from.xid, from.seq)), snapshot, |xid, seq, _| {
        if claimed.contains(&seq) {
            highest = highest.max(Some((xid, seq)));
        }
    });
    highest
}

/// Entries of a range behind the frontier that have been claimed since are taken.
fn forget_claimed(
    lane: i32,
    range: &Range,
    claimed: &BTreeSet<u64>,
    frontier: &mut Frontier,
    snapshot: &Snapshot,
) {
    let mut taken = Vec::new();
    scan(
        lane,
        Some((range.xid, range.from)),
        snapshot,
        |xid, seq, _| {
            if range.covers(xid, seq) && claimed.contains(&seq) {
                taken.push(seq);
            }
        },
    );
    for seq in taken {
        frontier.take_one(range.xid, seq);
    }
}

/// Moves the frontier to `highest`, keeping what was not claimed below it and what was open.
fn pass(
    lane: i32,
    highest: (u64, u64),
    claimed: &BTreeSet<u64>,
    frontier: &mut Frontier,
    snapshot: &Snapshot,
) {
    let before = (frontier.xid, frontier.seq);
    let mut holes = Vec::new();
    scan(lane, Some(before), snapshot, |xid, seq, _| {
        let ahead = frontier.ranges.iter().any(|r| r.skip && r.covers(xid, seq));
        if (xid, seq) < highest && !ahead && !claimed.contains(&seq) {
            holes.push((xid, seq));
        }
    });
    frontier
        .ranges
        .retain(|r| !r.skip || (r.xid, r.to) > highest);
    (frontier.xid, frontier.seq) = highest;
    for (xid, seq) in holes {
        frontier.give_back(xid, seq);
    }
    let passed: Vec<u64> = snapshot
        .open
        .iter()
        .copied()
        .filter(|x| before.0 < *x && *x < highest.0)
        .collect();
    for xid in passed {
        if !frontier
            .ranges
            .iter()
            .any(|r| r.xid == xid && r.to == u64::MAX)
        {
            frontier.ranges.push(Range {
                xid,
                from: 0,
                to: u64::MAX,
                skip: false,
            });
        }
    }
    frontier.ranges.sort_by_key(|r| (r.xid, r.from));
}
