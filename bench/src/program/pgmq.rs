//! pgmq over its SQL: `pgmq.send_batch`, `pgmq.read`, `pgmq.delete`.

use super::Program;
use crate::session;
use anyhow::Context;
use postgres_types::Json;
use serde_json::Value;
use tokio_postgres::{Client, Statement};

/// How long a message that was read stays invisible, in seconds: longer than any run.
const VISIBILITY_TIMEOUT: i32 = 600;

/// A session with its statements prepared.
pub struct Pgmq {
    client: Client,
    queue: String,
    send: Statement,
    read: Statement,
    delete: Statement,
}

/// Installs the SQL that the crate carries into the database, unless it is there.
pub async fn install(url: &str) -> anyhow::Result<()> {
    let pool = sqlx::PgPool::connect(url)
        .await
        .context("pgmq's installer cannot connect")?;
    pgmq::PGMQueueExt::new_with_pool(pool.clone())
        .await
        .install_sql_from_embedded()
        .await
        .context("pgmq's SQL was not installed")?;
    pool.close().await;
    Ok(())
}

impl Program for Pgmq {
    async fn fresh(url: &str, queue: &str) -> anyhow::Result<Self> {
        install(url).await?;
        let client = session::open(url).await?;
        client
            .execute(
                "select pgmq.drop_queue(queue_name) from pgmq.list_queues() where queue_name = $1",
                &[&queue],
            )
            .await
            .context("pgmq.drop_queue failed")?;
        client
            .execute("select pgmq.create($1)", &[&queue])
            .await
            .context("pgmq.create failed")?;
        Self::join(url, queue).await
    }

    async fn join(url: &str, queue: &str) -> anyhow::Result<Self> {
        let client = session::open(url).await?;
        let send = client
            .prepare("select pgmq.send_batch($1, $2::jsonb[])")
            .await?;
        let read = client
            .prepare("select * from pgmq.read($1, $2, $3)")
            .await?;
        let delete = client
            .prepare("select pgmq.delete($1, $2::bigint[])")
            .await?;
        Ok(Self {
            client,
            queue: queue.to_owned(),
            send,
            read,
            delete,
        })
    }

    async fn enqueue(&self, args: &[Json<Value>]) -> anyhow::Result<()> {
        self.client
            .query(&self.send, &[&self.queue, &args])
            .await
            .context("pgmq.send_batch failed")?;
        Ok(())
    }

    async fn work(&self, limit: i32) -> anyhow::Result<usize> {
        let read = self
            .client
            .query(&self.read, &[&self.queue, &VISIBILITY_TIMEOUT, &limit])
            .await
            .context("pgmq.read failed")?;
        if read.is_empty() {
            return Ok(0);
        }
        let ids: Vec<i64> = read.iter().map(|message| message.get("msg_id")).collect();
        let deleted = self
            .client
            .query(&self.delete, &[&self.queue, &ids])
            .await
            .context("pgmq.delete failed")?;
        anyhow::ensure!(
            deleted.len() == ids.len(),
            "{} messages deleted of the {} read",
            deleted.len(),
            ids.len()
        );
        Ok(ids.len())
    }
}
