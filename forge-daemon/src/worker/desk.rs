//! What every runner of jobs needs: where to report, where running jobs are known, the limits.

use std::{sync::Arc, time::Instant};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    catalog::Catalog,
    flush::Flush,
    job::{Claimed, Lease},
    kind::Kind,
    outcome::Outcome,
    progress::Progress,
    running::Running,
    stop::Stop,
};
use crate::{app::Context, cluster::Cluster};

/// Shared by all runners of a node.
#[derive(Debug)]
pub struct Desk {
    pub context: Context,
    pub cluster: Cluster,
    pub catalog: watch::Receiver<Arc<Catalog>>,
    pub flush: Flush,
    pub running: Arc<Running>,
    pub progress: Progress,
    /// Lanes and jobs that a drain waits for.
    pub tracker: TaskTracker,
    /// Running jobs are to end now: the node waited long enough.
    pub hurry: CancellationToken,
}

/// The identity of one running attempt.
#[derive(Debug)]
pub struct Ticket {
    pub id: Uuid,
    pub pos: i32,
    pub lease: Arc<Lease>,
    pub kind: Arc<Kind>,
    pub stop: Arc<Stop>,
    pub started: Instant,
}

impl Ticket {
    /// A ticket for `job`, which starts now.
    pub fn new(lease: &Arc<Lease>, job: &Claimed) -> Self {
        Self {
            id: job.id,
            pos: job.pos,
            lease: lease.clone(),
            kind: job.kind.clone(),
            stop: Arc::default(),
            started: Instant::now(),
        }
    }
}

impl Desk {
    /// Largest result, in bytes.
    pub fn result_limit(&self) -> usize {
        self.context.config.worker.result_limit.get()
    }

    /// Whether new work is refused.
    pub fn is_draining(&self) -> bool {
        self.context.drain.is_cancelled()
    }

    /// Takes the end of an attempt.
    pub async fn end(&self, ticket: &Ticket, outcome: Outcome) {
        ticket.kind.meters.ended(&outcome, ticket.started.elapsed());
        log_end(ticket, &outcome);
        self.flush.one(&ticket.lease, ticket.pos, outcome).await;
    }
}

/// Failures are worth a line; the rest is for debugging.
pub fn log_end(ticket: &Ticket, outcome: &Outcome) {
    match outcome {
        Outcome::Failed { error, retry, .. } => {
            tracing::warn!(job_id = %ticket.id, kind = &*ticket.kind.name, error, retry, "job failed");
        }
        other => {
            tracing::debug!(job_id = %ticket.id, kind = &*ticket.kind.name, outcome = other.label(), "job ended")
        }
    }
}
