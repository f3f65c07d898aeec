//! What is running: unfinished members of leases that are neither closed nor revoked.

use super::finish::Holder;
use super::member::{Member, decode, decode_positions};
use crate::pg::function::{Call, Value, text_datum, uuid_datum, uuid_of};
use crate::pg::snapshot::Snapshot;
use crate::pg::spi;
use pgrx::FromDatum;
use pgrx::pg_sys::{self, Datum};
use std::collections::HashMap;
use uuid::Uuid;

/// A lease that is open.
pub struct OpenLease {
    pub lease: Uuid,
    pub at: i64,
    pub node: Option<Uuid>,
    pub worker: Option<String>,
    /// Unfinished members with their positions.
    pub members: Vec<(usize, Member)>,
}

/// A job that is running.
pub struct Running {
    pub node: Option<Uuid>,
}

/// Visits every lease that is open now.
pub fn for_each(mut visit: impl FnMut(OpenLease)) {
    let snapshot = Snapshot::latest();
    unsafe { pg_sys::PushActiveSnapshot(snapshot.raw()) };
    for_each_seen(&mut visit);
    unsafe { pg_sys::PopActiveSnapshot() };
}

/// Visits every lease that is open as the active snapshot sees it, so that a query over jobs finds entries, attempts
/// and leases of the same moment.
fn for_each_seen(visit: &mut dyn FnMut(OpenLease)) {
    spi::query_read_only(
        "SELECT c.lease, c.at, c.node, c.worker, c.members, \
         (SELECT string_agg(d.positions, '') FROM forge_private.lease_event d WHERE d.lease = c.lease AND d.kind = 1) \
         FROM forge_private.claim c \
         WHERE c.at >= coalesce((SELECT at FROM forge_private.claim_floor), '-infinity') AND NOT EXISTS ( \
           SELECT 1 FROM forge_private.lease_event e WHERE e.lease = c.lease AND e.kind IN (2, 3))",
        &mut |row| {
            let bytes = |i: usize| {
                row[i]
                    .and_then(|d| unsafe { Vec::<u8>::from_datum(d, false) })
                    .unwrap_or_default()
            };
            let mut members: Vec<(usize, Member)> =
                decode(&bytes(4)).into_iter().enumerate().collect();
            let done: Vec<usize> = decode_positions(&bytes(5)).collect();
            members.retain(|(p, _)| !done.contains(p));
            visit(OpenLease {
                lease: row[0].map_or(Uuid::nil(), |d| unsafe { uuid_of(d) }),
                at: row[1].map_or(0, |d| d.value() as i64),
                node: row[2].map(|d| unsafe { uuid_of(d) }),
                worker: row[3].and_then(|d| unsafe { String::from_datum(d, false) }),
                members,
            });
        },
    );
}

/// `forge_private.running()`: one row per running job.
pub fn running(call: &Call) -> Value {
    let results = call.result_set();
    for_each_seen(&mut |lease| {
        let holder = Holder {
            node: lease.node.as_ref(),
            worker: lease.worker.as_deref(),
            started_at: Some(lease.at),
        };
        for (position, member) in &lease.members {
            results.push(&[
                Some(uuid_datum(&member.id)),
                Some(Datum::from(member.seq as i64)),
                Some(uuid_datum(&lease.lease)),
                Some(Datum::from(*position as i32)),
                holder.node.map(uuid_datum),
                holder.worker.map(text_datum),
                Some(Datum::from(i32::from(member.attempt))),
                Some(Datum::from(member.lane)),
                Some(Datum::from(lease.at)),
            ]);
        }
    });
    None
}

/// Running members by concurrency gate.
pub fn count_by_gate() -> HashMap<u64, u32> {
    let mut counts = HashMap::new();
    for_each(|lease| {
        for (_, member) in lease.members.iter().filter(|(_, m)| m.gate != 0) {
            *counts.entry(member.gate).or_default() += 1;
        }
    });
    counts
}

/// Who runs a job.
pub fn of_job(id: &Uuid) -> Option<Running> {
    let mut found = None;
    for_each(|lease| {
        if lease.members.iter().any(|(_, m)| m.id == *id) {
            found = Some(Running { node: lease.node });
        }
    });
    found
}
