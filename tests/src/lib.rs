//! Throw-away PostgreSQL clusters with the extension, and `forge-daemon` nodes on them.
//!
//! Owns: finding a PostgreSQL installation, a private relocated copy of it with the extension
//! installed, starting, killing and restarting servers and nodes, and waiting for states.
//! Used by `xtask` (dev, demo, test), by the tests in this crate and by the benchmarks.
//!
//! Invariants: nothing outside the state directory is written (the system's PostgreSQL stays as it
//! is); every wait has a deadline; what a process started stops with it unless it was detached.
#![forbid(unsafe_code)]

pub mod account;
pub mod balancer;
pub mod checkout;
pub mod cluster;
pub mod deadline;
pub mod extension;
pub mod http;
pub mod installation;
pub mod node;
pub mod port;
pub mod process;
pub mod reaper;
pub mod script;

pub use cluster::{Cluster, ClusterOptions, database::Database};
pub use deadline::{eventually, until};
pub use installation::Installation;
pub use node::{Node, NodeOptions};
