//! Sessions made by functions: by the role that calls, which inside a SECURITY DEFINER function is its definer.

use crate::pg::function::{Call, Value, text_datum};
use crate::pg::plan::Plan;
use crate::pg::role;
use pgrx::pg_sys::{self, Datum};
use std::cell::Cell;

thread_local! {
    static MAKE: Cell<Option<&'static Plan>> = const { Cell::new(None) };
}

/// `forge.create_session(subject, role, claims, ttl) returns text`.
pub fn create_session(call: &Call) -> Value {
    let maker = role::current();
    let arguments = [
        (pg_sys::OIDOID, Some(Datum::from(maker))),
        (pg_sys::TEXTOID, call.datum(0)),
        (pg_sys::TEXTOID, call.datum(1)),
        (pg_sys::JSONBOID, call.datum(2)),
        (pg_sys::INTERVALOID, call.datum(3)),
    ];
    let token = role::as_owner(|| {
        let made = plan().run(&arguments, false, 0, |rows| {
            let (mut values, mut nulls) = ([Datum::from(0usize)], [true]);
            if rows.len() == 1 {
                rows.values(0, &mut values, &mut nulls);
            }
            (!nulls[0]).then(|| unsafe { crate::pg::typ::text(values[0]) })
        });
        made.unwrap_or_else(|error| error.rethrow())
    });
    token.as_deref().map(text_datum)
}

/// The plan, made once and kept as long as the process.
fn plan() -> &'static Plan {
    if let Some(known) = MAKE.get() {
        return known;
    }
    let types = [
        pg_sys::OIDOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::JSONBOID,
        pg_sys::INTERVALOID,
    ];
    let sql = "SELECT forge_private.make_session($1, $2, $3, $4, $5)";
    let made = Plan::of_statement(sql, &types).unwrap_or_else(|e| e.rethrow());
    let fresh: &'static Plan = Box::leak(Box::new(made));
    MAKE.set(Some(fresh));
    fresh
}
