//! Concurrency gates and rate buckets: how many jobs of a kind, a concurrency key or a queue may run or start.
//!
//! The truth about gates is the set of unfinished members of valid leases. With preload it is counted once into shared
//! memory and kept there, exactly; without, it is counted under the gate's lock, which is then held to the end of the
//! transaction.
//!
//! A rate bucket is a sliding window ([`Window`]): in shared memory with preload, which a restart of the server forgets;
//! in a row of `forge_private.rate_bucket` without, locked to the end of the transaction.

use super::entry::digest_bytes;
use super::kind::Kind;
use super::{now, running};
use crate::pg::lock::{self, Class};
use crate::pg::{shmem, spi, xact};
use forge_core::{Rate, Window};
use pgrx::pg_sys::Datum;
use pgrx::{FromDatum, IntoDatum, PgBuiltInOids};
use std::cell::RefCell;
use std::collections::HashMap;

thread_local! {
    /// Without shared memory: places the claim under way has taken, which no table tells yet.
    static CLAIMING: RefCell<HashMap<u64, u32>> = RefCell::new(HashMap::new());
    /// When the claim under way drew last from each rate bucket.
    static DRAWN: RefCell<HashMap<u64, i64>> = RefCell::new(HashMap::new());
}

/// A claim begins: it has taken no places yet.
pub fn begin_claim() {
    CLAIMING.with_borrow_mut(HashMap::clear);
    DRAWN.with_borrow_mut(HashMap::clear);
}

/// The gate of a concurrency key of a kind; the empty key is the kind as a whole. Never 0.
pub fn key(kind: i32, key: &str) -> u64 {
    let bytes = digest_bytes(kind, key);
    bytes[..8].iter().fold(0u64, |n, b| n << 8 | u64::from(*b)) | 1
}

/// The gate of entries of a kind that have this concurrency key; those without one share the empty key. 0 when nothing
/// limits them.
pub fn of_key(kind: &Kind, of: Option<&str>) -> u64 {
    if of.is_none() && kind.max_concurrency.is_none() {
        return 0;
    }
    key(kind.id, of.unwrap_or_default())
}

/// Takes up to `want` places of a gate that lets `limit` members run at once; answers how many.
/// Undone when the transaction aborts.
pub fn enter(gate: u64, limit: u32, want: u32) -> u32 {
    if !shmem::present() {
        lock::acquire(Class::Gate, gate);
        let running = running::count_by_gate().get(&gate).copied().unwrap_or(0);
        return CLAIMING.with_borrow_mut(|claiming| {
            let mine = claiming.entry(gate).or_default();
            let got = want.min(limit.saturating_sub(running + *mine));
            *mine += got;
            got
        });
    }
    let enter = || shmem::with(|shared| shared.enter_gate(gate, limit, want)).flatten();
    let got = enter().or_else(|| {
        count_once();
        enter()
    });
    let got = got.unwrap_or(0);
    if got > 0 {
        xact::entered_gate(gate, got);
    }
    got
}

/// Gives back places that were not needed after all, at once.
pub fn return_unused(gate: u64, count: u32) {
    if count > 0 && shmem::present() {
        xact::return_gate(gate, count);
    } else if let Some(mine) = CLAIMING.with_borrow_mut(|c| c.get(&gate).copied()) {
        CLAIMING.with_borrow_mut(|c| c.insert(gate, mine.saturating_sub(count)));
    }
}

/// Gives places back when the transaction commits.
pub fn leave(gate: u64, count: u32) {
    if shmem::present() {
        xact::leave_gate(gate, count);
    }
}

/// Whether the gate has a free place, as far as can be seen now.
pub fn has_room(gate: u64, limit: u32) -> bool {
    if !shmem::present() {
        return running::count_by_gate().get(&gate).copied().unwrap_or(0) < limit;
    }
    count_once();
    shmem::with(|shared| {
        let got = shared.enter_gate(gate, limit, 1).unwrap_or(0);
        shared.leave_gate(gate, got);
        got > 0
    })
    .unwrap_or(false)
}

