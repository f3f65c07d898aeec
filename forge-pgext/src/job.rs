//! The queue: a log of entries, claims of batches, leases, attempts. One file per noun or verb.

pub mod cancel;
pub mod claim;
pub mod count;
pub mod deferred;
pub mod enqueue;
pub mod entry;
pub mod finish;
pub mod gate;
pub mod kind;
pub mod lane;
pub mod lease;
pub mod member;
pub mod recover;
pub mod rescue;
pub mod restore;
pub mod run_sql;
pub mod running;

use pgrx::pg_sys;

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;

/// The database clock, microseconds since 2000-01-01 UTC.
pub fn now() -> i64 {
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// The day (since 2000-01-01) of an instant.
pub fn day_of(at: i64) -> i32 {
    at.div_euclid(DAY_US) as i32
}

thread_local! {
    /// Randomness for ids, taken from the operating system many at a time; and the last id's time part.
    static ID_SOURCE: std::cell::RefCell<(Vec<u8>, u64)> = const { std::cell::RefCell::new((Vec::new(), 0)) };
}

/// A new UUIDv7 by the database clock: milliseconds, 12 bits of their fraction, 62 random bits. Ascending within this
/// backend.
pub fn new_id() -> uuid::Uuid {
    /// From 1970-01-01 to 2000-01-01.
    const EPOCH_US: i64 = 946_684_800_000_000;
    let us = (now() + EPOCH_US) as u64;
    let time = ((us / 1000) << 12) | ((us % 1000) * 4096 / 1000);
    ID_SOURCE.with_borrow_mut(|(pool, last)| {
        let time = time.max(*last + 1);
        *last = time;
        if pool.len() < 8 {
            pool.resize(4096, 0);
            if !unsafe { pg_sys::pg_strong_random(pool.as_mut_ptr().cast(), pool.len()) } {
                pgrx::error!("the operating system gave no random bytes");
            }
        }
        let random = pool.split_off(pool.len() - 8);
        let random = random.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
        let high = (time >> 12) << 16 | 0x7000 | (time & 0xFFF);
        let low = random >> 2 | 1 << 63;
        uuid::Uuid::from_u64_pair(high, low)
    })
}

/// The instant in a UUIDv7, microseconds since 2000-01-01.
pub fn instant_of(id: &uuid::Uuid) -> i64 {
    /// From 1970-01-01 to 2000-01-01.
    const EPOCH_US: i64 = 946_684_800_000_000;
    let bytes = id.as_bytes();
    let ms = bytes[..6].iter().fold(0i64, |n, b| n << 8 | i64::from(*b));
    ms * 1000 - EPOCH_US
}

/// Longest time that anything may be put off, years.
const LONGEST_YEARS: i64 = 100;

/// The instant an interval from now, microseconds since 2000; ZF002 when the interval is negative or over a century.
pub fn deadline(interval: Option<pg_sys::Datum>, name: &str, default_us: i64) -> i64 {
    let at = now();
    let Some(interval) = interval else {
        return at + default_us;
    };
    check_length(interval, name);
    let then = unsafe {
        pg_sys::OidFunctionCall2Coll(
            pg_sys::Oid::from_u32(1189), // timestamptz + interval
            pg_sys::Oid::INVALID,
            pg_sys::Datum::from(at),
            interval,
        )
    }
    .value() as i64;
    if then < at {
        crate::error::invalid(
            format!("{name} is negative ({} s)", (then - at) / 1_000_000),
            format!("Pass a {name} of zero or more."),
        );
    }
    then
}

/// [`deadline`] of something that lasts: ZF002 for no time at all, too.
pub fn end_of(interval: Option<pg_sys::Datum>, name: &str, default_us: i64) -> i64 {
    let end = deadline(interval, name, default_us);
    if end <= now() {
        crate::error::invalid(
            format!("{name} is over as soon as it begins"),
            format!("Pass a {name} of some seconds."),
        );
    }
    end
}

/// Postgres names neither value nor argument when a sum is out of range.
fn check_length(interval: pg_sys::Datum, name: &str) {
    // SAFETY: the argument is declared an interval.
    let interval = unsafe { *interval.cast_mut_ptr::<pg_sys::Interval>() };
    // Four years have 1461 days.
    let days =
        i64::from(interval.month) * 1461 / 48 + i64::from(interval.day) + interval.time / DAY_US;
    let years = days * 4 / 1461;
    if years.abs() > LONGEST_YEARS {
        crate::error::invalid(
            format!("{name} of {years} years is out of range"),
            format!("Pass a {name} of at most {LONGEST_YEARS} years."),
        );
    }
}
