//! How busy this node is, told with every heartbeat and shown in `forge.nodes.load`.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde_json::{Value, json};

/// Counters that other parts keep. All relaxed: they are for people.
#[derive(Debug, Default)]
pub struct Load {
    /// Jobs running now.
    pub running: AtomicUsize,
    /// Remote workers connected.
    pub remote_workers: AtomicUsize,
    /// Outcomes not yet written to the database.
    pub unflushed: AtomicUsize,
}

impl Load {
    /// As the heartbeat sends it.
    pub fn to_json(&self) -> Value {
        json!({
            "running": self.running.load(Relaxed),
            "remote_workers": self.remote_workers.load(Relaxed),
            "unflushed": self.unflushed.load(Relaxed),
        })
    }
}
