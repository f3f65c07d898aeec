//! The suite `failover`: how long work and leadership are without an owner after a node is killed
//! with -9 or stopped in order. Three nodes, each a process of its own.

mod fleet;
mod jobs;
mod leader;

use crate::suite::Entry;

/// Every entry, in the order they run and are printed.
pub const ENTRIES: &[Entry] = &[leader::ENTRY, jobs::ENTRY];

pub use fleet::serve;
