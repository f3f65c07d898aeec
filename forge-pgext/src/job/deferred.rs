//! Deferred jobs: waiting for a time, for a gate, or for a person.
//!
//! Invariant: a job has at most one deferred row or live entry; whatever moves it between the two does both in one
//! transaction.

use super::entry::{self, Body, Entry, next_seq};
use super::kind::registry;
use super::{gate, now};
use crate::pg::function::{Call, Value, text_datum, uuid_datum, uuid_of};
use crate::pg::shmem::Count;
use crate::pg::snapshot::Snapshot;
use crate::pg::table::{Key, Operator, Table, oid};
use crate::pg::{spi, xact};
use pgrx::pg_sys::{self, Datum};
use pgrx::{IntoDatum, JsonB, PgBuiltInOids};
use uuid::Uuid;

pub const DELAY: i16 = 1;
pub const RETRY: i16 = 2;
pub const SNOOZE: i16 = 3;
pub const GATE: i16 = 4;
pub const DEAD: i16 = 5;

/// Promotion looks this far behind its cursor, so that short transactions are not missed between full sweeps.
const LOOK_BACK_US: i64 = 60_000_000;
/// How often promotion looks from the beginning.
const SWEEP_EVERY_US: i64 = 60_000_000;

/// A deferred row to be written.
pub struct Deferred<'a> {
    pub reason: i16,
    pub due: Option<i64>,
    pub lane: i32,
    pub body: &'a Body,
    pub gate: Option<u64>,
    pub error: Option<&'a str>,
}

