//! One lane: taking entries off its log, in order, each once.
//!
//! With preload the lane's frontier is in shared memory and its lock is held for the scan only; an abort gives the
//! entries back. Without preload the newest row of `forge_private.frontier` is the frontier and the lock is held to the
//! end of the transaction, so that an abort simply leaves the old row the newest.

use super::{entry, now, recover, restore};
use crate::pg::function::{Value, bytea_datum};
use crate::pg::lock::{self, Class};
use crate::pg::shmem::{self, Count, Loaded, Seen, Ticket};
use crate::pg::snapshot::Snapshot;
use crate::pg::table::{Key, Operator, Table, family};
use crate::pg::{spi, xact};
use forge_core::frontier::{Frontier, Source, Taken, View};
use pgrx::pg_sys::Datum;
use pgrx::{PgBuiltInOids, varlena};

/// How often a lane's frontier is written down with preload, microseconds.
const CHECKPOINT_EVERY_US: i64 = 10_000_000;

/// The visible entries of one lane, over all day tables.
pub struct Lane<'a> {
    pub lane: i32,
    pub snapshot: &'a Snapshot,
    tables: Vec<Table>,
    /// How many rows a caller can want at most: bounds what is read of each table before merging.
    want: usize,
}

/// How far a visit got.
enum Visited {
    All,
    /// The visitor has had enough.
    Enough,
    /// To be gone on with above this position.
    UpTo(u64, u64),
}

impl<'a> Lane<'a> {
    fn open(lane: i32, want: usize, snapshot: &'a Snapshot) -> Self {
        let tables = family("entry")
            .into_iter()
            .filter_map(Table::read)
            .collect();
        Self {
            lane,
            snapshot,
            tables,
            want,
        }
    }

    /// Visits rows that satisfy `keys` over all tables in order of position.
    fn visit(&self, keys: &[Key], visit: &mut dyn FnMut(u64, u64, &[Value]) -> bool) -> Visited {
        let busy: Vec<&Table> = self
            .tables
            .iter()
            .filter(|t| self.has_any(t, keys))
            .collect();
        if let [table] = busy[..] {
            let mut go_on = true;
            table.scan(1, keys, self.snapshot, |row| {
                let (xid, seq) = entry::position(row);
                go_on = visit(xid, seq, row);
                go_on
            });
            return if go_on { Visited::All } else { Visited::Enough };
        }
        // Entries of two days: merge what each can contribute, up to where all of them were read.
        let mut merged: Vec<(u64, u64, Vec<Value>)> = Vec::new();
        let mut read_to: Option<(u64, u64)> = None;
        for table in busy {
            let mut left = self.want.saturating_add(1024);
            table.scan(1, keys, self.snapshot, |row| {
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
                if left == 0 {
                    read_to = Some(read_to.map_or((xid, seq), |r| r.min((xid, seq))));
                }
                left > 0
            });
        }
        merged.sort_by_key(|r| (r.0, r.1));
        let sure = merged
            .iter()
            .take_while(|r| read_to.is_none_or(|to| (r.0, r.1) <= to));
        for (xid, seq, row) in sure {
            if !visit(*xid, *seq, row) {
                return Visited::Enough;
            }
        }
        read_to.map_or(Visited::All, |to| Visited::UpTo(to.0, to.1))
    }

    fn has_any(&self, table: &Table, keys: &[Key]) -> bool {
        let mut any = false;
        table.scan(1, keys, self.snapshot, |_| {
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
        let mut from = i64::try_from(from).unwrap_or(i64::MAX);
        loop {
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
                    value: Datum::from(from),
                },
                Key {
                    column: 3,
                    operator: Operator::Int8Le,
                    value: Datum::from(to),
                },
            ];
            match self.visit(&keys, visit) {
                Visited::UpTo(_, seq) => from = seq as i64,
                _ => return,
            }
        }
    }

    fn after(&mut self, xid: u64, seq: u64, visit: &mut dyn FnMut(u64, u64, &[Value]) -> bool) {
        let (mut xid, mut seq) = (xid, seq);
        loop {
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
            let visited = match self.visit(&same, visit) {
                Visited::All => self.visit(&later, visit),
                other => other,
            };
            match visited {
                Visited::UpTo(x, s) => (xid, seq) = (x, s),
                _ => return,
            }
        }
    }
}

/// Takes up to `want` entries of a lane. `wait` says whether to wait for the lane's lock; `None` when it could not be
/// looked at now.
pub fn take(lane: i32, want: usize, wait: bool) -> Option<Vec<entry::Entry>> {
    let mut taken = Vec::new();
    let looked = change(lane, want, wait, |frontier, source, _| {
        let snapshot = source.snapshot;
        let view = View {
            open: &snapshot.open,
            own: snapshot.own,
            xmax: snapshot.xmax,
        };
        let outcome = frontier.take(source, view, want, &mut |_, _, row| {
            taken.push(entry::read(row))
        });
        Changed {
            outcome,
            rows: taken.iter().map(|e| (e.xid, e.seq)).collect(),
            out_of_turn: false,
            waiting_since: Some(taken.last().map_or(0, |e| e.body.enqueued_at)),
        }
    });
    xact::count(lane, Count::Ready, -(taken.len() as i64));
    looked.then_some(taken)
}

