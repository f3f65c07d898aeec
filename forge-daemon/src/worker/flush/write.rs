//! Gets operations into the database, whatever stands in the way.
//!
//! Many operations are one transaction, so one flush to disk. When the database refuses one, all are tried alone, and
//! a refused one falls apart into smaller ones; while the database is away they are kept and tried again.

use std::{collections::VecDeque, time::Duration};

use futures::future::join_all;
use tokio::time::{sleep, timeout};

use super::{
    batch::Batch,
    operation::{Operation, QUERIES},
};
use crate::{
    app::Context,
    db::{Error, Line, Link, backoff},
};

/// Longest that writing one transaction may take.
const LIMIT: Duration = Duration::from_secs(31);
/// Operations in one transaction at most; they are sent at once, in order.
const TOGETHER: usize = 24;

pub(super) struct Writer {
    link: Link,
}

impl Writer {
    pub fn new(context: &Context) -> Self {
        Self {
            link: Link::new(context.db.clone(), "completions", QUERIES),
        }
    }

    /// Writes a batch; ends when every outcome is written or its lease is lost.
    pub async fn write(&mut self, batch: Batch) {
        let mut operations: VecDeque<Operation> = batch.into_operations().into();
        while !operations.is_empty() {
            let part: Vec<Operation> = operations.drain(..operations.len().min(TOGETHER)).collect();
            if part.len() == 1 || self.together(&part).await.is_err() {
                self.alone(part).await;
            }
        }
    }

    async fn together(&mut self, operations: &[Operation]) -> Result<(), Error> {
        let line = self.link.open().await?;
        let answer = timeout(LIMIT, transaction(&line, operations)).await;
        self.link.settle("flush", LIMIT, answer)
    }

    /// Writes operations one by one, each in its own transaction.
    async fn alone(&mut self, operations: Vec<Operation>) {
        let mut left: VecDeque<Operation> = operations.into();
        let mut pauses = backoff();
        while let Some(operation) = left.pop_front() {
            if operation.is_void() {
                continue;
            }
            match self.execute(&operation).await {
                Ok(()) => {}
                Err(error) if error.is_lease_lost() => {
                    tracing::warn!(lease = %operation.lease.id, "lease lost: outcomes dropped, the jobs run elsewhere");
                    metrics::counter!("forge_leases_lost_total").increment(1);
                }
                Err(error) if is_passing(&error) => {
                    let pause = pauses
                        .next()
                        .unwrap_or(Duration::from_secs(1))
                        .min(Duration::from_secs(2));
                    tracing::warn!(%error, retry_in = ?pause, "outcomes not written yet");
                    left.push_front(operation);
                    sleep(pause).await;
                }
                Err(error) => {
                    let instead = operation.instead(&error);
                    if instead.is_empty() {
                        tracing::error!(%error, lease = %operation.lease.id, ends = ?operation.ends, "outcome refused");
                    }
                    instead
                        .into_iter()
                        .rev()
                        .for_each(|part| left.push_front(part));
                }
            }
        }
    }

    async fn execute(&mut self, operation: &Operation) -> Result<(), Error> {
        let line = self.link.open().await?;
        let answer = timeout(LIMIT, operation.execute(&line)).await;
        self.link.settle("flush", LIMIT, answer)
    }
}

/// Runs all operations in one transaction, sent without waiting for answers in between.
async fn transaction(line: &Line, operations: &[Operation]) -> Result<(), Error> {
    let writes = join_all(operations.iter().map(|operation| operation.execute(line)));
    let (begun, written, committed) = futures::join!(
        line.plain("begin", "BEGIN"),
        writes,
        line.plain("commit", "COMMIT")
    );
    begun?;
    written.into_iter().collect::<Result<(), Error>>()?;
    committed
}

/// Whether the same statement may succeed later: outages, time limits, deadlocks, locks.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::Timeout { .. } | Error::Busy(_) => true,
        error if error.is_outage() => true,
        error => matches!(
            error.sqlstate(),
            Some("40001" | "40P01" | "55P03" | "57014" | "53100" | "53200")
        ),
    }
}
