//! Snapshots as the queue needs them: the newest one, whatever the caller's isolation level, and which transactions
//! were in progress when it was taken.

use pgrx::pg_sys;

/// A registered snapshot of this very instant.
pub struct Snapshot {
    raw: pg_sys::Snapshot,
    /// Full ids of other top-level transactions in progress, ascending.
    pub open: Vec<u64>,
    /// This transaction's own full id, 0 while it has none.
    pub own: u64,
    /// Every transaction id at or above this one had not started.
    pub xmax: u64,
}

impl Snapshot {
    /// Takes the newest snapshot.
    pub fn latest() -> Self {
        unsafe {
            let raw = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
            let next = pg_sys::ReadNextFullTransactionId().value;
            let mut open: Vec<u64> = (0..(*raw).xcnt as usize)
                .map(|i| widen(xid32(*(*raw).xip.add(i)), next))
                .collect();
            open.sort_unstable();
            Self {
                raw,
                open,
                own: pg_sys::GetTopFullTransactionIdIfAny().value,
                xmax: widen(xid32((*raw).xmax), next),
            }
        }
    }

    /// For calls into Postgres.
    pub fn raw(&self) -> pg_sys::Snapshot {
        self.raw
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        // After an error the resource owner has released it already.
        if !std::thread::panicking() {
            unsafe { pg_sys::UnregisterSnapshot(self.raw) }
        }
    }
}

fn xid32(xid: pg_sys::TransactionId) -> u32 {
    xid.into_inner()
}

/// The full id of a 32-bit id that is at most two billion transactions older than `next`.
fn widen(xid: u32, next: u64) -> u64 {
    let epoch = next >> 32;
    if u64::from(xid) <= next & 0xFFFF_FFFF {
        epoch << 32 | u64::from(xid)
    } else {
        (epoch.saturating_sub(1)) << 32 | u64::from(xid)
    }
}

/// This transaction's full id; assigns one when it has none.
pub fn own_xid() -> u64 {
    unsafe { pg_sys::GetTopFullTransactionId().value }
}
