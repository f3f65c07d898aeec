//! A time limit for one call, beside the session's own `statement_timeout`.

use pgrx::pg_sys;
use std::cell::Cell;
use std::ffi::c_int;

mod raw {
    use super::c_int;
    unsafe extern "C-unwind" {
        pub fn RegisterTimeout(id: c_int, handler: unsafe extern "C-unwind" fn()) -> c_int;
        pub fn enable_timeout_after(id: c_int, delay_ms: c_int);
        pub fn disable_timeout(id: c_int, keep_indicator: bool);
        pub fn SetLatch(latch: *mut pgrx::pg_sys::Latch);
    }
}

thread_local! {
    static ID: Cell<Option<c_int>> = const { Cell::new(None) };
}

/// Runs in a signal handler: sets flags only.
unsafe extern "C-unwind" fn cancel() {
    unsafe {
        pg_sys::QueryCancelPending = 1;
        pg_sys::InterruptPending = 1;
        raw::SetLatch(pg_sys::MyLatch);
    }
}

/// Cancels the statement (57014) after `ms` milliseconds, until dropped.
pub struct Timer(c_int);

impl Timer {
    pub fn start(ms: i32) -> Self {
        // Any id from USER_TIMEOUT on asks for a free one.
        const ANY: c_int = 1000;
        let id = ID.get().unwrap_or_else(|| unsafe {
            pg_sys::ffi::pg_guard_ffi_boundary(|| raw::RegisterTimeout(ANY, cancel))
        });
        ID.set(Some(id));
        unsafe { raw::enable_timeout_after(id, ms) };
        Self(id)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        unsafe { raw::disable_timeout(self.0, false) }
    }
}