/// Takes one given entry, which was seen to be committed, out of turn: the caller deletes it in this transaction. False
/// when it has been handed out already.
pub fn take_one(lane: i32, xid: u64, seq: u64) -> bool {
    let mut got = false;
    let known = change(lane, 1, true, |frontier, _, shared| {
        // Without shared memory the lane stays locked until the entry is gone, or is not.
        got = if shared {
            frontier.take_one(xid, seq)
        } else {
            frontier.waits(xid, seq)
        };
        Changed {
            outcome: Taken {
                behind: got,
                ..Taken::default()
            },
            rows: if got { vec![(xid, seq)] } else { Vec::new() },
            out_of_turn: true,
            waiting_since: None,
        }
    });
    if !known {
        busy();
    }
    xact::count(lane, Count::Ready, -i64::from(got));
    got
}

fn busy() -> ! {
    crate::error::fail(
        "ZF007",
        "too much of the queue is being changed at once",
        "Try again when other transactions have ended; cancel and claim fewer jobs in one transaction.",
    )
}

/// Entries taken out of turn by transactions in progress may fill this share of the memory for ranges: one in so many.
const PICKED_SHARE: usize = 4;

/// What was done to a frontier.
struct Changed {
    outcome: Taken,
    rows: Vec<(u64, u64)>,
    out_of_turn: bool,
    /// For a scan: the age of the last entry taken.
    waiting_since: Option<i64>,
}

/// Changes a frontier; is told whether it is in shared memory.
type Step<'s> = &'s mut dyn FnMut(&mut Frontier, &mut Lane<'_>, bool) -> Changed;

/// Changes a lane's frontier under its lock. False when that cannot be done now, and nothing was: somebody holds the
/// lock and `wait` is false, or the frontier cannot be rebuilt before others' claims have ended.
fn change(
    lane: i32,
    want: usize,
    wait: bool,
    mut step: impl FnMut(&mut Frontier, &mut Lane<'_>, bool) -> Changed,
) -> bool {
    restore::ensure_ours();
    let held = if wait {
        lock::acquire(Class::Lane, lane as u32 as u64)
    } else {
        match lock::try_acquire(Class::Lane, lane as u32 as u64) {
            Some(held) => held,
            None => return false,
        }
    };
    loop {
        match shmem::with(|shared| shared.load(lane)) {
            None | Some(Loaded::Full) => {
                // The lock is held to the end of the transaction.
                let snapshot = Snapshot::latest();
                change_stored(lane, &mut Lane::open(lane, want, &snapshot), &mut step);
                return true;
            }
            Some(Loaded::Unknown(ticket)) => {
                // Uncommitted claims of the lane cannot be seen in tables.
                if shmem::with(|shared| shared.has_claims(lane)) == Some(true) {
                    held.release();
                    return false;
                }
                let snapshot = Snapshot::latest();
                let frontier = recover::frontier(&mut Lane::open(lane, want, &snapshot));
                shmem::with(|shared| shared.install(lane, ticket, &frontier));
            }
            Some(Loaded::Known {
                frontier,
                enqueued,
                checkpoint_at,
                ticket,
            }) => {
                let snapshot = Snapshot::latest();
                let loaded = Shared {
                    enqueued,
                    checkpoint_at,
                    ticket,
                };
                let mut source = Lane::open(lane, want, &snapshot);
                change_shared(lane, frontier, loaded, &mut source, &mut step);
                drop(source);
                drop(snapshot);
                held.release();
                return true;
            }
        }
    }
}

/// What came with a frontier from shared memory.
struct Shared {
    enqueued: u64,
    checkpoint_at: i64,
    ticket: Ticket,
}

fn change_shared(
    lane: i32,
    mut frontier: Frontier,
    loaded: Shared,
    source: &mut Lane<'_>,
    step: Step<'_>,
) {
    let changed = step(&mut frontier, source, true);
    let Changed { outcome, rows, .. } = changed;
    let at = now();
    let seen = changed.waiting_since.map(|waiting_since| Seen {
        exhausted: outcome.exhausted.then_some(loaded.enqueued),
        waiting_since,
        at,
    });
    let known = xact::place(lane);
    let saved = shmem::with(|shared| {
        let mut place = known;
        if !rows.is_empty() {
            if changed.out_of_turn && shared.room() < shmem::RANGES / PICKED_SHARE {
                return None;
            }
            place = Some(shared.begin_claim(known, lane, outcome.lowest, outcome.behind, at)?);
        }
        let whole = shared.save(lane, loaded.ticket, &frontier, seen);
        // Entries that were given back during the scan are in no range of this frontier: written down, it would lose them.
        let due = whole && !rows.is_empty() && at - loaded.checkpoint_at > CHECKPOINT_EVERY_US;
        let floor = due
            .then(|| shared.committed_floor(lane, &frontier, at))
            .flatten();
        if floor.is_some() {
            shared.checkpointed(lane, at);
        }
        Some((place, floor))
    });
    let Some((place, floor)) = saved.flatten() else {
        busy()
    };
    if let Some(place) = place.filter(|_| !rows.is_empty()) {
        xact::took(lane, rows, changed.out_of_turn, place);
    }
    if let Some((xid, seq, since)) = floor {
        xact::checkpointed(lane);
        store(lane, &frontier.below((xid, seq)), since, false);
    }
}

fn change_stored(lane: i32, source: &mut Lane<'_>, step: Step<'_>) {
    let (mut frontier, exact) = recover::stored(source);
    let before = frontier.clone();
    let changed = step(&mut frontier, source, false);
    if !changed.rows.is_empty() {
        xact::claimed();
    }
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
    table.scan(1, &key, snapshot, |row| {
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
