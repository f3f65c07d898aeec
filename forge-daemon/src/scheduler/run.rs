//! The loop of a duty: wait for the seat, run, sleep until something is due, until the seat is lost.
//!
//! Each duty has a connection of its own while it is held, so that a slow duty never delays a punctual one.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::duty::Duty;
use crate::{
    app::Context,
    cluster::{Cluster, Tenure},
    db::{Link, Subscription, backoff},
};

/// Shortest time between two runs, however many hints come.
const SHORTEST_SLEEP: Duration = Duration::from_millis(100);

/// Starts duty loops.
pub(super) struct Runner {
    pub context: Context,
    pub cluster: Cluster,
    pub stop: CancellationToken,
    /// Closed when the last loop has ended.
    pub running: watch::Sender<()>,
}

impl Runner {
    /// Starts the loop of `duty`.
    pub fn spawn<D: Duty>(&self, duty: D) {
        let office = Office {
            link: Link::new(self.context.db.clone(), D::TASK, D::QUERIES),
            hints: self.context.wakeups.subscribe(),
            cluster: self.cluster.clone(),
            duty,
        };
        let stop = self.stop.clone();
        let running = self.running.clone();
        self.context.tasks.spawn(D::TASK, |token| async move {
            let _running = running;
            tokio::select! {
                () = token.cancelled() => {}
                () = office.serve(stop) => {}
            }
        });
    }
}

struct Office<D> {
    duty: D,
    link: Link,
    hints: Subscription,
    cluster: Cluster,
}

impl<D: Duty> Office<D> {
    async fn serve(mut self, stop: CancellationToken) {
        let mut seat = self.cluster.seat(D::SEAT);
        loop {
            let tenure = tokio::select! {
                () = stop.cancelled() => return,
                tenure = seat.taken() => tenure,
            };
            let mut watch = seat.clone();
            tokio::select! {
                () = self.tenure(tenure, &stop) => {}
                () = watch.lost(tenure.term) => {}
            }
            self.duty.reset();
            self.link.close();
        }
    }

    /// Runs the duty until told to stop or superseded.
    async fn tenure(&mut self, tenure: Tenure, stop: &CancellationToken) {
        let mut pauses = backoff();
        while !stop.is_cancelled() {
            let started = Instant::now();
            let run = self.duty.run_once(&mut self.link, &tenure).await;
            metrics::histogram!("forge_duty_duration_seconds", "duty" => D::SEAT.as_str())
                .record(started.elapsed().as_secs_f64());
            let sleep = match run {
                Ok(summary) => {
                    pauses = backoff();
                    if summary.did > 0 {
                        tracing::debug!(duty = D::SEAT.as_str(), detail = %summary.detail, "duty done");
                    }
                    summary
                        .next
                        .unwrap_or(Duration::MAX)
                        .min(self.duty.longest_sleep())
                }
                Err(error) if error.is_lease_lost() => {
                    tracing::info!(duty = D::SEAT.as_str(), term = tenure.term, "superseded");
                    self.cluster.poke();
                    // The seat is emptied by the heartbeat; until then nothing can be done under this term.
                    stop.cancelled().await;
                    return;
                }
                Err(error) => {
                    let pause = pauses.next().unwrap_or(Duration::from_secs(10));
                    tracing::warn!(duty = D::SEAT.as_str(), %error, retry_in = ?pause, "duty failed");
                    pause
                }
            };
            self.rest(started, sleep, stop).await;
        }
    }

    async fn rest(&mut self, started: Instant, due_in: Duration, stop: &CancellationToken) {
        if due_in.is_zero() {
            return;
        }
        let hinted = async {
            self.hints.next_of(D::HINTS).await;
            sleep_until(started + SHORTEST_SLEEP).await;
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = hinted => {}
            () = sleep(due_in) => {}
        }
    }
}
