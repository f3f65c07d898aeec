//! One side of a comparison: requests at a level, and what they took.

use super::load::{self, Load, Request};
use crate::gate::Row;
use std::sync::Mutex;
use std::time::Duration;

/// Requests over a number of connections; remembers the last run's latencies.
pub struct Side {
    request: Request,
    connections: usize,
    duration: Duration,
    last: Mutex<Option<Load>>,
}

impl Side {
    pub fn new(request: Request, connections: usize, duration: Duration) -> Self {
        Self {
            request,
            connections,
            duration,
            last: Mutex::new(None),
        }
    }

    /// Calls per second of one run.
    pub async fn once(&self) -> anyhow::Result<f64> {
        let load = load::run(&self.request, self.connections, self.duration).await?;
        *self.lock() = Some(load);
        Ok(load.per_second)
    }

    /// The row with the latencies as a remark.
    pub fn noted(&self, row: Row) -> Row {
        match *self.lock() {
            Some(Load { p50_ms, p99_ms, .. }) => {
                row.note(format!("p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms"))
            }
            None => row,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Load>> {
        self.last
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
