//! Errors of user code, caught whole: pgrx keeps only the SQLSTATEs it knows, but a function's `PT404` must arrive as it
//! was raised, with its detail, hint and constraint.

use cee_scape::{SigJmpBufFields, call_with_sigsetjmp};
use pgrx::pg_sys;
use std::mem::MaybeUninit;

/// An error as Postgres made it, in memory that lives until it is raised again or the transaction ends.
#[derive(Debug, Clone, Copy)]
pub struct Caught(pub *mut pg_sys::ErrorData);

// SAFETY: a panic payload must be Send; backends have one thread.
unsafe impl Send for Caught {}

/// Runs `work` and answers the error it raised, if it did. The transaction is in error then: raise it again, or be in a
/// subtransaction and roll that back.
///
/// # Safety
/// `work` must call C functions only, hold nothing with a destructor and not panic: an error leaves it by longjmp.
pub unsafe fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Caught> {
    unsafe {
        let memory = pg_sys::CurrentMemoryContext;
        let stack = pg_sys::PG_exception_stack;
        let contexts = pg_sys::error_context_stack;
        let mut result = MaybeUninit::uninit();
        let jumped = call_with_sigsetjmp(false, |jump| {
            pg_sys::PG_exception_stack = std::ptr::from_ref::<SigJmpBufFields>(jump)
                .cast_mut()
                .cast();
            result.write(work());
            0
        });
        pg_sys::PG_exception_stack = stack;
        pg_sys::error_context_stack = contexts;
        if jumped == 0 {
            return Ok(result.assume_init());
        }
        pg_sys::CurrentMemoryContext = memory;
        let error = pg_sys::CopyErrorData();
        pg_sys::FlushErrorState();
        Err(Caught(error))
    }
}

impl Caught {
    /// Raises it again, unchanged.
    pub fn rethrow(self) -> ! {
        std::panic::panic_any(self)
    }
}
