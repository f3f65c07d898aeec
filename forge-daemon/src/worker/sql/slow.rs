//! One job to a transaction: for kinds that are slow, and for jobs whose batch failed as a whole.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    Costs, offer,
    transaction::{self, End, QUERIES, Work},
};
use crate::{
    db::{Error, Link, backoff},
    worker::{
        catalog::Catalog,
        claim::{Offer, Runner},
        desk::{Desk, Ticket},
        job::{Batch, Claimed, Lease},
        outcome::Outcome,
        stop::Reason,
        supervise::timed_out,
    },
};

/// Tries of a transaction that was refused because of others running beside it.
const CONFLICTS: usize = 3;

/// A lane of slow kinds.
pub struct Slow {
    single: Single,
}

impl Slow {
    /// A lane with a connection of its own.
    pub fn new(desk: Arc<Desk>, costs: Costs) -> Self {
        Self {
            single: Single::new(desk, costs),
        }
    }
}

impl Runner for Slow {
    async fn room(&mut self) -> usize {
        1
    }

    fn vacate(&mut self) {}

    fn offer(&mut self, catalog: &Catalog) -> Offer {
        offer(&self.single.desk, catalog, &self.single.costs, true)
    }

    async fn run(&mut self, batch: Batch) {
        for job in &batch.jobs {
            self.single.run(&batch.lease, job).await;
        }
    }
}

/// Runs one job at a time.
pub(super) struct Single {
    pub desk: Arc<Desk>,
    pub costs: Costs,
    pub link: Link,
}

impl Single {
    pub fn new(desk: Arc<Desk>, costs: Costs) -> Self {
        let link = Link::new(desk.context.db.clone(), "sql jobs", QUERIES);
        Self { desk, costs, link }
    }

    /// Runs `job` to its end, whatever that is.
    pub async fn run(&mut self, lease: &Arc<Lease>, job: &Claimed) {
        let ticket = Ticket::new(lease, job);
        let _entry = self.desk.running.enter(job.id, lease, ticket.stop.clone());
        let mut pauses = backoff();
        let mut conflicts = 0;
        while ticket.stop.reason().is_none() {
            match self.attempt(&ticket).await {
                Ok(Some(end)) => return note(&self.costs, &ticket, &end),
                Ok(None) => return self.desk.end(&ticket, Outcome::Released).await,
                Err(error) if error.is_lease_lost() => return,
                Err(error) if error.is_outage() => {
                    let pause = pauses
                        .next()
                        .unwrap_or(Duration::from_secs(1))
                        .min(Duration::from_secs(2));
                    tracing::warn!(job_id = %job.id, %error, retry_in = ?pause, "sql: job interrupted by an outage");
                    tokio::select! {
                        () = ticket.stop.token().cancelled() => {}
                        () = sleep(pause) => {}
                    }
                }
                Err(error) if conflicts < CONFLICTS && is_conflict(&error) => conflicts += 1,
                Err(error) => return self.failed(&ticket, &error).await,
            }
        }
        self.stopped(&ticket).await;
    }

    /// One transaction; a stop signal cancels it on the server.
    async fn attempt(&mut self, ticket: &Ticket) -> Result<Option<End>, Error> {
        let limit = ticket.kind.timeout;
        let work = Work {
            lease: &ticket.lease,
            positions: &[ticket.pos],
            budget: limit,
            limit,
        };
        let line = self.link.open().await?;
        let mut running = std::pin::pin!(transaction::run(&mut self.link, work));
        let ends = tokio::select! {
            ends = &mut running => ends,
            () = ticket.stop.token().cancelled() => {
                self.desk.context.db.cancel(&line.cancel_token()).await;
                running.await
            }
        };
        Ok(ends?.pop())
    }

    async fn failed(&self, ticket: &Ticket, error: &Error) {
        let cancelled = matches!(error, Error::Timeout { .. }) || error.sqlstate() == Some("57014");
        match (cancelled, ticket.stop.reason()) {
            (true, Some(_)) => self.stopped(ticket).await,
            (true, None) => {
                self.costs
                    .observe(&ticket.kind.name, ticket.started.elapsed());
                self.desk.end(ticket, timed_out(ticket.kind.timeout)).await;
            }
            (false, _) => {
                self.desk
                    .end(ticket, Outcome::retry(error.to_string()))
                    .await
            }
        }
    }

    /// Tells the end of a job that was stopped before it was done.
    async fn stopped(&self, ticket: &Ticket) {
        let outcome = match ticket.stop.reason() {
            Some(Reason::Cancelled) => Outcome::Cancelled,
            Some(Reason::TimedOut) => timed_out(ticket.kind.timeout),
            Some(Reason::NodeStopping) => Outcome::Released,
            Some(Reason::LeaseLost) | None => return,
        };
        self.desk.end(ticket, outcome).await;
    }
}

/// Learns and counts from the end of a job that the database has already written.
pub(super) fn note(costs: &Costs, ticket: &Ticket, end: &End) {
    costs.observe(&ticket.kind.name, end.took);
    match end.state.as_str() {
        "completed" => ticket.kind.meters.tally(1, 0, end.took),
        state => {
            ticket.kind.meters.tally(0, 1, end.took);
            if state == "dead" {
                metrics::counter!("forge_jobs_dead_total").increment(1);
            }
            let error = end.error.as_deref().unwrap_or_default();
            tracing::warn!(job_id = %ticket.id, kind = &*ticket.kind.name, error, state, "job failed");
        }
    }
}

fn is_conflict(error: &Error) -> bool {
    matches!(error.sqlstate(), Some("40001" | "40P01" | "55P03"))
}
