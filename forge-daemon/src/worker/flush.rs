//! Writes how attempts ended: batched by lease, on connections of its own.
//!
//! Invariants: an outcome handed over is written, or its lease is lost; nothing else ends the attempts to write it. What
//! is waiting is bounded: callers wait when the writers cannot follow.

mod batch;
mod operation;
mod write;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    sync::{Mutex, Notify, mpsc},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{job::Lease, outcome::Outcome};
use crate::{app::Context, cluster::Cluster};
use batch::Batch;
use write::Writer;

/// Connections that write outcomes.
const WRITERS: usize = 2;
/// Reports waiting at most; one may hold a whole lease.
const QUEUE: usize = 64;

/// Outcomes of members of one lease.
#[derive(Debug)]
pub struct Report {
    /// The lease.
    pub lease: Arc<Lease>,
    /// Position and end of each member.
    pub ends: Vec<(i32, Outcome)>,
}

/// Where outcomes are handed over. Clones share it.
#[derive(Clone, Debug)]
pub struct Flush {
    reports: mpsc::Sender<Report>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    cluster: Cluster,
    written: Notify,
}

impl Flush {
    /// Starts the writers.
    pub fn start(context: &Context, cluster: &Cluster) -> Self {
        let (reports, queue) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            cluster: cluster.clone(),
            written: Notify::new(),
        });
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..WRITERS {
            let collector = Collector {
                queue: queue.clone(),
                shared: shared.clone(),
                linger: context.config.worker.flush_interval.get(),
                max: context.config.worker.flush_max,
                writer: Writer::new(context),
            };
            context
                .tasks
                .spawn(format!("worker flush {number}"), |stop| collector.run(stop));
        }
        Self { reports, shared }
    }

    /// Hands over the end of one attempt.
    pub async fn one(&self, lease: &Arc<Lease>, pos: i32, outcome: Outcome) {
        self.report(Report {
            lease: lease.clone(),
            ends: vec![(pos, outcome)],
        })
        .await;
    }

    /// Hands over the ends of several attempts; waits while too much is waiting.
    pub async fn report(&self, report: Report) {
        let count = report.ends.len();
        if count == 0 || report.lease.life.is_lost() {
            return;
        }
        self.shared
            .cluster
            .load()
            .unflushed
            .fetch_add(count, Relaxed);
        if self.reports.send(report).await.is_err() {
            // Only after the writers were stopped: the leases are returned by leaving or by rescue.
            self.shared
                .cluster
                .load()
                .unflushed
                .fetch_sub(count, Relaxed);
        }
    }

    /// Waits until everything handed over has been written.
    pub async fn idle(&self) {
        loop {
            let written = self.shared.written.notified();
            if self.shared.cluster.load().unflushed.load(Relaxed) == 0 {
                return;
            }
            written.await;
        }
    }
}

/// Takes reports off the queue until a batch is full or old enough, and writes it.
struct Collector {
    queue: Arc<Mutex<mpsc::Receiver<Report>>>,
    shared: Arc<Shared>,
    linger: Duration,
    max: usize,
    writer: Writer,
}

impl Collector {
    async fn run(mut self, stop: CancellationToken) {
        loop {
            let batch = tokio::select! {
                () = stop.cancelled() => return,
                batch = self.collect() => batch,
            };
            let Some(batch) = batch else { return };
            let count = batch.len();
            let started = Instant::now();
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.writer.write(batch) => {}
            }
            metrics::histogram!("forge_flush_duration_seconds")
                .record(started.elapsed().as_secs_f64());
            self.shared
                .cluster
                .load()
                .unflushed
                .fetch_sub(count, Relaxed);
            self.shared.written.notify_waiters();
        }
    }

    async fn collect(&self) -> Option<Batch> {
        let mut queue = self.queue.lock().await;
        let mut batch = Batch::default();
        batch.add(queue.recv().await?);
        let deadline = Instant::now() + self.linger;
        while batch.len() < self.max {
            match timeout_at(deadline, queue.recv()).await {
                Ok(Some(report)) => batch.add(report),
                _ => break,
            }
        }
        Some(batch)
    }
}
