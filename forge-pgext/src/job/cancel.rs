//! Withdrawing jobs: cancelling one, retrying one now, emptying lanes, moving what waits to a newer day.

use super::entry::{self, Body, Entry};
use super::finish::{self, CANCELLED};
use super::recover::Attempts;
use super::{deferred, lane, lease, running};
use crate::pg::function::{Call, Value, uuid_datum};
use crate::pg::shmem::Count;
use crate::pg::snapshot::{Snapshot, own_xid};
use crate::pg::{extra, spi, xact};
use pgrx::PgBuiltInOids;
use pgrx::pg_sys::Datum;
use uuid::Uuid;

/// How many entries one purge takes off a lane at a time.
const PURGE_BATCH: usize = 10_000;

/// The job's entry that has not come to an end, waiting or handed out.
fn live_entry(id: &Uuid) -> Option<Entry> {
    let snapshot = Snapshot::latest();
    let attempts = Attempts::open(&snapshot);
    let mut live = None;
    entry::for_each_of_job(id, &snapshot, |entry| {
        if entry.lane >= 0 && !attempts.has(Some(*id), entry.seq) {
            live = Some(entry);
        }
    });
    live
}

/// A job taken back before anybody had it.
pub enum Withdrawn {
    /// Where it waited, and what it was.
    Waiting(i32, Body),
    /// Somebody has it.
    HandedOut,
    /// It has ended, or never was.
    Gone,
}

/// Takes a waiting job out of the queue, from its lane or from the deferred store (where it is there for one of these
/// reasons). The row is deleted: it is gone when this transaction commits, and there again when it aborts.
pub fn withdraw(id: &Uuid, reasons: &str) -> Withdrawn {
    // A job may move from one to the other between the two looks.
    for _ in 0..LOOKS {
        if let Some((lane, body)) = deferred::withdraw(id, reasons) {
            return Withdrawn::Waiting(lane, body);
        }
        let Some(entry) = live_entry(id) else {
            continue;
        };
        if entry.xid == own_xid() {
            xact::count(entry.lane, Count::Ready, -1);
        } else if !lane::take_one(entry.lane, entry.xid, entry.seq) {
            return Withdrawn::HandedOut;
        }
        if entry::delete(&entry) {
            return Withdrawn::Waiting(entry.lane, entry.body);
        }
    }
    Withdrawn::Gone
}

/// How often a job is looked for that moves about.
const LOOKS: usize = 3;

/// `forge_private.cancel(id) returns boolean`: a waiting job ends as cancelled; a running one is told to stop. False
/// when there is nothing to cancel.
pub fn cancel(call: &Call) -> Value {
    let id = call.need_uuid(0, "id");
    Some(Datum::from(cancel_job(&id)))
}

fn cancel_job(id: &Uuid) -> bool {
    for _ in 0..LOOKS {
        match withdraw(id, "12345") {
            Withdrawn::Waiting(lane, body) => {
                bury(lane, &body);
                finish::free_keys(&[*id]);
                return true;
            }
            Withdrawn::HandedOut => {
                if let Some(running) = running::of_job(id) {
                    request(id, running.node.as_ref());
                    return true;
                }
                // It has just been given back, or has ended, or its claim has not committed yet.
            }
            Withdrawn::Gone => return false,
        }
    }
    // Whoever is about to have it will be told.
    request(id, None);
    true
}

/// A job that is cancelled before it ran leaves a trace as one entry that nobody will be handed.
fn bury(lane: i32, body: &entry::Body) {
    let entry = entry::append_buried(lane, body);
    finish::record_outcome(
        &[entry.member(0)],
        CANCELLED,
        Some("cancelled before it ran"),
    );
}

/// Asks whoever runs the job to stop: the node that has it, or whichever finds that it has.
fn request(id: &Uuid, node: Option<&Uuid>) {
    spi::execute(
        "INSERT INTO forge_private.cancel_request VALUES ($1, $2, clock_timestamp()) ON CONFLICT (id) DO NOTHING",
        &[
            (PgBuiltInOids::UUIDOID.value(), Some(uuid_datum(id))),
            (PgBuiltInOids::UUIDOID.value(), node.map(uuid_datum)),
        ],
    );
    extra::notify(c"forge_control");
    xact::wake();
}

/// `forge_private.purge_lane(lane int) returns bigint`: cancels everything that waits in a lane.
pub fn purge_lane(call: &Call) -> Value {
    let lane = call.get::<i32>(0)?;
    let mut purged = 0i64;
    loop {
        let entries = lane::take(lane, PURGE_BATCH, true).unwrap_or_default();
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

/// `forge_private.requeue(id uuid) returns boolean`: a job that waits in a lane waits there as a new entry, behind the
/// others, under the same attempt. False when it does not; who claims it at the same time has it.
pub fn requeue(call: &Call) -> Value {
    let id = call.need_uuid(0, "id");
    let waits = match withdraw(&id, "") {
        Withdrawn::Waiting(lane, body) => {
            entry::append(lane, &[body]);
            true
        }
        Withdrawn::HandedOut | Withdrawn::Gone => false,
    };
    Some(Datum::from(waits))
}
