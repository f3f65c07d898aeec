//! Instants of a schedule, for SQL: the next ones, and the due ones. Whole microseconds, the unit of timestamptz.

use crate::pg::function::{Call, Value};
use crate::registry::rule::or_refuse;
use forge_core::{Schedule, Zone};
use jiff::Timestamp;
use pgrx::pg_sys::Datum;

/// Most instants asked for at once.
const MAX_INSTANTS: i32 = 10_000;

/// Microseconds from 1970, where jiff counts from, to 2000, where Postgres does.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// `forge.next_runs(cron text, timezone text, after timestamptz, n int) returns setof timestamptz`, n from 0.
pub fn next_runs(call: &Call) -> Value {
    let (schedule, zone) = rhythm(call);
    let mut after = instant(call, 2, "after");
    let rows = call.scalar_set();
    for _ in 0..count(call, 3) {
        let Some(next) = schedule.next_after(&zone, after) else {
            break;
        };
        rows.push(&[Some(timestamptz(next))]);
        after = next;
    }
    None
}

/// `forge_private.due_instants(cron text, timezone text, since timestamptz, until timestamptz, n int)
/// returns setof timestamptz`: the newest n from since to until, both included, ascending.
pub fn due_instants(call: &Call) -> Value {
    let (schedule, zone) = rhythm(call);
    let (since, until) = (instant(call, 2, "since"), instant(call, 3, "until"));
    // forge-core's interval is open at its start.
    let before = Timestamp::from_microsecond(since.as_microsecond() - 1).unwrap_or(since);
    let rows = call.scalar_set();
    for due in schedule.newest_between(&zone, before, until, count(call, 4)) {
        rows.push(&[Some(timestamptz(due))]);
    }
    None
}

fn rhythm(call: &Call) -> (Schedule, Zone) {
    let schedule = or_refuse(Schedule::parse(&call.need_text(0, "cron")));
    (
        schedule,
        or_refuse(Zone::parse(&call.need_text(1, "timezone"))),
    )
}

fn instant(call: &Call, i: usize, name: &str) -> Timestamp {
    call.get::<i64>(i)
        .and_then(|micros| micros.checked_add(POSTGRES_EPOCH))
        .and_then(|micros| Timestamp::from_microsecond(micros).ok())
        .unwrap_or_else(|| {
            crate::error::invalid(
                format!("{name} is null, infinite or too far away"),
                "Pass a time within the years -9999 to 9999.",
            )
        })
}

fn count(call: &Call, i: usize) -> usize {
    let n = call.get::<i32>(i).unwrap_or(-1);
    if !(0..=MAX_INSTANTS).contains(&n) {
        crate::error::invalid(
            format!("{n} runs cannot be listed"),
            format!("Ask for 0 to {MAX_INSTANTS}."),
        );
    }
    n as usize
}

fn timestamptz(at: Timestamp) -> Datum {
    Datum::from(at.as_microsecond() - POSTGRES_EPOCH)
}
