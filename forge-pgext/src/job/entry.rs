//! Entries: the rows of the log, as they are written and read.

use super::member::{HOLDS_KEY, Member};
use super::{day_of, now};
use crate::pg::function::{Value, bytea_datum, uuid_datum, uuid_of};
use crate::pg::shmem::Count;
use crate::pg::snapshot::{Snapshot, own_xid};
use crate::pg::table::{Key, Operator, Table, family, oid_of_day};
use crate::pg::{extra, spi, xact};
use pgrx::pg_sys::{self, Datum};
use pgrx::{FromDatum, PgBuiltInOids, varlena};
use std::cell::Cell;
use uuid::Uuid;

/// Sequence numbers that one `nextval` gives: the increment of `forge_private.entry_seq`.
const SEQ_BLOCK: u64 = 64;

/// A job as an entry carries it. Datums belong to the memory context of the call.
#[derive(Clone)]
pub struct Body {
    pub id: Uuid,
    pub attempt: i16,
    pub max_attempts: i16,
    pub enqueued_at: i64,
    pub args: Datum,
    pub gate_key: Value,
    pub digest: Value,
    pub tags: Value,
    pub traceparent: Value,
    pub run_at: Value,
}

/// An entry of the log.
pub struct Entry {
    pub lane: i32,
    pub xid: u64,
    pub seq: u64,
    pub queued_at: i64,
    pub body: Body,
}

