//! Forge over its public SQL: `forge.enqueue_many`, `forge.claim`, `forge.complete`.

use super::Program;
use crate::{fixture, session};
use anyhow::Context;
use postgres_types::Json;
use serde_json::Value;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

/// The handler of kinds that nodes leave alone: remote workers, or pullers over SQL as here.
pub const PULLED: &str = "worker";

/// A session with its statements prepared; its queue is named like its kind.
pub struct Forge {
    client: Client,
    queue: String,
    enqueue: Statement,
    claim: Statement,
    complete: Statement,
}

impl Program for Forge {
    async fn fresh(url: &str, queue: &str) -> anyhow::Result<Self> {
        let forge = Self::join(url, queue).await?;
        fixture::kind(&forge.client, queue, PULLED, "").await?;
        Ok(forge)
    }

    async fn join(url: &str, queue: &str) -> anyhow::Result<Self> {
        Self::with_enqueue(url, queue, "select forge.enqueue_many($1, $2, queue => $1)").await
    }

    async fn enqueue(&self, args: &[Json<Value>]) -> anyhow::Result<()> {
        self.client
            .query(&self.enqueue, &[&self.queue, &args])
            .await
            .context("forge.enqueue_many failed")?;
        Ok(())
    }

    async fn work(&self, limit: i32) -> anyhow::Result<usize> {
        let claimed = self
            .client
            .query(&self.claim, &[&self.queue, &limit])
            .await
            .context("forge.claim failed")?;
        let Some(first) = claimed.first() else {
            return Ok(0);
        };
        let lease: Uuid = first.get("lease");
        let ids: Vec<Uuid> = claimed.iter().map(|job| job.get("id")).collect();
        let completed: i32 = self
            .client
            .query_one(&self.complete, &[&lease, &ids])
            .await
            .context("forge.complete failed")?
            .get(0);
        anyhow::ensure!(
            usize::try_from(completed)? == ids.len(),
            "{completed} jobs completed of the {} claimed",
            ids.len()
        );
        Ok(ids.len())
    }
}

impl Forge {
    /// A session whose jobs are enqueued by `enqueue`: `$1` is the kind and the queue, `$2` the
    /// arguments.
    pub async fn with_enqueue(url: &str, queue: &str, enqueue: &str) -> anyhow::Result<Self> {
        let client = session::open(url).await?;
        let enqueue = client
            .prepare(enqueue)
            .await
            .context("forge.enqueue_many is not as the contract says")?;
        let claim = client
            .prepare(
                "select id, kind, args, attempt, lease, deadline, traceparent
                 from forge.claim('bench', array[$1], $2, '5 min')",
            )
            .await
            .context("forge.claim is not as the contract says")?;
        let complete = client
            .prepare("select forge.complete($1, $2)")
            .await
            .context("forge.complete is not as the contract says")?;
        Ok(Self {
            client,
            queue: queue.to_owned(),
            enqueue,
            claim,
            complete,
        })
    }
}