fn count_once() {
    if shmem::with(shmem::Shared::gates_ready) == Some(true) {
        return;
    }
    let held = lock::acquire(Class::Gate, 0);
    if shmem::with(shmem::Shared::gates_ready) != Some(true) {
        let counts: HashMap<u64, u32> = running::count_by_gate();
        let counts: Vec<(u64, u32)> = counts.into_iter().collect();
        shmem::with(|shared| shared.set_gates(&counts));
    }
    held.release();
}

/// Draws up to `want` starts from a rate bucket; answers how many. When there are none, nodes are woken as soon as there
/// is one again.
pub fn draw(bucket: u64, rate: &Rate, want: u32) -> u32 {
    if want == 0 {
        return 0;
    }
    let (granted, at, retry_after) = change_bucket(bucket, |window, now| {
        let granted = window.draw(rate, now, want);
        let retry_after = (granted == 0).then(|| window.retry_after_us(rate, now));
        (granted, now, retry_after)
    });
    match retry_after {
        None => DRAWN.with_borrow_mut(|drawn| {
            drawn.insert(bucket, at);
        }),
        Some(us) => crate::worker::announce_at(at.saturating_add(us)),
    }
    granted
}

/// Puts back what the last draw from the bucket granted and was not needed.
pub fn put_back(bucket: u64, _rate: &Rate, count: u32) {
    let drawn = DRAWN.with_borrow(|drawn| drawn.get(&bucket).copied());
    if let Some(at) = drawn.filter(|_| count > 0) {
        change_bucket(bucket, |window, _| window.put_back(at, count));
    }
}

/// In how many microseconds a bucket that grants nothing now will grant one.
pub fn retry_after_us(bucket: u64, rate: &Rate) -> i64 {
    change_bucket(bucket, |window, now| window.retry_after_us(rate, now))
}

/// Runs `change` on a bucket's window, alone, with the time of that moment: the windows' times never run backwards.
fn change_bucket<R>(bucket: u64, change: impl Fn(&mut Window, i64) -> R) -> R {
    let in_memory = shmem::with(|shared| {
        let at = now();
        shared.rate(bucket, at).map(|window| change(window, at))
    });
    if let Some(Some(result)) = in_memory {
        return result;
    }
    lock::acquire(Class::Rate, bucket);
    let mut window = stored(bucket);
    let before = window;
    let result = change(&mut window, now());
    if window != before {
        store(bucket, &window);
    }
    result
}

fn bucket_key(bucket: u64) -> spi::Param {
    (
        PgBuiltInOids::INT8OID.value(),
        Some(Datum::from(bucket as i64)),
    )
}

fn stored(bucket: u64) -> Window {
    let mut window = None;
    spi::query(
        "SELECT slices FROM forge_private.rate_bucket WHERE key = $1",
        &[bucket_key(bucket)],
        |row| {
            let bytes = row[0].and_then(|d| unsafe { <&[u8]>::from_datum(d, false) });
            window = bytes.and_then(Window::from_bytes);
        },
    );
    window.unwrap_or(Window::EMPTY)
}

fn store(bucket: u64, window: &Window) {
    spi::execute(
        "INSERT INTO forge_private.rate_bucket VALUES ($1, $2, $3) \
         ON CONFLICT (key) DO UPDATE SET slices = EXCLUDED.slices, expires_at = EXCLUDED.expires_at",
        &[
            bucket_key(bucket),
            (
                PgBuiltInOids::BYTEAOID.value(),
                window.to_bytes().into_datum(),
            ),
            (
                PgBuiltInOids::TIMESTAMPTZOID.value(),
                Some(Datum::from(window.expires_us().unwrap_or_else(now))),
            ),
        ],
    );
}
