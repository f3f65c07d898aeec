//! The database: one pool for statements, one connection that only listens, errors with codes.
//!
//! Invariants: every call has a time limit, on the server and here; a connection whose statement was given up is
//! cancelled and closed, never reused; nothing here retries a statement, because only the caller knows whether it may.

mod connect;
mod error;
mod link;
mod listener;
mod pool;
mod query;
mod tls;
mod wait;

pub use error::Error;
pub use link::{Line, Link};
pub use listener::{Listener, Subscription, Wakeup, Wakeups};
pub use pool::{Db, Session};
pub use query::Query;
pub use wait::{Readiness, backoff};
