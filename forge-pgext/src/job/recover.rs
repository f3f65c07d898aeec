//! Rebuilding a lane's frontier from tables: after a start, a crash, or when memory ran short.
//!
//! What is known to be taken: entries in claims made since the newest frontier was written down, and entries that have an
//! attempt. Claims are kept for [`CLAIMS_KEPT_US`] at least, and until all their members have an attempt.

use super::lane::{self, Lane};
use super::member;
use super::{entry, now};
use crate::pg::function::{Value, uuid_datum, uuid_of};
use crate::pg::snapshot::Snapshot;
use crate::pg::spi;
use crate::pg::table::{Key, Operator, Table, family};
use forge_core::frontier::{Frontier, Source, View};
use pgrx::pg_sys::Datum;
use pgrx::{FromDatum, PgBuiltInOids};
use std::collections::BTreeSet;

/// Clocks may step back a little: claims this much older are read as well.
const SLACK_US: i64 = 60_000_000;
/// Tables of claims are dropped two whole days later (`forge_private.maintain()`).
const CLAIMS_KEPT_US: i64 = 2 * super::DAY_US;

/// The frontier for work without shared memory, and whether it stands in the table just so.
pub fn stored(source: &mut Lane<'_>) -> (Frontier, bool) {
    match lane::newest(source.lane, source.snapshot) {
        Some(stored) if stored.exact => (stored.frontier, true),
        Some(_) => (frontier(source), false),
        // Nothing has been handed out yet, which needs no writing down.
        None => (frontier(source), true),
    }
}

/// The frontier that follows from the newest one written down and what was taken since.
pub fn frontier(source: &mut Lane<'_>) -> Frontier {
    let (mut frontier, since) = match lane::newest(source.lane, source.snapshot) {
        Some(stored) => (stored.frontier, stored.since - SLACK_US),
        None => match first_entry(source) {
            Some(first) => (Frontier::default(), first - SLACK_US),
            None => return Frontier::default(),
        },
    };
    let claimed = claimed_since(source.lane, since);
    let attempts = Attempts::open(source.snapshot);
    let taken = |seq: u64, row: &[Value]| {
        claimed.seqs.contains(&seq) || attempts.has(row[3].map(|d| unsafe { uuid_of(d) }), seq)
    };
    let mut highest = claimed.highest;
    if since < now() - CLAIMS_KEPT_US {
        // Claims of that time may be gone: attempts tell.
        source.after(frontier.xid, frontier.seq, &mut |xid, seq, row| {
            if taken(seq, row) {
                highest = highest.max(Some((xid, seq)));
            }
            true
        });
    }
    let snapshot = source.snapshot;
    let view = View {
        open: &snapshot.open,
        own: snapshot.own,
        xmax: snapshot.xmax,
    };
    frontier.catch_up(source, view, highest, &mut |_, seq, row| taken(seq, row));
    frontier
}

/// When the lane's oldest entry was written; `None` when it has none.
fn first_entry(source: &mut Lane<'_>) -> Option<i64> {
    let mut first: Option<i64> = None;
    source.after(0, 0, &mut |_, _, row| {
        let at = row[7].map_or(0, |d: Datum| d.value() as i64);
        first = Some(first.map_or(at, |f| f.min(at)));
        true
    });
    first
}

struct Claimed {
    seqs: BTreeSet<u64>,
    highest: Option<(u64, u64)>,
}

/// The lane's entries in claims since `since`.
fn claimed_since(lane: i32, since: i64) -> Claimed {
    let mut claimed = Claimed {
        seqs: BTreeSet::new(),
        highest: None,
    };
    spi::query(
        "SELECT members FROM forge_private.claim WHERE at >= $1",
        &[(
            PgBuiltInOids::TIMESTAMPTZOID.value(),
            Some(Datum::from(since)),
        )],
        |row| {
            let bytes = row[0]
                .and_then(|d| unsafe { Vec::<u8>::from_datum(d, false) })
                .unwrap_or_default();
            for member in member::decode(&bytes).iter().filter(|m| m.lane == lane) {
                claimed.seqs.insert(member.seq);
                claimed.highest = claimed.highest.max(Some((member.xid, member.seq)));
            }
        },
    );
    claimed
}

/// The attempt log, open for looking entries up.
pub struct Attempts<'s> {
    tables: Vec<Table>,
    snapshot: &'s Snapshot,
}

impl<'s> Attempts<'s> {
    /// Opens all its tables.
    pub fn open(snapshot: &'s Snapshot) -> Self {
        let tables = family("attempt")
            .into_iter()
            .filter_map(Table::read)
            .collect();
        Self { tables, snapshot }
    }

    /// Whether the entry `seq` of a job has come to an end.
    pub fn has(&self, job: Option<uuid::Uuid>, seq: u64) -> bool {
        let Some(job) = job else { return false };
        let key = [Key {
            column: 1,
            operator: Operator::UuidEq,
            value: uuid_datum(&job),
        }];
        let mut found = false;
        for table in &self.tables {
            table.scan(1, &key, self.snapshot, |row| {
                found = entry::number(row[1]) as u64 == seq;
                !found
            });
            if found {
                break;
            }
        }
        found
    }
}
