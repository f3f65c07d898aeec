//! One lane: taking entries off its log, in order, each once.
//!
//! With preload the lane's frontier is in shared memory and its lock is held for the scan only; an abort gives the
//! entries back. Without preload the newest row of `forge_private.frontier` is the frontier and the lock is held to the
//! end of the transaction, so that an abort simply leaves the old row the newest.

use super::{entry, now, recover};
use crate::pg::function::{Value, bytea_datum};
use crate::pg::lock::{self, Class};
use crate::pg::shmem::{self, Count, Loaded};
use crate::pg::snapshot::Snapshot;
use crate::pg::table::{Key, Operator, Table, family};
use crate::pg::{spi, xact};
use forge_core::frontier::{Frontier, Source, Taken, View};
use pgrx::pg_sys::Datum;
use pgrx::{PgBuiltInOids, varlena};

/// How often a lane's frontier is written down with preload, microseconds.
const CHECKPOINT_EVERY_US: i64 = 10_000_000;

/// The visible entries of one lane, over all day tables.
struct Lane<'a> {
    lane: i32,
    tables: Vec<Table>,
    snapshot: &'a Snapshot,
    /// How many rows a caller can want at most: bounds what is read of each table before merging.
    want: usize,
}

impl Lane<'_> {
    /// Visits rows that satisfy `keys` over all tables in order of position.
    fn visit(&self, keys: &[Key], visit: &mut dyn FnMut(u64, u64, &[Value]) -> bool) -> bool {
        let busy: Vec<&Table> = self
            .tables
            .iter()
            .filter(|t| self.has_any(t, keys))
            .collect();
        let mut go_on = true;
        if let [table] = busy[..] {
            table.scan(0, keys, self.snapshot, |row| {
                let (xid, seq) = entry::position(row);
                go_on = visit(xid, seq, row);
                go_on
            });
            return go_on;
        }
        // Entries of two days: merge what each can contribute. Rows that are passed over (own, skipped) are few.
        let mut merged: Vec<(u64, u64, Vec<Value>)> = Vec::new();
        for table in busy {
            let mut left = self.want.saturating_add(1024);
            table.scan(0, keys, self.snapshot, |row| {
                let (xid, seq) = entry::position(row);
                let mut kept = row.to_vec();
                for column in [3, 8, 9, 10, 11, 12] {
                    kept[column] = if column == 3 {
                        keep_uuid(row[3])
                    } else {
                        entry::copy(row[column])
                    };
                }
                merged.push((xid, seq, kept));
                left -= 1;
                left > 0
            });
        }
        merged.sort_by_key(|r| (r.0, r.1));
        merged.iter().all(|(xid, seq, row)| visit(*xid, *seq, row))
    }

    fn has_any(&self, table: &Table, keys: &[Key]) -> bool {
        let mut any = false;
        table.scan(0, keys, self.snapshot, |_| {
            any = true;
            false
        });
        any
    }

    fn lane_key(&self) -> Key {
        Key {
            column: 1,
            operator: Operator::Int4Eq,
            value: Datum::from(self.lane),
        }
    }
}

fn keep_uuid(value: Value) -> Value {
    value.map(|d| crate::pg::function::uuid_datum(&unsafe { crate::pg::function::uuid_of(d) }))
}

