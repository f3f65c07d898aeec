//! Runs `worker[:capability]` handlers: jobs go to remote workers connected over a stream.
//!
//! Workers that take the same kinds form a group with one claim loop, which claims only as many jobs as the group's
//! workers have free places. Invariants: a worker never has more unanswered jobs than it registered for; a job whose
//! stream ends is failed when the worker had been sent it, and given back untouched otherwise.

mod group;
mod registry;
mod stream;

pub use registry::{Registration, Remotes};
pub use stream::{Answer, Seat, ToWorker};
