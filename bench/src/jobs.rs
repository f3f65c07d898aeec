//! The suite `jobs`: what the queue must reach, one file per row or group of rows measured together.

mod deferred;
mod idle;
mod latency;
mod limits;
mod node_native;
mod node_sql;
mod old_snapshot;
mod small_claims;
mod sql_path;
mod wal;
mod writes;

use crate::suite::Entry;

/// How many jobs a client program enqueues, claims and completes at a time.
const BATCH: usize = 500;

/// Every entry, in the order they run and are printed.
pub const ENTRIES: &[Entry] = &[
    sql_path::ENTRY,
    small_claims::ENTRY,
    old_snapshot::ENTRY,
    limits::ENTRY,
    wal::ENTRY,
    writes::ENTRY,
    node_native::ENTRY,
    node_sql::ENTRY,
    latency::ENTRY,
    deferred::ENTRY,
    idle::ENTRY,
];