impl Source for Lane<'_> {
    type Entry = [Value];

    fn of_transaction(
        &mut self,
        xid: u64,
        from: u64,
        to: u64,
        visit: &mut dyn FnMut(u64, u64, &[Value]) -> bool,
    ) {
        let to = i64::try_from(to).unwrap_or(i64::MAX);
        let keys = [
            self.lane_key(),
            Key {
                column: 2,
                operator: Operator::Int8Eq,
                value: Datum::from(xid as i64),
            },
            Key {
                column: 3,
                operator: Operator::Int8Gt,
                value: Datum::from(from as i64),
            },
            Key {
                column: 3,
                operator: Operator::Int8Le,
                value: Datum::from(to),
            },
        ];
        self.visit(&keys, visit);
    }

    fn after(&mut self, xid: u64, seq: u64, visit: &mut dyn FnMut(u64, u64, &[Value]) -> bool) {
        let same = [
            self.lane_key(),
            Key {
                column: 2,
                operator: Operator::Int8Eq,
                value: Datum::from(xid as i64),
            },
            Key {
                column: 3,
                operator: Operator::Int8Gt,
                value: Datum::from(seq as i64),
            },
        ];
        let later = [
            self.lane_key(),
            Key {
                column: 2,
                operator: Operator::Int8Gt,
                value: Datum::from(xid as i64),
            },
        ];
        if self.visit(&same, visit) {
            self.visit(&later, visit);
        }
    }
}

/// Takes up to `want` entries of a lane. `wait` says whether to wait for the lane's lock.
pub fn take(lane: i32, want: usize, wait: bool) -> Vec<entry::Entry> {
    let mut taken = Vec::new();
    change(lane, want, wait, |frontier, source, snapshot| {
        let view = View {
            open: &snapshot.open,
            own: snapshot.own,
            xmax: snapshot.xmax,
        };
        let outcome = frontier.take(source, view, want, &mut |_, _, row| {
            taken.push(entry::read(row))
        });
        let rows = taken.iter().map(|e| (e.xid, e.seq)).collect();
        (
            outcome,
            rows,
            taken.last().map_or(0, |e| e.body.enqueued_at),
        )
    });
    xact::count(lane, Count::Ready, -(taken.len() as i64));
    taken
}

/// Takes one given entry out of turn; false when it has been handed out already.
pub fn take_one(lane: i32, xid: u64, seq: u64) -> bool {
    let mut got = false;
    change(lane, 1, true, |frontier, _, _| {
        got = frontier.take_one(xid, seq);
        let rows = if got { vec![(xid, seq)] } else { Vec::new() };
        (
            Taken {
                behind: got,
                ..Taken::default()
            },
            rows,
            1,
        )
    });
    xact::count(lane, Count::Ready, -i64::from(got));
    got
}

type Step<'s> =
    &'s mut dyn FnMut(&mut Frontier, &mut Lane<'_>, &Snapshot) -> (Taken, Vec<(u64, u64)>, i64);

