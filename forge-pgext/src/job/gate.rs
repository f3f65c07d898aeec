//! Concurrency gates and rate buckets: how many jobs of a kind, a concurrency key or a queue may run or start.
//!
//! The truth about gates is the set of unfinished members of valid leases. With preload it is counted once into shared
//! memory and kept there, exactly; without, it is counted under the gate's lock, which is then held to the end of the
//! transaction.

use super::entry::digest_bytes;
use super::kind::Kind;
use super::{now, running};
use crate::pg::lock::{self, Class};
use crate::pg::{shmem, spi, xact};
use forge_core::Rate;
use pgrx::pg_sys::Datum;
use pgrx::{FromDatum, PgBuiltInOids};
use std::cell::RefCell;
use std::collections::HashMap;

thread_local! {
    /// Without shared memory: places the claim under way has taken, which no table tells yet.
    static CLAIMING: RefCell<HashMap<u64, u32>> = RefCell::new(HashMap::new());
}

/// A claim begins: it has taken no places yet.
pub fn begin_claim() {
    CLAIMING.with_borrow_mut(HashMap::clear);
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

/// Takes up to `want` tokens of a rate bucket; answers how many.
pub fn draw(bucket: u64, rate: &Rate, want: u32) -> u32 {
    change_bucket(bucket, |tat, now| {
        let grant = rate.gcra(tat, now, want);
        (grant.new_tat_us, grant.granted)
    })
}

/// Puts tokens back that were not needed.
pub fn put_back(bucket: u64, rate: &Rate, count: u32) {
    if count > 0 {
        let each = rate.period.as_micros() as i64 / i64::from(rate.limit.max(1));
        change_bucket(bucket, |tat, _| {
            (tat.saturating_sub(each * i64::from(count)), 0)
        });
    }
}

fn change_bucket(bucket: u64, change: impl Fn(i64, i64) -> (i64, u32)) -> u32 {
    let at = now();
    let in_memory = shmem::with(|shared| {
        shared.rate(bucket).map(|tat| {
            let (new, granted) = change(if *tat == 0 { i64::MIN } else { *tat }, at);
            *tat = new;
            granted
        })
    });
    if let Some(Some(granted)) = in_memory {
        return granted;
    }
    lock::acquire(Class::Rate, bucket);
    let key = (
        PgBuiltInOids::INT8OID.value(),
        Some(Datum::from(bucket as i64)),
    );
    let mut tat = i64::MIN;
    spi::query(
        "SELECT tat FROM forge_private.rate_bucket WHERE key = $1",
        &[key],
        |row| {
            tat = row[0]
                .and_then(|d| unsafe { i64::from_datum(d, false) })
                .unwrap_or(i64::MIN);
        },
    );
    let (new, granted) = change(tat, at);
    spi::execute(
        "INSERT INTO forge_private.rate_bucket VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET tat = EXCLUDED.tat",
        &[
            key,
            (PgBuiltInOids::INT8OID.value(), Some(Datum::from(new))),
        ],
    );
    granted
}
