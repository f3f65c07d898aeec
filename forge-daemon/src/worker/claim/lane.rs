//! One claim loop.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use postgres_types::Type;
use tokio::{
    sync::{Mutex, Notify, watch},
    time::sleep,
};
use tokio_postgres::Row;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Offer, Runner, pace::Pace, stray};
use crate::{
    cluster::Life,
    db::{Error, Link, Query, backoff},
    worker::{
        catalog::Catalog,
        desk::Desk,
        flush::Report,
        job::{Batch, Claimed, Lease},
        outcome::Outcome,
    },
};

/// A claim may be lost in a crash of the server: that only means that it is claimed again. So it need not wait for the
/// disk. The setting is local to the statement's transaction, which works through a pooler as well.
const CLAIM: Query = Query::new(
    "worker_claim",
    "SELECT c.pos, c.id, c.kind, c.args, c.attempt, c.max_attempts, c.traceparent \
     FROM set_config('synchronous_commit', 'off', true), forge_private.worker_claim($1, $2, $3, $4, $5) c",
    &[
        Type::UUID,
        Type::TEXT_ARRAY,
        Type::INT4,
        Type::TEXT_ARRAY,
        Type::UUID,
    ],
);
/// Longest that a claim may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Longest pause after a failed claim.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The connection that claims, shared by lanes that claim rarely.
#[derive(Clone, Debug)]
pub struct Source(Arc<Mutex<Link>>);

impl Source {
    /// A connection for claims; opened by the first one.
    pub fn new(desk: &Desk) -> Self {
        Self(Arc::new(Mutex::new(Link::new(
            desk.context.db.clone(),
            "claims",
            &[CLAIM],
        ))))
    }
}

/// A claim loop with its runner.
pub struct Lane<R> {
    pub desk: Arc<Desk>,
    pub runner: R,
    pub source: Source,
    /// Told when work may be ready; lanes of one sort share it.
    pub wake: Arc<Notify>,
    /// Whether it looks without being told, too; one lane of a sort does.
    pub polls: bool,
}

impl<R: Runner> Lane<R> {
    /// Claims until the node drains.
    pub async fn run(self) {
        self.run_until(CancellationToken::new()).await;
    }

    /// Claims until `end`, or until the node drains.
    pub async fn run_until(mut self, end: CancellationToken) {
        let drain = self.desk.context.drain.clone();
        let over = async || {
            tokio::select! {
                () = drain.cancelled() => {}
                () = end.cancelled() => {}
            }
        };
        let config = &self.desk.context.config.worker;
        let mut pace = Pace::new(config.poll_min.get(), config.poll_max.get());
        let mut catalog = self.desk.catalog.clone();
        let mut pauses = backoff();
        loop {
            let room = tokio::select! {
                biased;
                () = over() => break,
                room = self.runner.room() => room,
            };
            let life = tokio::select! {
                () = over() => break,
                life = self.desk.cluster.living() => life,
            };
            let offer = self.runner.offer(&catalog.borrow_and_update().clone());
            let pause = match self.claim(life, &offer, room).await {
                Ok(None) => {
                    pauses = backoff();
                    self.polls.then(|| pace.empty())
                }
                Ok(Some(batch)) => {
                    pace.found();
                    pauses = backoff();
                    if batch.jobs.len() >= room {
                        self.wake.notify_one();
                    }
                    self.hand_over(batch).await;
                    continue;
                }
                Err(error) => {
                    let pause = pauses.next().unwrap_or(PAUSE_MAX).min(PAUSE_MAX);
                    tracing::warn!(%error, retry_in = ?pause, "claim failed");
                    self.runner.vacate();
                    sleep(pause).await;
                    Some(Duration::ZERO)
                }
            };
            self.runner.vacate();
            let pause = [pause, offer.again].into_iter().flatten().min();
            tokio::select! {
                () = over() => break,
                () = self.rest(pause, &mut catalog) => {}
            }
        }
        self.runner.vacate();
    }

    /// Sleeps until there may be something to claim.
    async fn rest(&self, pause: Option<Duration>, catalog: &mut watch::Receiver<Arc<Catalog>>) {
        let pause = async {
            match pause {
                Some(pause) => sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.wake.notified() => {}
            Ok(()) = catalog.changed() => {}
            () = pause => {}
        }
    }

    /// Claims up to `room` jobs of the kinds offered; nothing when there are none.
    async fn claim(
        &self,
        life: Arc<Life>,
        offer: &Offer,
        room: usize,
    ) -> Result<Option<Batch>, Error> {
        if offer.kinds.is_empty() {
            return Ok(None);
        }
        let mut link = self.source.0.lock().await;
        let lease = Arc::new(Lease {
            id: Uuid::now_v7(),
            life,
            claimed_at: Instant::now(),
        });
        let kinds: Vec<&str> = offer.kinds.keys().map(|name| &**name).collect();
        let queues = &self.desk.context.config.worker.queues;
        let max = i32::try_from(room).unwrap_or(i32::MAX);
        let node = lease.life.id();
        let answer = link
            .rows(LIMIT, &CLAIM, &[&node, &kinds, &max, queues, &lease.id])
            .await;
        drop(link);
        metrics::histogram!("forge_claim_duration_seconds")
            .record(lease.claimed_at.elapsed().as_secs_f64());
        match answer {
            Ok(rows) if rows.is_empty() => Ok(None),
            Ok(rows) => self
                .read(&rows, &lease, offer)
                .map(|jobs| Some(Batch { lease, jobs })),
            Err(error) => {
                self.failed(&error, lease);
                Err(error)
            }
        }
    }

    fn read(&self, rows: &[Row], lease: &Arc<Lease>, offer: &Offer) -> Result<Vec<Claimed>, Error> {
        let jobs: Result<Vec<_>, _> = rows.iter().map(|row| claimed(row, offer)).collect();
        jobs.inspect_err(|_| stray::give_back(&self.desk.context, lease.clone()))
    }

    fn failed(&self, error: &Error, lease: Arc<Lease>) {
        if matches!(
            error,
            Error::Connection { .. } | Error::Timeout { .. } | Error::Answer { .. }
        ) {
            stray::give_back(&self.desk.context, lease);
        } else if error.is_lease_lost() {
            self.desk.cluster.poke();
        }
    }

    async fn hand_over(&mut self, batch: Batch) {
        if self.desk.is_draining() || batch.lease.life.is_lost() {
            self.runner.vacate();
            let ends = batch
                .jobs
                .iter()
                .map(|job| (job.pos, Outcome::Released))
                .collect();
            self.desk
                .flush
                .report(Report {
                    lease: batch.lease,
                    ends,
                })
                .await;
            return;
        }
        self.runner.run(batch).await;
    }
}

fn claimed(row: &Row, offer: &Offer) -> Result<Claimed, Error> {
    let name: &str = row.try_get(2).map_err(|error| CLAIM.unexpected(error))?;
    let kind = offer
        .kinds
        .get(name)
        .ok_or_else(|| CLAIM.unexpected(format!("a job of kind {name}, not asked for")))?;
    let read = || {
        Ok(Claimed {
            pos: row.try_get(0)?,
            id: row.try_get(1)?,
            kind: kind.clone(),
            args: row.try_get(3)?,
            attempt: row.try_get(4)?,
            max_attempts: row.try_get(5)?,
            traceparent: row.try_get(6)?,
        })
    };
    read().map_err(|error: tokio_postgres::Error| CLAIM.unexpected(error))
}

impl<R> std::fmt::Debug for Lane<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane")
            .field("polls", &self.polls)
            .finish_non_exhaustive()
    }
}
