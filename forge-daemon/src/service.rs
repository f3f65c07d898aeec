//! The service kit: tasks started in one place by name, stopped by token, and named when they do not stop in time;
//! periodic work as an idempotent `run_once`.
//!
//! Invariants: no task outlives [`Tasks::stop`] by more than the time given; a task that panics is logged by name and
//! stops the daemon, because a node that runs only in part is worse than one that restarts.

mod periodic;
mod tasks;

pub use periodic::{Periodic, every};
pub use tasks::{Stopped, Tasks};
