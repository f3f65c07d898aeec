//! Functions of the server that the bindings leave out.

use pgrx::pg_sys::{self, Oid, ffi::pg_guard_ffi_boundary};
use std::ffi::{CStr, c_char};

mod raw {
    use super::*;
    unsafe extern "C-unwind" {
        pub fn nextval_internal(sequence: Oid, check_permissions: bool) -> i64;
        pub fn Async_Notify(channel: *const c_char, payload: *const c_char);
        pub fn find_inheritance_children(parent: Oid, lock: i32) -> *mut pg_sys::List;
        pub fn ExecStoreVirtualTuple(
            slot: *mut pg_sys::TupleTableSlot,
        ) -> *mut pg_sys::TupleTableSlot;
        pub fn heap_multi_insert(
            relation: pg_sys::Relation,
            slots: *mut *mut pg_sys::TupleTableSlot,
            count: i32,
            cid: pg_sys::CommandId,
            options: i32,
            state: pg_sys::BulkInsertState,
        );
        #[cfg(feature = "pg15")]
        pub fn ExecInsertIndexTuples(
            info: *mut pg_sys::ResultRelInfo,
            slot: *mut pg_sys::TupleTableSlot,
            estate: *mut pg_sys::EState,
            update: bool,
            no_duplicate_error: bool,
            conflict: *mut bool,
            arbiters: *mut pg_sys::List,
        ) -> *mut pg_sys::List;
        #[cfg(not(feature = "pg15"))]
        pub fn ExecInsertIndexTuples(
            info: *mut pg_sys::ResultRelInfo,
            slot: *mut pg_sys::TupleTableSlot,
            estate: *mut pg_sys::EState,
            update: bool,
            no_duplicate_error: bool,
            conflict: *mut bool,
            arbiters: *mut pg_sys::List,
            only_summarizing: bool,
        ) -> *mut pg_sys::List;
        pub fn MemoryContextReset(context: pg_sys::MemoryContext);
        pub fn mallopt(parameter: i32, value: i32) -> i32;
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

/// Inserts virtual tuples whose values are set, and their index entries, under one guard for all of them.
///
/// # Safety
/// The slots must be empty virtual slots of the relation's description, `info` open for inserting with `estate`.
pub unsafe fn insert_slots(
    relation: pg_sys::Relation,
    info: *mut pg_sys::ResultRelInfo,
    estate: *mut pg_sys::EState,
    slots: &[*mut pg_sys::TupleTableSlot],
    cid: pg_sys::CommandId,
) {
    let (first, count) = (slots.as_ptr().cast_mut(), slots.len());
    unsafe {
        // Nothing in here has a destructor.
        pg_guard_ffi_boundary(|| {
            for i in 0..count {
                let slot = *first.add(i);
                // What ExecClearTuple does to a virtual tuple that owns no memory.
                (*slot).tts_nvalid = 0;
                (*slot).tts_flags |= pg_sys::TTS_FLAG_EMPTY as u16;
                raw::ExecStoreVirtualTuple(slot);
            }
            raw::heap_multi_insert(relation, first, count as i32, cid, 0, std::ptr::null_mut());
            for i in 0..count {
                let slot = *first.add(i);
                #[cfg(feature = "pg15")]
                raw::ExecInsertIndexTuples(
                    info,
                    slot,
                    estate,
                    false,
                    false,
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                );
                #[cfg(not(feature = "pg15"))]
                raw::ExecInsertIndexTuples(
                    info,
                    slot,
                    estate,
                    false,
                    false,
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                    false,
                );
                if let Some(context) = (*estate).es_per_tuple_exprcontext.as_ref() {
                    raw::MemoryContextReset(context.ecxt_per_tuple_memory);
                }
            }
        });
    }
}

/// Tells the allocator to keep a few megabytes that a batch has freed instead of giving them back to the system page by
/// page: the next batch needs them again, and every page given back has to be cleared anew.
pub fn keep_freed_memory() {
    const M_TRIM_THRESHOLD: i32 = -1;
    const M_MMAP_THRESHOLD: i32 = -3;
    const KEEP: i32 = 8 * 1024 * 1024;
    static DONE: std::sync::Once = std::sync::Once::new();
    DONE.call_once(|| unsafe {
        raw::mallopt(M_TRIM_THRESHOLD, KEEP);
        raw::mallopt(M_MMAP_THRESHOLD, KEEP);
    });
}
