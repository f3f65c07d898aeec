//! The audit log's chain: each row is hashed with the hash of the one before it.
//!
//! Appending takes a lock to the end of the transaction and then reads the chain's end with the newest snapshot, so that
//! also a transaction with an old snapshot appends behind what has been committed.

use super::current;
use crate::pg::function::{Call, Value, text_datum};
use crate::pg::lock::{self, Class};
use crate::pg::{role, spi};
use pgrx::pg_sys;

/// `forge_private.audit_append(actor, role, action, object, before, after, request_id)`.
pub fn append(call: &Call) -> Value {
    lock::acquire(Class::Audit, 0);
    let text = |i: usize| (pg_sys::TEXTOID, call.datum(i));
    let json = |i: usize| (pg_sys::JSONBOID, call.datum(i));
    let row = [
        text(0),
        text(1),
        text(2),
        text(3),
        json(4),
        json(5),
        text(6),
    ];
    role::as_owner(|| {
        spi::execute(
            "WITH last AS MATERIALIZED ( \
               SELECT coalesce((SELECT h.seq FROM forge_private.audit_head h), 0) + 1 AS seq, \
                      coalesce((SELECT h.hash FROM forge_private.audit_head h), '') AS prev_hash, clock_timestamp() AS at), \
             made AS (INSERT INTO forge_private.audit_entry (seq, at, actor, role, action, object, before, after, request_id, prev_hash, hash) \
               SELECT l.seq, l.at, $1, $2, $3, $4, $5, $6, $7, l.prev_hash, \
                      forge_private.audit_hash(l.prev_hash, l.seq, l.at, $1, $2, $3, $4, $5, $6, $7) FROM last l RETURNING seq, hash) \
             INSERT INTO forge_private.audit_head AS h (seq, hash) SELECT seq, hash FROM made \
             ON CONFLICT ON CONSTRAINT audit_head_pkey DO UPDATE SET seq = EXCLUDED.seq, hash = EXCLUDED.hash",
            &row,
        )
    });
    None
}

/// `forge_private.actor() returns text`: the caller's subject, its API key, or the role that logged in.
pub fn actor(_: &Call) -> Value {
    let who = current::current().map_or_else(
        || role::name(role::session()),
        |identity| {
            let named = identity.subject.clone().or_else(|| identity.name.clone());
            named.unwrap_or_else(|| "anonymous".into())
        },
    );
    Some(text_datum(&who))
}

/// `forge_private.request_id() returns text`.
pub fn request_id(_: &Call) -> Value {
    current::request_id().as_deref().map(text_datum)
}
