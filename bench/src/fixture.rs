//! What nodes and writers find in the database: the schema `forge_bench`, kinds and their queues.

use anyhow::Context;
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// How long a queue that should empty may go without doing so.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pause between two looks at a queue.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Makes the schema `forge_bench` anew: a handler that does nothing, and tables for the rows about
/// writes.
pub async fn schema(client: &Client) -> anyhow::Result<()> {
    client
        .batch_execute(
            "drop schema if exists forge_bench cascade;
             create schema forge_bench;
             create function forge_bench.noop(args jsonb) returns void
                 language plpgsql as $$ begin end $$;
             create table forge_bench.item (
                 id bigint generated always as identity primary key, body text not null);
             create table forge_bench.outbox (
                 id uuid primary key default gen_random_uuid(), kind text not null,
                 args jsonb not null, created_at timestamptz not null default now());
             grant usage on schema forge_bench to public;
             grant execute on function forge_bench.noop(jsonb) to public",
        )
        .await
        .context("the schema forge_bench cannot be made")
}

/// Registers a kind with `handler` on the empty queue of the same name, resumed. `options` are more
/// named arguments of `forge.register_job`, each after a comma.
pub async fn kind(client: &Client, name: &str, handler: &str, options: &str) -> anyhow::Result<()> {
    let register = format!("select forge.register_job($1, $2, queue => $1{options})");
    client
        .execute(&register, &[&name, &handler])
        .await
        .context("forge.register_job failed")?;
    client
        .execute("select forge.purge_queue($1)", &[&name])
        .await
        .context("forge.purge_queue failed")?;
    resume(client, name).await
}

/// Stops claims from a queue.
pub async fn pause(client: &Client, queue: &str) -> anyhow::Result<()> {
    client
        .execute("select forge.pause_queue($1)", &[&queue])
        .await
        .context("forge.pause_queue failed")?;
    Ok(())
}

/// Lets claims from a queue go on.
pub async fn resume(client: &Client, queue: &str) -> anyhow::Result<()> {
    client
        .execute("select forge.resume_queue($1)", &[&queue])
        .await
        .context("forge.resume_queue failed")?;
    Ok(())
}

/// Waits until nothing in a queue is unfinished.
///
/// # Errors
/// It is not so within two minutes.
pub async fn until_empty(client: &Client, queue: &str) -> anyhow::Result<()> {
    let left = client
        .prepare(
            "select coalesce(sum(ready + scheduled + running + retrying), 0)::bigint
             from forge.queues where queue = $1",
        )
        .await
        .context("forge.queues is not as the contract says")?;
    let began = Instant::now();
    loop {
        let unfinished: i64 = client.query_one(&left, &[&queue]).await?.get(0);
        if unfinished == 0 {
            return Ok(());
        }
        anyhow::ensure!(
            began.elapsed() < PATIENCE,
            "{unfinished} jobs of queue {queue} are unfinished after {} s",
            PATIENCE.as_secs()
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
