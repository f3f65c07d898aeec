//! Election to and execution of the leader's duties.

use crate::{app::Context, cluster::Cluster};

/// The duties this node stands for.
#[derive(Debug)]
pub struct Scheduler;

/// Stands for election and does the duties won.
pub fn start(_context: &Context, _cluster: &Cluster) -> Scheduler {
    Scheduler
}

impl Scheduler {
    /// Gives up every duty held.
    pub async fn resign(&self) {}
}
