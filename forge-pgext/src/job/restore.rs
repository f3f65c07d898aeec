//! A dump restored into another cluster: what it says of transaction ids means nothing here.
//!
//! Before anything is taken from any lane, a backend compares the cluster it is in with the one the installation was
//! made in. Where they differ, every entry is stamped anew: those that have ended below every transaction of this
//! cluster, those that have not just above them, and each lane's frontier between the two. Leases of the old cluster
//! are void: their unfinished jobs are ready again, under the same attempt.

use crate::pg::lock::{self, Class};
use crate::pg::{shmem, spi, xact};
use pgrx::PgBuiltInOids;
use pgrx::pg_sys::{self, Datum};
use std::cell::Cell;

thread_local! {
    /// This database is known to be of this cluster.
    static OURS: Cell<bool> = const { Cell::new(false) };
}

/// What stamps anew. The order of entries stays: their sequence numbers do.
const STAMP: [&str; 6] = [
    "UPDATE forge_private.entry e SET xid = CASE WHEN e.lane < 0 OR EXISTS (SELECT FROM forge_private.attempt a \
     WHERE a.id = e.id AND a.seq = e.seq) THEN 0 ELSE 1 END",
    "DELETE FROM forge_private.lease_event",
    "DELETE FROM forge_private.claim",
    "DELETE FROM forge_private.claim_floor",
    "DELETE FROM forge_private.frontier",
    "INSERT INTO forge_private.frontier (lane, xid, seq, ranges, since, exact) \
     SELECT DISTINCT e.lane, 0, 9223372036854775807, ''::bytea, pg_catalog.clock_timestamp(), true \
     FROM forge_private.entry e WHERE e.lane >= 0",
];

/// Makes sure that the entries' transaction ids are this cluster's. To be called before any lane is locked.
pub fn ensure_ours() {
    if OURS.get() || xact::has_restamped() || matches_cluster() {
        return;
    }
    // Others wait for the outcome, and then find that nothing is to be done.
    let held = lock::acquire(Class::Restore, 0);
    if matches_cluster() {
        held.release();
        return;
    }
    xact::restamped();
    for statement in STAMP {
        spi::execute(statement, &[]);
    }
    spi::execute(
        "UPDATE forge_private.installation SET system_identifier = $1",
        &[(PgBuiltInOids::INT8OID.value(), Some(identifier()))],
    );
    shmem::with(shmem::Shared::reset);
}

fn identifier() -> Datum {
    Datum::from(unsafe { pg_sys::GetSystemIdentifier() } as i64)
}

/// Whether the installation is of this cluster. One without any registration has nothing to be stamped, yet.
fn matches_cluster() -> bool {
    let (mut made, mut same) = (false, false);
    spi::query(
        "SELECT system_identifier = $1 FROM forge_private.installation",
        &[(PgBuiltInOids::INT8OID.value(), Some(identifier()))],
        |row| {
            made = true;
            same = row[0].is_some_and(|d| d.value() != 0);
        },
    );
    OURS.set(made && same);
    !made || same
}
