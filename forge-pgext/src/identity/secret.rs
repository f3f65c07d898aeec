//! Secrets: random bytes straight from the operating system, as backends fork and must not share a generator.

use crate::pg::function::{Call, Value, bytea_datum, uuid_datum};
use pgrx::pg_sys;

/// `forge_private.random_bytes(n int) returns bytea`, n from 1 to 1024.
pub fn random_bytes(call: &Call) -> Value {
    let n = call.get::<i32>(0).unwrap_or(0);
    if !(1..=1024).contains(&n) {
        crate::error::invalid(
            format!("cannot make {n} random bytes"),
            "Ask for 1 to 1024 bytes.",
        );
    }
    Some(bytea_datum(&random(n as usize)))
}

/// Random bytes.
pub fn random(n: usize) -> Vec<u8> {
    let mut bytes = vec![0u8; n];
    if !unsafe { pg_sys::pg_strong_random(bytes.as_mut_ptr().cast(), bytes.len()) } {
        pgrx::error!("the operating system gave no random bytes");
    }
    bytes
}

/// `forge_private.uuid7() returns uuid`: a new UUIDv7, monotonic within this backend.
pub fn uuid7(_: &Call) -> Value {
    Some(uuid_datum(&crate::job::new_id()))
}
