//! Errors with Forge's own SQLSTATEs (`ZF001` … `ZF013`).
//!
//! pgrx maps SQLSTATEs it does not know to `XX000`, so a [`Failure`] travels as a panic payload of its own to the
//! outermost frame of a SQL function ([`crate::pg::function`]), which reports it to Postgres unchanged.

use std::fmt::Display;

/// An error that is going to be reported to the SQL caller.
#[derive(Debug)]
pub struct Failure {
    /// Five characters, e.g. `ZF002`.
    pub sqlstate: &'static str,
    /// Names the offending value.
    pub message: String,
    /// More for programs, such as every field's mistake; may be empty.
    pub detail: String,
    /// Says what to do about it.
    pub hint: String,
}

/// Raises an error. `message` names the offending value, `hint` says what to do. Never returns.
pub fn fail(sqlstate: &'static str, message: impl Display, hint: impl Display) -> ! {
    std::panic::panic_any(Failure {
        sqlstate,
        message: message.to_string(),
        detail: String::new(),
        hint: hint.to_string(),
    })
}

/// ZF001: the thing named does not exist.
pub fn not_found(message: impl Display, hint: impl Display) -> ! {
    fail("ZF001", message, hint)
}

/// ZF002: the input is not acceptable.
pub fn invalid(message: impl Display, hint: impl Display) -> ! {
    fail("ZF002", message, hint)
}

/// ZF010: the lease has expired, was superseded or never was.
pub fn lease_lost(lease: &uuid::Uuid, why: &str) -> ! {
    fail(
        "ZF010",
        format!("lease {lease} is lost: {why}"),
        "Stop working on its jobs: they were or will be handed out again. Claim anew.",
    )
}
