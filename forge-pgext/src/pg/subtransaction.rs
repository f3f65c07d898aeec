//! Running something that may fail: in a subtransaction, and as another role.

use crate::error::Failure;
use pgrx::PgTryBuilder;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use std::panic::AssertUnwindSafe;

/// Why an attempt failed, as its error message (with its SQLSTATE when that is not an internal one).
pub struct Failed(pub String);

/// Runs `work` in a subtransaction of its own: its effects stay when it returns, and are undone when it raises.
/// Cancels and shut-downs are passed on.
pub fn attempt(work: impl FnOnce()) -> Result<(), Failed> {
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let outcome = PgTryBuilder::new(AssertUnwindSafe(|| {
            // A failure of our own would pass Postgres' error handling by: make it an ordinary one here.
            match std::panic::catch_unwind(AssertUnwindSafe(work)) {
                Ok(()) => Ok(()),
                Err(payload) => match payload.downcast::<Failure>() {
                    Ok(failure) => Err(Box::new((None, failure.message))),
                    Err(other) => std::panic::resume_unwind(other),
                },
            }
        }))
        .catch_others(|error| Err(describe(error)))
        .catch_rust_panic(|error| Err(describe(error)))
        .execute();
        match outcome {
            Ok(()) => {
                pg_sys::ReleaseCurrentSubTransaction();
                pg_sys::MemoryContextSwitchTo(context);
                pg_sys::CurrentResourceOwner = owner;
                Ok(())
            }
            Err(error) => {
                let (passed_on, message) = *error;
                pg_sys::MemoryContextSwitchTo(context);
                pg_sys::RollbackAndReleaseCurrentSubTransaction();
                pg_sys::MemoryContextSwitchTo(context);
                pg_sys::CurrentResourceOwner = owner;
                if let Some(error) = passed_on {
                    error.rethrow();
                }
                Err(Failed(message))
            }
        }
    }
}

fn describe(error: CaughtError) -> Box<(Option<CaughtError>, String)> {
    use pgrx::PgSqlErrorCode::*;
    let (code, message) = match &error {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => {
            (Some(report.sql_error_code()), report.message().to_owned())
        }
        CaughtError::RustPanic { ereport, .. } => (None, ereport.message().to_owned()),
    };
    let passed_on = matches!(
        code,
        Some(ERRCODE_QUERY_CANCELED | ERRCODE_ADMIN_SHUTDOWN | ERRCODE_CRASH_SHUTDOWN)
    );
    Box::new((passed_on.then_some(error), message))
}

/// Runs `work` as `role`; nothing in it can become another role. It finds names by the search_path that the session
/// started with. Settings it changes are put back.
pub fn as_role(role: pg_sys::Oid, work: impl FnOnce()) {
    unsafe {
        let (mut user, mut context) = (pg_sys::Oid::INVALID, 0);
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        let nest = pg_sys::NewGUCNestLevel();
        // An error leaves the subtransaction, which restores both.
        pg_sys::SetUserIdAndSecContext(role, context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32);
        let path = pg_sys::GetConfigOptionResetString(c"search_path".as_ptr());
        pg_sys::set_config_option(
            c"search_path".as_ptr(),
            path,
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
        work();
        pg_sys::AtEOXact_GUC(false, nest);
        pg_sys::SetUserIdAndSecContext(user, context);
    }
}
