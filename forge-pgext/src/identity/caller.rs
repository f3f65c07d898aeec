//! Who called, seen from inside a SECURITY DEFINER function.

use crate::pg::function::{Call, Value};
use pgrx::pg_sys::{self, Datum};

/// `forge_private.caller() returns oid`: the role the session acts as (SET ROLE or the login role), not the definer. In a call
/// of the gateway that is the caller's role, never the daemon's.
pub fn caller(_: &Call) -> Value {
    let caller = super::current::current().map(|identity| identity.role_oid);
    Some(Datum::from(
        caller.unwrap_or_else(|| unsafe { pg_sys::GetOuterUserId() }),
    ))
}

/// `forge_private.system_identifier() returns bigint`: which cluster this is, to notice a restore into another one.
pub fn system_identifier(_: &Call) -> Value {
    Some(Datum::from(unsafe { pg_sys::GetSystemIdentifier() } as i64))
}
