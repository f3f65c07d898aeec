//! The waits between the acts. Each looks at a state, shows it, and has a deadline.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use uuid::Uuid;

use super::{Stage, act::accepted};
use crate::{
    replay::{Book, Counters},
    tour::progress::{Backlog, Progress},
};

const LOOK_EVERY: Duration = Duration::from_millis(250);
const BUSY_WITHIN: Duration = Duration::from_secs(3);
const DIGEST_WITHIN: Duration = Duration::from_secs(30);
const BURIED_WITHIN: Duration = Duration::from_secs(40);

impl Stage {
    /// Waits until so many deliveries were accepted.
    pub(super) async fn until_accepted(
        &mut self,
        counters: &Counters,
        wanted: u64,
        progress: &Progress,
        replay: &JoinHandle<Result<Book>>,
        within: Duration,
    ) -> Result<()> {
        let deadline = Instant::now() + within;
        while accepted(counters) < wanted && !replay.is_finished() {
            if Instant::now() > deadline {
                bail!(
                    "only {} deliveries were accepted within {within:?}",
                    accepted(counters)
                );
            }
            self.look(progress).await?;
        }
        Ok(())
    }

    /// Waits until the senders are through.
    pub(super) async fn until_sent(
        &mut self,
        replay: &JoinHandle<Result<Book>>,
        progress: &Progress,
        within: Duration,
    ) -> Result<()> {
        let deadline = Instant::now() + within;
        while !replay.is_finished() {
            if Instant::now() > deadline {
                bail!("the senders were not through within {within:?}");
            }
            self.look(progress).await?;
        }
        Ok(())
    }

    /// Waits until no job of this run waits or runs.
    pub(super) async fn until_ended(
        &mut self,
        progress: &Progress,
        within: Duration,
    ) -> Result<()> {
        let deadline = Instant::now() + within;
        // The queues' counts are cheap to ask for; the jobs have the last word.
        while !(self.look(progress).await?.is_empty() && self.unfinished().await? == 0) {
            if Instant::now() > deadline {
                bail!(
                    "jobs did not end within {within:?}:\n{}",
                    self.stragglers().await?
                );
            }
        }
        Ok(())
    }

    /// Waits until a digest was taken after everything ended.
    pub(super) async fn until_digest(&self) -> Result<()> {
        let deadline = Instant::now() + DIGEST_WITHIN;
        let now = "SELECT clock_timestamp()::text";
        let ended: String = self.database.query_one(now, &[]).await?.get(0);
        let taken =
            "SELECT EXISTS (SELECT FROM github.digest WHERE taken_at > $1::text::timestamptz)";
        loop {
            if self.database.query_one(taken, &[&ended]).await?.get(0) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("no digest was taken within {DIGEST_WITHIN:?}, though one is due every 10 s");
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until the killed node is known to be dead.
    pub(super) async fn until_buried(&self) -> Result<()> {
        let deadline = Instant::now() + BURIED_WITHIN;
        let statement =
            "SELECT count(*) FROM forge.nodes WHERE name = 'node-2' AND state <> 'dead'";
        while self
            .database
            .query_one(statement, &[])
            .await?
            .get::<_, i64>(0)
            > 0
        {
            if Instant::now() > deadline {
                bail!(
                    "node-2 is still listed as living in forge.nodes {BURIED_WITHIN:?} after the last job"
                );
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Waits a little for a moment in which the node is in the middle of something (a call the receiver stalls,
    /// most likely), to make its death felt.
    pub(super) async fn until_busy(&self, node: Uuid) -> Result<()> {
        let deadline = Instant::now() + BUSY_WITHIN;
        let statement =
            "SELECT EXISTS (SELECT FROM forge.jobs WHERE state = 'running' AND node_id = $1
                         AND clock_timestamp() - started_at BETWEEN '0.1 s' AND '1.5 s')";
        while !self
            .database
            .query_one(statement, &[&node])
            .await?
            .get::<_, bool>(0)
            && Instant::now() < deadline
        {
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Jobs that run on a node now.
    pub(super) async fn running_on(&self, node: Uuid) -> Result<i64> {
        let statement = "SELECT count(*) FROM forge.jobs WHERE state = 'running' AND node_id = $1";
        Ok(self.database.query_one(statement, &[&node]).await?.get(0))
    }

    /// Dead jobs of this run.
    pub(super) async fn dead(&self) -> Result<i64> {
        let statement =
            "SELECT count(*) FROM forge.jobs WHERE kind LIKE 'github.%' AND state = 'dead'
                         AND enqueued_at >= (SELECT started_at FROM run)";
        Ok(self.database.query_one(statement, &[]).await?.get(0))
    }

    async fn unfinished(&self) -> Result<i64> {
        let statement = "SELECT count(*) FROM forge.jobs WHERE kind LIKE 'github.%'
                         AND state NOT IN ('completed', 'dead', 'cancelled')
                         AND enqueued_at >= (SELECT started_at FROM run)";
        Ok(self.database.query_one(statement, &[]).await?.get(0))
    }

    /// Jobs that have not ended, for an error message.
    async fn stragglers(&self) -> Result<String> {
        let statement = "SELECT format('%s %s, attempt %s of %s: %s', kind, state, attempt, max_attempts, error)
                         FROM forge.jobs WHERE kind LIKE 'github.%'
                         AND state NOT IN ('completed', 'dead', 'cancelled') ORDER BY id LIMIT 10";
        let rows = self.database.query(statement, &[]).await?;
        let lines: Vec<String> = rows
            .iter()
            .map(|row| format!("  {}", row.get::<_, String>(0)))
            .collect();
        Ok(lines.join("\n"))
    }

    /// Shows the state, checks that nobody has died unasked, and waits a moment.
    async fn look(&mut self, progress: &Progress) -> Result<Backlog> {
        for child in self
            .nodes
            .iter_mut()
            .map(|node| &mut node.child)
            .chain([&mut self.receiver, &mut self.worker])
        {
            if let Some(status) = child.ended()? {
                bail!(
                    "{} ended by itself with {status}; {}",
                    child.name,
                    child.last_words()
                );
            }
        }
        let backlog = Backlog::read(&self.database).await?;
        let effects = "SELECT count(*) FROM github.effect WHERE at >= (SELECT started_at FROM run)";
        progress.show(backlog, self.database.query_one(effects, &[]).await?.get(0));
        sleep(LOOK_EVERY).await;
        Ok(backlog)
    }
}
