//! Counts of jobs by lane: kept in shared memory as jobs move, counted once from the tables after a start.

use super::now;
use crate::pg::function::{Call, Value};
use crate::pg::shmem::{self, COUNTS, Count};
use crate::pg::snapshot::Snapshot;
use crate::pg::spi;
use pgrx::IntoDatum;
use pgrx::pg_sys::{self, Datum};

/// What the tables say: lane, which count, how many.
const TABLES: &str = "\
    SELECT e.lane, 0, count(*) - coalesce((SELECT count(*) FROM forge_private.running() r WHERE r.lane = e.lane), 0) \
    FROM forge_private.entry e WHERE e.lane >= 0 AND NOT EXISTS ( \
        SELECT FROM forge_private.attempt a WHERE a.id = e.id AND a.seq = e.seq) GROUP BY e.lane \
    UNION ALL SELECT r.lane, 1, count(*) FROM forge_private.running() r GROUP BY r.lane \
    UNION ALL SELECT d.lane, CASE d.reason WHEN 2 THEN 3 WHEN 4 THEN 0 WHEN 5 THEN 4 ELSE 2 END, count(*) \
    FROM forge_private.deferred d GROUP BY d.lane, d.reason";

/// Counts this database's jobs into shared memory, as of the transaction's snapshot plus what commits meanwhile; false
/// when it has to be tried again. To be called in a transaction of its own.
pub fn recount() -> bool {
    if shmem::with(shmem::Shared::begin_recount) != Some(true) {
        return false;
    }
    // Whatever commits from now on is logged; of that, what this snapshot sees already is left out again.
    let snapshot = Snapshot::latest();
    let mut base = Vec::new();
    unsafe { pg_sys::PushActiveSnapshot(snapshot.raw()) };
    spi::query_read_only(TABLES, &mut |row| {
        let number = |i: usize| row[i].map_or(0, |d: Datum| d.value() as i64);
        let what = [
            Count::Ready,
            Count::Running,
            Count::Scheduled,
            Count::Retrying,
            Count::Dead,
        ][number(1) as usize % 5];
        base.push((number(0) as i32, what, number(2)));
    });
    unsafe { pg_sys::PopActiveSnapshot() };
    let unseen = |xid: u64| xid >= snapshot.xmax || snapshot.open.binary_search(&xid).is_ok();
    let at = now();
    shmem::with(|shared| shared.end_recount(&base, unseen, at)) == Some(true)
}

/// `forge_private.lane_counts()`: one row per lane with its counts, when its oldest job came and completions per
/// second; no rows when nothing has been counted, which is so without preload.
pub fn lane_counts(call: &Call) -> Value {
    let results = call.result_set();
    for lane in shmem::with(|shared| shared.counts(now()))
        .flatten()
        .unwrap_or_default()
    {
        let mut row: Vec<Value> = vec![Some(Datum::from(lane.lane))];
        row.extend((0..COUNTS).map(|i| Some(Datum::from(lane.counts[i].max(0)))));
        let waits = lane.counts[Count::Ready as usize] > 0 && lane.waiting_since > 1;
        row.push(waits.then(|| Datum::from(lane.waiting_since)));
        row.push(lane.completed_per_s.into_datum());
        results.push(&row);
    }
    None
}

/// `forge_private.reset_memory()`: what shared memory knows of this database is forgotten; the install script calls it.
pub fn reset_memory(_: &Call) -> Value {
    shmem::with(shmem::Shared::reset);
    None
}

/// `forge_private.counted() returns boolean`: whether [`lane_counts`] knows the numbers.
pub fn counted(_: &Call) -> Value {
    let known = shmem::with(|shared| shared.counts(now()).is_some()).unwrap_or(false);
    Some(Datum::from(known))
}