fn change(
    lane: i32,
    want: usize,
    wait: bool,
    mut step: impl FnMut(&mut Frontier, &mut Lane<'_>, &Snapshot) -> (Taken, Vec<(u64, u64)>, i64),
) {
    let held = if wait {
        lock::acquire(Class::Lane, lane as u32 as u64)
    } else {
        match lock::try_acquire(Class::Lane, lane as u32 as u64) {
            Some(held) => held,
            None => return,
        }
    };
    let snapshot = Snapshot::latest();
    let tables = family("entry")
        .into_iter()
        .filter_map(Table::read)
        .collect();
    let mut source = Lane {
        lane,
        tables,
        snapshot: &snapshot,
        want,
    };
    match shmem::with(|shared| shared.load(lane)) {
        None | Some(Loaded::Full) => change_stored(lane, &mut source, &mut step),
        Some(Loaded::Unknown) => {
            // Uncommitted claims of the lane cannot be seen in tables: wait for them to end.
            let clear = shmem::with(|shared| !shared.has_claims(lane)).unwrap_or(true);
            if clear {
                let frontier = recover::frontier(lane, &snapshot);
                change_shared(lane, frontier, None, 0, &mut source, &mut step);
            }
            drop(source);
            drop(snapshot);
            held.release();
        }
        Some(Loaded::Known {
            frontier,
            enqueued,
            checkpoint_at,
        }) => {
            change_shared(
                lane,
                frontier,
                Some(enqueued),
                checkpoint_at,
                &mut source,
                &mut step,
            );
            drop(source);
            drop(snapshot);
            held.release();
        }
    }
}

fn change_shared(
    lane: i32,
    mut frontier: Frontier,
    enqueued: Option<u64>,
    checkpoint_at: i64,
    source: &mut Lane<'_>,
    step: Step<'_>,
) {
    let snapshot = source.snapshot;
    let (taken, rows, waiting_since) = step(&mut frontier, source, snapshot);
    let at = now();
    let exhausted = enqueued.filter(|_| taken.exhausted);
    let (place, floor) = shmem::with(|shared| {
        let place = if rows.is_empty() {
            None
        } else {
            shared.begin_claim(lane, taken.lowest, taken.behind, at)
        };
        shared.save(lane, &frontier, exhausted, waiting_since, at);
        let floor = (at - checkpoint_at > CHECKPOINT_EVERY_US && !rows.is_empty())
            .then(|| shared.committed_floor(lane, &frontier, at))
            .flatten();
        if floor.is_some() {
            shared.checkpointed(lane, at);
        }
        (place, floor)
    })
    .unwrap_or((None, None));
    if !rows.is_empty() {
        xact::took(lane, rows, place);
    }
    if let Some((xid, seq, since)) = floor {
        let mut ranges = frontier.ranges;
        ranges.retain(|r| r.skip || (r.xid, r.from) < (xid, seq));
        store(lane, &Frontier { xid, seq, ranges }, since, false);
    }
}

fn change_stored(lane: i32, source: &mut Lane<'_>, step: Step<'_>) {
    let snapshot = source.snapshot;
    let (mut frontier, exact) = recover::stored(lane, snapshot);
    let before = frontier.clone();
    step(&mut frontier, source, snapshot);
    if frontier != before || !exact {
        store(lane, &frontier, now(), true);
    }
}

/// Writes a frontier down. `exact` says that no claim reaches above it; otherwise such claims were made since `since`.
pub fn store(lane: i32, frontier: &Frontier, since: i64, exact: bool) {
    spi::execute(
        "INSERT INTO forge_private.frontier(lane, xid, seq, ranges, since, exact) VALUES ($1, $2, $3, $4, $5, $6)",
        &[
            (PgBuiltInOids::INT4OID.value(), Some(Datum::from(lane))),
            (
                PgBuiltInOids::INT8OID.value(),
                Some(Datum::from(frontier.xid as i64)),
            ),
            (
                PgBuiltInOids::INT8OID.value(),
                Some(Datum::from(frontier.seq as i64)),
            ),
            (
                PgBuiltInOids::BYTEAOID.value(),
                Some(bytea_datum(&frontier.encode())),
            ),
            (
                PgBuiltInOids::TIMESTAMPTZOID.value(),
                Some(Datum::from(since)),
            ),
            (PgBuiltInOids::BOOLOID.value(), Some(Datum::from(exact))),
        ],
    );
}

/// A frontier as written down.
pub struct Stored {
    pub frontier: Frontier,
    /// Claims that reach above it were made since then, microseconds since 2000.
    pub since: i64,
    /// No claim reaches above it.
    pub exact: bool,
}

/// The newest frontier written down for a lane.
pub fn newest(lane: i32, snapshot: &Snapshot) -> Option<Stored> {
    let table = Table::read(crate::pg::table::oid("frontier")?)?;
    let mut newest = None;
    let key = [Key {
        column: 1,
        operator: Operator::Int4Eq,
        value: Datum::from(lane),
    }];
    table.scan(0, &key, snapshot, |row| {
        let number = |i: usize| row[i].map_or(0, |d: Datum| d.value() as i64);
        let ranges = entry::copy(row[4])
            .map(|d| unsafe { varlena::varlena_to_byte_slice(d.cast_mut_ptr()) }.to_vec())
            .unwrap_or_default();
        newest = Some(Stored {
            frontier: Frontier::decode(number(2) as u64, number(3) as u64, &ranges),
            since: number(5),
            exact: number(6) != 0,
        });
        false
    });
    newest
}
