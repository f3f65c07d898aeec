//! Functions of the server that the bindings leave out.

use pgrx::pg_sys::{self, Oid, ffi::pg_guard_ffi_boundary};
use std::ffi::{CStr, c_char};

mod raw {
    use super::*;
    unsafe extern "C-unwind" {
        pub fn nextval_internal(sequence: Oid, check_permissions: bool) -> i64;
        pub fn Async_Notify(channel: *const c_char, payload: *const c_char);
        pub fn find_inheritance_children(parent: Oid, lock: i32) -> *mut pg_sys::List;
    }
}

/// The sequence's next value, without a check of privileges.
pub fn nextval(sequence: Oid) -> i64 {
    unsafe { pg_guard_ffi_boundary(|| raw::nextval_internal(sequence, false)) }
}

/// NOTIFY without payload when this transaction commits; once per channel and transaction.
pub fn notify(channel: &CStr) {
    unsafe { pg_guard_ffi_boundary(|| raw::Async_Notify(channel.as_ptr(), std::ptr::null())) }
}

/// Inheritance children of a table, each locked for reading, by oid.
pub fn inheritance_children(parent: Oid) -> Vec<Oid> {
    unsafe {
        let list = pg_guard_ffi_boundary(|| {
            raw::find_inheritance_children(parent, pg_sys::AccessShareLock as i32)
        });
        oids(list)
    }
}

/// # Safety
/// `list` must be null or a list of oids.
pub unsafe fn oids(list: *mut pg_sys::List) -> Vec<Oid> {
    if list.is_null() {
        return Vec::new();
    }
    unsafe {
        (0..(*list).length as usize)
            .map(|i| (*(*list).elements.add(i)).oid_value)
            .collect()
    }
}
