//! Many jobs to a transaction.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    Costs, offer,
    slow::{Single, note},
    transaction::{self, End, Work},
};
use crate::{
    db::{Error, backoff},
    worker::{
        catalog::Catalog,
        claim::{Offer, Runner},
        desk::{Desk, Ticket},
        flush::Report,
        job::{Batch, Claimed, Lease},
        outcome::Outcome,
    },
};

/// Jobs in one claim at most.
const MOST: usize = 256;

/// A lane of quick kinds.
pub struct Quick {
    single: Single,
}

impl Quick {
    /// A lane with a connection of its own.
    pub fn new(desk: Arc<Desk>, costs: Costs) -> Self {
        Self {
            single: Single::new(desk, costs),
        }
    }

    fn budget(&self) -> Duration {
        self.single.desk.context.config.worker.sql_budget.get()
    }

    /// One transaction over `jobs`; what it did not begin is left in them.
    async fn transaction(
        &mut self,
        lease: &Arc<Lease>,
        jobs: &mut Vec<Claimed>,
    ) -> Result<(), Error> {
        let positions: Vec<i32> = jobs.iter().map(|job| job.pos).collect();
        let longest = jobs.iter().map(Claimed::timeout).max().unwrap_or_default();
        let budget = self.budget();
        let work = Work {
            lease,
            positions: &positions,
            budget,
            limit: budget.saturating_add(longest),
        };
        let ends = transaction::run(&mut self.single.link, work).await?;
        if ends.is_empty() {
            return Err(Error::Answer {
                name: "worker_run_sql",
                message: "no member was run".into(),
            });
        }
        self.settle(lease, jobs, &ends);
        Ok(())
    }

    fn settle(&self, lease: &Arc<Lease>, jobs: &mut Vec<Claimed>, ends: &[End]) {
        jobs.retain(|job| {
            let Some(end) = ends.iter().find(|end| end.pos == job.pos) else {
                return true;
            };
            note(&self.single.costs, &Ticket::new(lease, job), end);
            false
        });
    }

    /// Gives back jobs of kinds that turned out to be slow, for the lanes that run them one by one.
    async fn give_back_slow(&self, lease: &Arc<Lease>, jobs: &mut Vec<Claimed>) {
        let costs = &self.single.costs;
        let slow = jobs.extract_if(.., |job| costs.is_slow(&job.kind.name));
        let ends = slow.map(|job| (job.pos, Outcome::Released)).collect();
        self.single
            .desk
            .flush
            .report(Report {
                lease: lease.clone(),
                ends,
            })
            .await;
    }

    async fn release(&self, lease: &Arc<Lease>, jobs: &[Claimed]) {
        let ends = jobs
            .iter()
            .map(|job| (job.pos, Outcome::Released))
            .collect();
        self.single
            .desk
            .flush
            .report(Report {
                lease: lease.clone(),
                ends,
            })
            .await;
    }
}

impl Runner for Quick {
    async fn room(&mut self) -> usize {
        self.single.costs.fit(self.budget() * 2, MOST)
    }

    fn vacate(&mut self) {}

    fn offer(&mut self, catalog: &Catalog) -> Offer {
        offer(&self.single.desk, catalog, &self.single.costs, false)
    }

    async fn run(&mut self, batch: Batch) {
        let Batch { lease, mut jobs } = batch;
        let mut pauses = backoff();
        while !jobs.is_empty() && !lease.life.is_lost() {
            if self.single.desk.hurry.is_cancelled() {
                return self.release(&lease, &jobs).await;
            }
            match self.transaction(&lease, &mut jobs).await {
                Ok(()) => self.give_back_slow(&lease, &mut jobs).await,
                Err(error) if error.is_lease_lost() => return,
                Err(error) if error.is_outage() => {
                    let pause = pauses
                        .next()
                        .unwrap_or(Duration::from_secs(1))
                        .min(Duration::from_secs(2));
                    tracing::warn!(%error, retry_in = ?pause, "sql: jobs interrupted by an outage");
                    sleep(pause).await;
                }
                // One of them spoiled it for all; alone each gets what it deserves.
                Err(error) => {
                    tracing::debug!(%error, jobs = jobs.len(), "sql: batch failed; running its jobs one by one");
                    for job in std::mem::take(&mut jobs) {
                        self.single.run(&lease, &job).await;
                    }
                }
            }
        }
    }
}
