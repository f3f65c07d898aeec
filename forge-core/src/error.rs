//! Error codes: the one map from SQLSTATE to HTTP and gRPC.
//!
//! Invariants: every Forge error is one of the thirteen codes; every SQLSTATE at all has a [`Status`], and
//! one that is not meant for callers becomes 500 without anything of its content.

use std::borrow::Cow;

/// gRPC status numbers, as in the gRPC specification.
mod grpc {
    pub const OK: i32 = 0;
    pub const CANCELLED: i32 = 1;
    pub const INVALID_ARGUMENT: i32 = 3;
    pub const DEADLINE_EXCEEDED: i32 = 4;
    pub const NOT_FOUND: i32 = 5;
    pub const ALREADY_EXISTS: i32 = 6;
    pub const PERMISSION_DENIED: i32 = 7;
    pub const RESOURCE_EXHAUSTED: i32 = 8;
    pub const FAILED_PRECONDITION: i32 = 9;
    pub const ABORTED: i32 = 10;
    pub const OUT_OF_RANGE: i32 = 11;
    pub const UNIMPLEMENTED: i32 = 12;
    pub const INTERNAL: i32 = 13;
    pub const UNAVAILABLE: i32 = 14;
    pub const UNAUTHENTICATED: i32 = 16;
}

/// A Forge error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// ZF001
    NotFound,
    /// ZF002
    InvalidInput,
    /// ZF003
    Forbidden,
    /// ZF004
    Unauthenticated,
    /// ZF005
    Conflict,
    /// ZF006
    RateLimited,
    /// ZF007
    Unavailable,
    /// ZF008
    TimedOut,
    /// ZF009
    TooLarge,
    /// ZF010
    LeaseLost,
    /// ZF011
    NeedsSetup,
    /// ZF012
    OutsideFailed,
    /// ZF013
    NotTracked,
}

impl Code {
    /// All codes, in the order of their numbers.
    pub const ALL: [Code; 13] = [
        Code::NotFound,
        Code::InvalidInput,
        Code::Forbidden,
        Code::Unauthenticated,
        Code::Conflict,
        Code::RateLimited,
        Code::Unavailable,
        Code::TimedOut,
        Code::TooLarge,
        Code::LeaseLost,
        Code::NeedsSetup,
        Code::OutsideFailed,
        Code::NotTracked,
    ];

    /// SQLSTATE, HTTP status, gRPC status, title, whether the same request may succeed when repeated.
    const fn row(self) -> (&'static str, u16, i32, &'static str, bool) {
        match self {
            Code::NotFound => ("ZF001", 404, grpc::NOT_FOUND, "not found", false),
            Code::InvalidInput => ("ZF002", 422, grpc::INVALID_ARGUMENT, "invalid input", false),
            Code::Forbidden => ("ZF003", 403, grpc::PERMISSION_DENIED, "forbidden", false),
            Code::Unauthenticated => (
                "ZF004",
                401,
                grpc::UNAUTHENTICATED,
                "unauthenticated",
                false,
            ),
            Code::Conflict => ("ZF005", 409, grpc::ALREADY_EXISTS, "conflict", false),
            Code::RateLimited => ("ZF006", 429, grpc::RESOURCE_EXHAUSTED, "rate limited", true),
            Code::Unavailable => (
                "ZF007",
                503,
                grpc::UNAVAILABLE,
                "paused, draining or overloaded",
                true,
            ),
            Code::TimedOut => ("ZF008", 504, grpc::DEADLINE_EXCEEDED, "timed out", true),
            Code::TooLarge => ("ZF009", 413, grpc::OUT_OF_RANGE, "too large", false),
            Code::LeaseLost => ("ZF010", 409, grpc::ABORTED, "lease lost", false),
            Code::NeedsSetup => (
                "ZF011",
                501,
                grpc::FAILED_PRECONDITION,
                "needs preload or setup",
                false,
            ),
            Code::OutsideFailed => (
                "ZF012",
                502,
                grpc::UNAVAILABLE,
                "outside service failed",
                true,
            ),
            Code::NotTracked => (
                "ZF013",
                422,
                grpc::FAILED_PRECONDITION,
                "relation not tracked",
                false,
            ),
        }
    }

    /// The five-character SQLSTATE, `ZF001` to `ZF013`.
    pub const fn sqlstate(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status.
    pub const fn http(self) -> u16 {
        self.row().1
    }

    /// The gRPC status number.
    pub const fn grpc(self) -> i32 {
        self.row().2
    }

    /// A short title for people, the same for every error of this code.
    pub const fn title(self) -> &'static str {
        self.row().3
    }

    /// Whether the same request may succeed when it is repeated later.
    pub const fn retryable(self) -> bool {
        self.row().4
    }

