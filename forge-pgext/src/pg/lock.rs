//! Locks of Forge's own in Postgres' lock manager: they wait, time out and take part in deadlock detection as any
//! other lock, and end with the transaction at the latest.
//!
//! They share the advisory lock space's tag type with a class number that SQL cannot produce (`pg_advisory_lock`
//! uses 1 and 2), so that users' own advisory locks never meet them.

use pgrx::pg_sys;

/// What a lock protects; the number is the tag's class.
#[derive(Clone, Copy)]
pub enum Class {
    /// The frontier of one lane.
    Lane = 0xF0,
    /// One lease: its holder finishing members, or a rescue revoking it.
    Lease = 0xF1,
    /// One concurrency gate.
    Gate = 0xF2,
    /// One unique or idempotency key.
    Key = 0xF3,
    /// One rate bucket.
    Rate = 0xF4,
    /// One node: shared by its claims, exclusive for taking its leases away.
    Node = 0xF5,
    /// Stamping entries anew after a restore.
    Restore = 0xF6,
    /// One place of a function's concurrency limit, or one idempotency key of a call.
    Call = 0xF8,
    /// The end of the audit log's chain.
    Audit = 0xF9,
}

/// An exclusive lock that is held until [`Held::release`] or the end of the transaction.
pub struct Held {
    tag: pg_sys::LOCKTAG,
}

fn tag(class: Class, key: u64) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: (key >> 32) as u32,
        locktag_field3: key as u32,
        locktag_field4: class as u16,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    }
}

/// Waits for the lock.
pub fn acquire(class: Class, key: u64) -> Held {
    let tag = tag(class, key);
    unsafe { pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as i32, false, false) };
    Held { tag }
}

/// Waits for the lock, which others may share; held to the end of the transaction.
pub fn acquire_shared(class: Class, key: u64) {
    unsafe { pg_sys::LockAcquire(&tag(class, key), pg_sys::ShareLock as i32, false, false) };
}

/// Takes the lock when it is free.
pub fn try_acquire(class: Class, key: u64) -> Option<Held> {
    let tag = tag(class, key);
    let result = unsafe { pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as i32, false, true) };
    (result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL).then_some(Held { tag })
}

impl Held {
    /// Gives the lock back before the transaction ends.
    pub fn release(self) {
        unsafe { pg_sys::LockRelease(&self.tag, pg_sys::ExclusiveLock as i32, false) };
    }
}
