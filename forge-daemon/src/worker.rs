//! Claims and runs jobs.

use std::time::Duration;

use crate::{app::Context, cluster::Cluster};

/// The job runner of this node.
#[derive(Debug)]
pub struct Worker;

impl Worker {
    /// Starts to claim and run jobs.
    pub fn start(_context: &Context, _cluster: &Cluster) -> Worker {
        Worker
    }

    /// Waits for running jobs at most `within`, returns the others to the queue.
    pub async fn drain(&self, _within: Duration) {}
}
