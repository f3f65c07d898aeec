//! What enqueueing costs the transactions of an application: a write that also enqueues a job
//! against the same write that adds a row to a plain outbox table instead, while a node listens.

use crate::bench::Bench;
use crate::fixture;
use crate::gate::{Gate, Goal, Row};
use crate::interleave::interleave;
use crate::program::forge::PULLED;
use crate::session;
use crate::suite::Entry;
use anyhow::Context;
use std::time::{Duration, Instant};
use tokio_postgres::Client;

const GATE: Gate = Gate {
    name: "writes that enqueue, 32 clients",
    unit: "transactions/s",
    peer: "plain insert instead",
    goal: Goal::AtLeast(0.9),
};

pub const ENTRY: Entry = Entry {
    gates: &[GATE],
    limit: Duration::from_secs(180),
    run: |bench| Box::pin(run(bench)),
};

const QUEUE: &str = "bench_writes";
const CLIENTS: usize = 32;

/// One statement and one transaction each; both keep an item and what is to be done about it.
const ENQUEUE: &str = "
    with item as (insert into forge_bench.item (body) values ($1) returning id)
    select forge.enqueue('bench_writes', jsonb_build_object('item', id)) from item";
const PLAIN: &str = "
    with item as (insert into forge_bench.item (body) values ($1) returning id)
    insert into forge_bench.outbox (kind, args)
    select 'bench_writes', jsonb_build_object('item', id) from item returning id";

async fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let owner = session::open(&bench.url).await?;
    fixture::schema(&owner).await?;
    fixture::kind(&owner, QUEUE, PULLED, "").await?;
    let listener = session::open(&bench.url).await?;
    listener.batch_execute("listen forge_jobs").await?;
    let [enqueue, plain] = interleave(
        bench.rounds(5),
        [
            Box::new(|| Box::pin(once(bench, &owner, ENQUEUE))),
            Box::new(|| Box::pin(once(bench, &owner, PLAIN))),
        ],
    )
    .await;
    Ok(vec![GATE.compared(&enqueue, &plain)])
}

/// Transactions per second of all clients together.
async fn once(bench: &Bench, owner: &Client, statement: &'static str) -> anyhow::Result<f64> {
    owner
        .batch_execute("truncate forge_bench.item, forge_bench.outbox")
        .await?;
    let mut clients = Vec::with_capacity(CLIENTS);
    for _ in 0..CLIENTS {
        let client = session::open(&bench.url).await?;
        let prepared = client
            .prepare(statement)
            .await
            .context("the write cannot be prepared")?;
        clients.push((client, prepared));
    }
    let limit = bench.millis(5_000, 1_000);
    let started = Instant::now();
    let tasks: Vec<_> = clients
        .into_iter()
        .map(|(client, prepared)| {
            tokio::spawn(async move {
                let mut written = 0_usize;
                while started.elapsed() < limit {
                    client
                        .query_one(&prepared, &[&"something to be done"])
                        .await?;
                    written += 1;
                }
                Ok::<_, tokio_postgres::Error>(written)
            })
        })
        .collect();
    let mut written = 0;
    for task in tasks {
        written += task.await?.context("a write failed")?;
    }
    Ok(written as f64 / started.elapsed().as_secs_f64())
}
