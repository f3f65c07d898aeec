//! This node among the others: registration, heartbeat, leaving.

use crate::app::Context;

/// This node's membership.
#[derive(Debug)]
pub struct Cluster;

impl Cluster {
    /// Registers the node, trying until it works; `None` when the drain began first.
    pub async fn start(_context: &Context) -> Option<Cluster> {
        Some(Cluster)
    }

    /// Leaves: unfinished members of the node's leases return to the queue.
    pub async fn leave(&self) {}
}