thread_local! {
    /// The rest of the block this backend took from the sequence: next number, how many are left.
    static BLOCK: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// The next sequence number; ascending within this backend.
pub fn next_seq() -> u64 {
    let (mut next, mut left) = BLOCK.get();
    if left == 0 {
        let sequence = crate::pg::table::oid("entry_seq").unwrap_or(pg_sys::Oid::INVALID);
        next = extra::nextval(sequence) as u64;
        left = SEQ_BLOCK;
    }
    BLOCK.set((next + 1, left - 1));
    next
}

/// Appends entries to a lane and lets nodes know when this transaction commits.
pub fn append(lane: i32, bodies: &[Body]) {
    if bodies.is_empty() {
        return;
    }
    let at = now();
    let rows: Vec<Vec<Value>> = bodies
        .iter()
        .map(|b| row(lane, next_seq(), at, b))
        .collect();
    write(day_of(at), &rows);
    xact::count(lane, Count::Ready, bodies.len() as i64);
    announce(lane);
}

/// Appends entries of several lanes.
pub fn append_mixed(bodies: &[(i32, Body)]) {
    if bodies.is_empty() {
        return;
    }
    let at = now();
    let rows: Vec<Vec<Value>> = bodies
        .iter()
        .map(|(lane, b)| row(*lane, next_seq(), at, b))
        .collect();
    write(day_of(at), &rows);
    for (lane, _) in bodies {
        xact::count(*lane, Count::Ready, 1);
        announce(*lane);
    }
}

/// Appends an entry that nobody will be handed, so that a job that ended while deferred has one; answers it.
pub fn append_buried(lane: i32, body: &Body) -> Entry {
    let (at, seq) = (now(), next_seq());
    // Lanes are positive: the complement names the lane without being one.
    let entry = Entry {
        lane: !lane,
        xid: own_xid(),
        seq,
        queued_at: at,
        body: body.clone(),
    };
    write(day_of(at), &[row(entry.lane, seq, at, body)]);
    entry
}

fn write(day: i32, rows: &[Vec<Value>]) {
    match Table::write(oid_of_day("entry", day)) {
        Some(table) => table.append(rows),
        None => pgrx::error!("the entry table was dropped while it was used"),
    }
}

fn announce(lane: i32) {
    xact::enqueued(lane);
    crate::worker::announce();
}

fn row(lane: i32, seq: u64, queued_at: i64, b: &Body) -> Vec<Value> {
    vec![
        Some(Datum::from(lane)),
        Some(Datum::from(own_xid() as i64)),
        Some(Datum::from(seq as i64)),
        Some(uuid_datum(&b.id)),
        Some(Datum::from(b.attempt)),
        Some(Datum::from(b.max_attempts)),
        Some(Datum::from(b.enqueued_at)),
        Some(Datum::from(queued_at)),
        Some(b.args),
        b.gate_key,
        b.digest,
        b.tags,
        b.traceparent,
        b.run_at,
    ]
}

/// The position of an entry row.
pub fn position(row: &[Value]) -> (u64, u64) {
    (number(row[1]) as u64, number(row[2]) as u64)
}

/// A column of an integer or time type.
pub fn number(value: Value) -> i64 {
    value.map_or(0, |d| d.value() as i64)
}

/// Copies a scanned row into the current memory context.
pub fn read(row: &[Value]) -> Entry {
    let (xid, seq) = position(row);
    Entry {
        lane: number(row[0]) as i32,
        xid,
        seq,
        queued_at: number(row[7]),
        body: Body {
            id: row[3].map_or(Uuid::nil(), |d| unsafe { uuid_of(d) }),
            attempt: number(row[4]) as i16,
            max_attempts: number(row[5]) as i16,
            enqueued_at: number(row[6]),
            args: copy(row[8]).unwrap_or(Datum::from(0usize)),
            gate_key: copy(row[9]),
            digest: copy(row[10]),
            tags: copy(row[11]),
            traceparent: copy(row[12]),
            run_at: row[13],
        },
    }
}

/// A detoasted copy of a variable-length value in the current memory context.
pub fn copy(value: Value) -> Value {
    value.map(|d| Datum::from(unsafe { pg_sys::pg_detoast_datum_copy(d.cast_mut_ptr()) }))
}

impl Entry {
    /// This entry as a member of a claim.
    pub fn member(&self, gate: u64) -> Member {
        Member {
            id: self.body.id,
            xid: self.xid,
            seq: self.seq,
            gate,
            lane: self.lane,
            day: day_of(self.queued_at),
            attempt: self.body.attempt,
            max_attempts: self.body.max_attempts,
            flags: if self.body.digest.is_some() {
                HOLDS_KEY
            } else {
                0
            },
        }
    }

    /// The concurrency key.
    pub fn gate_key(&self) -> Option<String> {
        self.body
            .gate_key
            .and_then(|d| unsafe { String::from_datum(d, false) })
    }
}

/// Reads a member's entry; `None` when its table has been dropped.
pub fn of_member(member: &Member, snapshot: &Snapshot) -> Option<Entry> {
    let order = [
        Key {
            column: 1,
            operator: Operator::Int4Eq,
            value: Datum::from(member.lane),
        },
        Key {
            column: 2,
            operator: Operator::Int8Eq,
            value: Datum::from(member.xid as i64),
        },
        Key {
            column: 3,
            operator: Operator::Int8Eq,
            value: Datum::from(member.seq as i64),
        },
    ];
    let mut found = None;
    if let Some(table) = Table::read(oid_of_day("entry", member.day)) {
        table.scan(1, &order, snapshot, |row| {
            found = Some(read(row));
            false
        });
    }
    // After a restore into another cluster transaction ids were rewritten: look for it by the job.
    if found.is_none() {
        for_each_of_job(&member.id, snapshot, |entry| {
            if entry.seq == member.seq {
                found = Some(entry);
            }
        });
    }
    found
}

/// Visits all entries of a job, oldest table first.
pub fn for_each_of_job(id: &Uuid, snapshot: &Snapshot, mut visit: impl FnMut(Entry)) {
    let key = [Key {
        column: 1,
        operator: Operator::UuidEq,
        value: uuid_datum(id),
    }];
    for oid in family("entry") {
        if let Some(table) = Table::read(oid) {
            table.scan(4, &key, snapshot, |row| {
                visit(read(row));
                true
            });
        }
    }
}

/// Deletes an entry that nobody was handed; false when it is gone already.
pub fn delete(entry: &Entry) -> bool {
    spi::execute(
        "DELETE FROM forge_private.entry WHERE id = $1 AND seq = $2",
        &[
            (
                PgBuiltInOids::UUIDOID.value(),
                Some(uuid_datum(&entry.body.id)),
            ),
            (
                PgBuiltInOids::INT8OID.value(),
                Some(Datum::from(entry.seq as i64)),
            ),
        ],
    ) > 0
}

/// A digest column value.
pub fn digest(kind: i32, key: &str) -> Datum {
    bytea_datum(&digest_bytes(kind, key))
}

/// Sixteen bytes that identify a key of a kind.
pub fn digest_bytes(kind: i32, key: &str) -> [u8; 16] {
    let mut text = Vec::with_capacity(key.len() + 5);
    text.extend_from_slice(&kind.to_le_bytes());
    text.push(0);
    text.extend_from_slice(key.as_bytes());
    let hash = unsafe {
        let value = pg_sys::OidFunctionCall1Coll(
            pg_sys::Oid::from_u32(3420), // sha256(bytea)
            pg_sys::Oid::INVALID,
            bytea_datum(&text),
        );
        varlena::varlena_to_byte_slice(value.cast_mut_ptr::<pg_sys::varlena>()).to_vec()
    };
    let mut out = [0; 16];
    out.copy_from_slice(&hash[..16]);
    out
}