    /// The code a SQLSTATE stands for: Forge's own, or the nearest for the standard ones callers may see.
    /// `None` for those without a code of their own (`PTxyz`, serialization failures) and for everything
    /// that must not be shown; [`Status::from_sqlstate`] covers those as well.
    pub fn from_sqlstate(sqlstate: &str) -> Option<Code> {
        if let Some(code) = Code::ALL
            .into_iter()
            .find(|code| code.sqlstate() == sqlstate)
        {
            return Some(code);
        }
        match sqlstate {
            "42501" => Some(Code::Forbidden),
            "23505" => Some(Code::Conflict),
            "57014" => Some(Code::TimedOut),
            // The server is going away, is not accepting sessions yet, or is out of them.
            "57P01" | "57P02" | "57P03" | "53300" => Some(Code::Unavailable),
            _ => match class(sqlstate) {
                Some("22" | "23") => Some(Code::InvalidInput),
                // Connection exceptions: the database is away.
                Some("08") => Some(Code::Unavailable),
                _ => None,
            },
        }
    }

    /// The code as outside callers see it.
    pub const fn status(self) -> Status {
        let (sqlstate, http, grpc, title, retryable) = self.row();
        Status {
            code: Some(self),
            name: Cow::Borrowed(sqlstate),
            http,
            grpc,
            title,
            retryable,
        }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.sqlstate())
    }
}

/// How an error of the database appears outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Forge's code, when there is one.
    pub code: Option<Code>,
    /// What the `code` field of a problem document says: `ZFnnn`, `PTxyz`, `40001`, or `XX000`.
    pub name: Cow<'static, str>,
    /// The HTTP status.
    pub http: u16,
    /// The gRPC status number.
    pub grpc: i32,
    /// A short title for people.
    pub title: &'static str,
    /// Whether the same request may succeed when it is repeated later.
    pub retryable: bool,
}

impl Status {
    /// Everything that is not meant for callers: 500, and no detail of it may be shown.
    pub const INTERNAL: Status = Status {
        code: None,
        name: Cow::Borrowed("XX000"),
        http: 500,
        grpc: grpc::INTERNAL,
        title: "internal error",
        retryable: false,
    };

    /// The status of any SQLSTATE. Total: what is not known is [`Status::INTERNAL`].
    pub fn from_sqlstate(sqlstate: &str) -> Status {
        if let Some(code) = Code::from_sqlstate(sqlstate) {
            return code.status();
        }
        if matches!(sqlstate, "40001" | "40P01") {
            return Status {
                code: None,
                // One name for both: which of the two it was means nothing to a caller.
                name: Cow::Borrowed("40001"),
                http: 409,
                grpc: grpc::ABORTED,
                title: "conflict with a concurrent transaction",
                retryable: true,
            };
        }
        match raised_http_status(sqlstate) {
            Some(http) => Status {
                code: None,
                name: Cow::Owned(sqlstate.to_owned()),
                http,
                grpc: grpc_from_http(http),
                title: "raised by the application",
                retryable: matches!(http, 408 | 425 | 429 | 502 | 503 | 504),
            },
            None => Status::INTERNAL,
        }
    }

    /// Whether message and hint of the error may be shown to the caller.
    pub fn is_public(&self) -> bool {
        *self != Status::INTERNAL
    }
}

/// The two-character class of a well-formed SQLSTATE.
fn class(sqlstate: &str) -> Option<&str> {
    let well_formed = sqlstate.len() == 5
        && sqlstate
            .bytes()
            .all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
    if well_formed { sqlstate.get(..2) } else { None }
}

/// The status of `PTxyz`; only 200 to 599 can be sent as the final status of an answer.
fn raised_http_status(sqlstate: &str) -> Option<u16> {
    if class(sqlstate) != Some("PT") {
        return None;
    }
    let status = sqlstate[2..].parse().ok()?;
    (200..=599).contains(&status).then_some(status)
}

/// The gRPC status an HTTP status stands for, agreeing with [`Code`] wherever both have an answer.
fn grpc_from_http(http: u16) -> i32 {
    match http {
        200..=399 => grpc::OK,
        400 | 422 => grpc::INVALID_ARGUMENT,
        401 => grpc::UNAUTHENTICATED,
        403 => grpc::PERMISSION_DENIED,
        404 | 410 => grpc::NOT_FOUND,
        409 => grpc::ALREADY_EXISTS,
        413 => grpc::OUT_OF_RANGE,
        429 => grpc::RESOURCE_EXHAUSTED,
        499 => grpc::CANCELLED,
        400..=499 => grpc::FAILED_PRECONDITION,
        501 => grpc::UNIMPLEMENTED,
        502 | 503 => grpc::UNAVAILABLE,
        504 => grpc::DEADLINE_EXCEEDED,
        _ => grpc::INTERNAL,
    }
}

#[cfg(test)]
mod tests;