/// Writes a job down as deferred.
pub fn insert(rows: &[Deferred<'_>]) {
    let at = now();
    for row in rows {
        xact::count(row.lane, counted_as(row.reason), 1);
    }
    let values: Vec<Vec<Value>> = rows.iter().map(|d| row(d, at)).collect();
    match oid("deferred").and_then(Table::write) {
        Some(table) => table.append(&values),
        None => pgrx::error!("table forge_private.deferred is missing"),
    }
    if rows.iter().any(|d| d.reason <= SNOOZE) {
        crate::worker::announce();
    }
}

fn row(d: &Deferred<'_>, at: i64) -> Vec<Value> {
    let b = d.body;
    vec![
        Some(uuid_datum(&b.id)),
        Some(Datum::from(d.reason)),
        d.due.map(Datum::from),
        Some(Datum::from(next_seq() as i64)),
        Some(Datum::from(d.lane)),
        Some(Datum::from(b.attempt)),
        Some(Datum::from(b.max_attempts)),
        Some(Datum::from(b.enqueued_at)),
        Some(b.args),
        b.gate_key,
        d.gate.map(|g| Datum::from(g as i64)),
        b.digest,
        b.tags,
        b.traceparent,
        b.run_at,
        d.error.map(text_datum),
        Some(Datum::from(at)),
    ]
}

/// An entry that its gate does not let through waits for the gate.
pub fn park(entry: &Entry, gate: u64) {
    insert(&[Deferred {
        reason: GATE,
        due: None,
        lane: entry.lane,
        body: &entry.body,
        gate: Some(gate),
        error: None,
    }]);
}

/// Columns that [`resume`] reads back.
const RETURNED: &str = "d.id, d.lane, d.attempt, d.max_attempts, d.enqueued_at, d.args, d.gate_key, d.digest, \
                        d.tags, d.traceparent, d.run_at, d.reason";

fn returned(row: &[Value]) -> (i32, Body) {
    let number = |i: usize| row[i].map_or(0, |d| d.value() as i64);
    let body = Body {
        id: row[0].map_or(Uuid::nil(), |d| unsafe { uuid_of(d) }),
        attempt: number(2) as i16,
        max_attempts: number(3) as i16,
        enqueued_at: number(4),
        args: outlive(row[5]).unwrap_or(Datum::from(0usize)),
        gate_key: outlive(row[6]),
        digest: outlive(row[7]),
        tags: outlive(row[8]),
        traceparent: outlive(row[9]),
        run_at: row[10],
    };
    let lane = number(1) as i32;
    xact::count(lane, counted_as(number(11) as i16), -1);
    (lane, body)
}

/// What a deferred job counts as.
fn counted_as(reason: i16) -> Count {
    match reason {
        RETRY => Count::Retrying,
        GATE => Count::Ready,
        DEAD => Count::Dead,
        _ => Count::Scheduled,
    }
}

/// Copies a value out of the memory of an SPI call.
fn outlive(value: Value) -> Value {
    value.map(|d| unsafe {
        let source = pg_sys::pg_detoast_datum(d.cast_mut_ptr());
        let bytes = pgrx::varlena::varsize_any(source);
        let copy = pg_sys::SPI_palloc(bytes);
        std::ptr::copy_nonoverlapping(source.cast::<u8>(), copy.cast::<u8>(), bytes);
        Datum::from(copy)
    })
}

/// Makes deferred jobs ready: those that the query of `picked` (one column `id`, rows locked) names. With `fresh` they
/// start again at attempt 1 and keep at least their number of attempts.
pub fn resume(picked: &str, params: &[spi::Param], fresh: bool) -> Vec<Uuid> {
    let mut bodies = Vec::new();
    let sql = format!(
        "WITH picked AS MATERIALIZED ({picked}) DELETE FROM forge_private.deferred d USING picked \
         WHERE d.id = picked.id RETURNING {RETURNED}"
    );
    spi::query(&sql, params, |row| bodies.push(returned(row)));
    if fresh {
        for (_, body) in &mut bodies {
            body.attempt = 1;
            hold_again(body);
        }
    }
    entry::append_mixed(&bodies);
    bodies.iter().map(|(_, b)| b.id).collect()
}

/// A dead job gave its unique key up: it has it again when nobody took it meanwhile, and goes on without it otherwise.
fn hold_again(body: &mut Body) {
    if body.digest.is_some() {
        let held = spi::execute(
            "INSERT INTO forge_private.unique_key VALUES ($1, $2) ON CONFLICT DO NOTHING",
            &[
                (PgBuiltInOids::BYTEAOID.value(), body.digest),
                (PgBuiltInOids::UUIDOID.value(), Some(uuid_datum(&body.id))),
            ],
        );
        if held == 0 {
            body.digest = None;
        }
    }
}

/// Lets as many jobs as places became free at a gate go on.
pub fn unpark(gate: u64, places: u32) {
    let key = [Key {
        column: 1,
        operator: Operator::Int8Eq,
        value: Datum::from(gate as i64),
    }];
    let mut waiting = false;
    if let Some(table) = oid("deferred").and_then(Table::read) {
        table.scan(11, &key, &Snapshot::latest(), |_| {
            waiting = true;
            false
        });
    }
    if waiting {
        resume(
            "SELECT id FROM forge_private.deferred WHERE reason = 4 AND gate = $1 ORDER BY seq LIMIT $2 \
             FOR UPDATE SKIP LOCKED",
            &[
                (
                    PgBuiltInOids::INT8OID.value(),
                    Some(Datum::from(gate as i64)),
                ),
                (
                    PgBuiltInOids::INT8OID.value(),
                    Some(Datum::from(i64::from(places))),
                ),
            ],
            false,
        );
    }
}

/// `forge_private.promote(cursor jsonb, max_jobs int) returns jsonb`: makes due jobs ready. The cursor, handed back on
/// the next call, spares walking over the dead index entries of what was promoted before while an old snapshot keeps
/// them; a sweep from the beginning now and then finds what committed late.
pub fn promote(call: &Call) -> Value {
    let cursor = call.get::<JsonB>(0).map(|j| j.0).unwrap_or_default();
    let max = i64::from(call.get::<i32>(1).unwrap_or(1000).clamp(1, 10_000));
    let at = now();
    let swept = cursor
        .get("swept")
        .and_then(serde_json::Value::as_i64)
        .unwrap_or(i64::MIN / 2);
    let sweep = at - swept > SWEEP_EVERY_US;
    let from = cursor
        .get("from")
        .and_then(serde_json::Value::as_i64)
        .filter(|_| !sweep);
    let low = from.map_or(i64::MIN, |f| f - LOOK_BACK_US);
    let ids = resume(
        "SELECT id FROM forge_private.deferred WHERE reason <= 3 AND due <= $1 AND due >= $2 ORDER BY due LIMIT $3 \
         FOR UPDATE SKIP LOCKED",
        &[
            (PgBuiltInOids::TIMESTAMPTZOID.value(), Some(Datum::from(at))),
            (
                PgBuiltInOids::TIMESTAMPTZOID.value(),
                Some(Datum::from(low)),
            ),
            (PgBuiltInOids::INT8OID.value(), Some(Datum::from(max))),
        ],
        false,
    );
    let more = ids.len() as i64 == max;
    if !more {
        unpark_stranded();
    }
    let next = next_due(low);
    let next_in_ms = if more {
        Some(0)
    } else {
        next.map(|due| ((due - now()) / 1000 + 1).max(0))
    };
    let json = serde_json::json!({
        "promoted": ids.len(),
        "next_in_ms": next_in_ms,
        "cursor": {
            "from": if more { from } else { Some(next.map_or(at, |n| n.min(at))) },
            "swept": if sweep && !more { at } else { swept },
        },
    });
    JsonB(json).into_datum()
}

/// Makes up to `max` due jobs ready, where there are any.
pub fn promote_due(max: i64) {
    let at = now();
    if next_due(i64::MIN).is_some_and(|due| due <= at) {
        resume(
            "SELECT id FROM forge_private.deferred WHERE reason <= 3 AND due <= $1 ORDER BY due LIMIT $2 \
             FOR UPDATE SKIP LOCKED",
            &[
                (PgBuiltInOids::TIMESTAMPTZOID.value(), Some(Datum::from(at))),
                (PgBuiltInOids::INT8OID.value(), Some(Datum::from(max))),
            ],
            false,
        );
    }
}

fn next_due(low: i64) -> Option<i64> {
    let mut next = None;
    spi::query(
        "SELECT due FROM forge_private.deferred WHERE reason <= 3 AND due >= $1 ORDER BY due LIMIT 1",
        &[(
            PgBuiltInOids::TIMESTAMPTZOID.value(),
            Some(Datum::from(low)),
        )],
        |row| next = row[0].map(|d| d.value() as i64),
    );
    next
}

/// Jobs that were parked while the last job ahead of them finished: nobody else would let them go on.
fn unpark_stranded() {
    let mut gates = Vec::new();
    spi::query(
        "SELECT gate, min(lane) FROM forge_private.deferred WHERE reason = 4 AND since < now() - interval '1 second' \
         GROUP BY gate LIMIT 1000",
        &[],
        |row| {
            gates.push((
                row[0].map_or(0, |d| d.value() as u64),
                row[1].map_or(0, |d| d.value() as i32),
            ))
        },
    );
    let known = registry();
    for (key, lane) in gates {
        let limit = known
            .channel_of(lane)
            .and_then(|c| c.kind.max_concurrency)
            .unwrap_or(1);
        if gate::has_room(key, limit) {
            unpark(key, 1);
        }
    }
}

/// `forge_private.resume_dead(ids uuid[]) returns setof uuid`: dead, delayed and retrying jobs become ready now.
pub fn resume_now(call: &Call) -> Value {
    let ids = call.datum(0)?;
    let results = call.scalar_set();
    let waiting =
        "SELECT id FROM forge_private.deferred WHERE id = ANY($1) AND reason <= 3 FOR UPDATE";
    let dead = "SELECT id FROM forge_private.deferred WHERE id = ANY($1) AND reason = 5 FOR UPDATE";
    for (picked, fresh) in [(waiting, false), (dead, true)] {
        for id in resume(
            picked,
            &[(PgBuiltInOids::UUIDARRAYOID.value(), Some(ids))],
            fresh,
        ) {
            results.push(&[Some(uuid_datum(&id))]);
        }
    }
    None
}

/// `forge_private.redrive(kinds int[], channels int[], max int) returns bigint`: dead jobs of these channels start again.
pub fn redrive(call: &Call) -> Value {
    let lanes = call.datum(0)?;
    let resumed = resume(
        "SELECT id FROM forge_private.deferred WHERE reason = 5 AND lane = ANY($1) ORDER BY seq LIMIT 10000 \
         FOR UPDATE SKIP LOCKED",
        &[(PgBuiltInOids::INT4ARRAYOID.value(), Some(lanes))],
        true,
    );
    Some(Datum::from(resumed.len() as i64))
}

/// Reads one deferred job as an entry body, for cancelling and replacing.
pub fn withdraw(id: &Uuid, reasons: &str) -> Option<(i32, Body)> {
    let mut found = None;
    let sql = format!(
        "DELETE FROM forge_private.deferred d WHERE d.id = $1 AND d.reason = ANY($2) RETURNING {RETURNED}"
    );
    let reasons: Vec<i16> = reasons.bytes().map(|b| i16::from(b - b'0')).collect();
    spi::query(
        &sql,
        &[
            (PgBuiltInOids::UUIDOID.value(), Some(uuid_datum(id))),
            (PgBuiltInOids::INT2ARRAYOID.value(), reasons.into_datum()),
        ],
        |row| found = Some(returned(row)),
    );
    found
}
