//! Withdrawing jobs: cancelling one, retrying one now, emptying lanes.

use super::entry::{self, Entry};
use super::finish::{self, CANCELLED};
use super::{deferred, lane, lease, running};
use crate::pg::function::{Call, Value, uuid_datum};
use crate::pg::snapshot::Snapshot;
use crate::pg::{extra, spi, xact};
use pgrx::PgBuiltInOids;
use pgrx::pg_sys::Datum;
use uuid::Uuid;

/// How many entries one purge takes off a lane at a time.
const PURGE_BATCH: usize = 10_000;

/// The job's entry that has not come to an end, waiting or handed out: the newest without an attempt row.
pub fn waiting_entry(id: &Uuid, snapshot: &Snapshot) -> Option<Entry> {
    let mut newest: Option<Entry> = None;
    entry::for_each_of_job(id, snapshot, |entry| {
        if newest.as_ref().is_none_or(|n| n.seq < entry.seq) {
            newest = Some(entry);
        }
    });
    newest.filter(|e| !has_ended(id, e.seq))
}

fn has_ended(id: &Uuid, seq: u64) -> bool {
    spi::query(
        "SELECT 1 FROM forge_private.attempt WHERE id = $1 AND seq = $2",
        &[
            (PgBuiltInOids::UUIDOID.value(), Some(uuid_datum(id))),
            (
                PgBuiltInOids::INT8OID.value(),
                Some(Datum::from(seq as i64)),
            ),
        ],
        |_| {},
    ) > 0
}

/// `forge_private.cancel(id) returns boolean`: a waiting job ends as cancelled; a running one is told to stop. False
/// when there is nothing to cancel.
pub fn cancel(call: &Call) -> Value {
    let id = call.need_uuid(0, "id");
    Some(Datum::from(cancel_job(&id)))
}

fn cancel_job(id: &Uuid) -> bool {
    if let Some((lane, body)) = deferred::withdraw(id, "12345") {
        bury(lane, &body);
        finish::free_keys(&[*id]);
        return true;
    }
    let Some(entry) = waiting_entry(id, &Snapshot::latest()) else {
        return false;
    };
    if lane::take_one(entry.lane, entry.xid, entry.seq) {
        let member = entry.member(0);
        lease::record_closed(&[member]);
        finish::record_outcome(&[member], CANCELLED, Some("cancelled before it ran"));
        finish::free_keys(&[*id]);
        return true;
    }
    request(id)
}

/// A deferred job that is cancelled leaves a trace as one entry that nobody will be handed.
fn bury(lane: i32, body: &entry::Body) {
    let entry = entry::append_buried(lane, body);
    finish::record_outcome(
        &[entry.member(0)],
        CANCELLED,
        Some("cancelled before it ran"),
    );
}

/// Asks whoever runs the job to stop.
fn request(id: &Uuid) -> bool {
    let Some(running) = running::of_job(id) else {
        return false;
    };
    spi::execute(
        "INSERT INTO forge_private.cancel_request VALUES ($1, $2, clock_timestamp()) ON CONFLICT (id) DO NOTHING",
        &[
            (PgBuiltInOids::UUIDOID.value(), Some(uuid_datum(id))),
            (
                PgBuiltInOids::UUIDOID.value(),
                running.node.as_ref().map(uuid_datum),
            ),
        ],
    );
    extra::notify(c"forge_control");
    xact::wake();
    true
}

/// `forge_private.purge_lane(lane int) returns bigint`: cancels everything that waits in a lane.
pub fn purge_lane(call: &Call) -> Value {
    let lane = call.get::<i32>(0)?;
    let mut purged = 0i64;
    loop {
        let entries = lane::take(lane, PURGE_BATCH, true);
        let members: Vec<_> = entries.iter().map(|e| e.member(0)).collect();
        lease::record_closed(&members);
        finish::record_outcome(&members, CANCELLED, Some("purged"));
        let holders: Vec<Uuid> = entries
            .iter()
            .filter(|e| e.body.digest.is_some())
            .map(|e| e.body.id)
            .collect();
        finish::free_keys(&holders);
        purged += members.len() as i64;
        if members.len() < PURGE_BATCH {
            return Some(Datum::from(purged));
        }
    }
}
