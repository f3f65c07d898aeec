//! The pure rules of Forge, shared by the extension and the daemon.
//!
//! Invariants: no I/O, no clock reads, no randomness of its own; time and random numbers are arguments.
//! Every parser accepts bounded text and answers a refusal with [`Invalid`], which names the value and
//! says what would be accepted.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod backoff;
pub mod duration;
pub mod error;
pub mod frontier;
pub mod handler;
pub mod invalid;
pub mod job;
pub mod limits;
pub mod rate;
pub mod schedule;

pub use backoff::Backoff;
pub use error::{Code, Status};
pub use handler::Handler;
pub use invalid::Invalid;
pub use job::{Priority, State};
pub use rate::{Rate, Scope, Window};
pub use schedule::{Schedule, Zone};
