//! How many bytes of write-ahead log a job costs from enqueue to completion.

use super::BATCH;
use crate::bench::Bench;
use crate::gate::{Gate, Goal, Row};
use crate::interleave::interleave;
use crate::program::forge::Forge;
use crate::program::pgmq::Pgmq;
use crate::program::{Program, cycle};
use crate::session;
use crate::suite::Entry;
use anyhow::Context;
use std::time::Duration;
use tokio_postgres::Client;

const GATE: Gate = Gate {
    name: "write-ahead log per job",
    unit: "bytes",
    peer: "limit",
    goal: Goal::AtMost(1024.0),
};

pub const ENTRY: Entry = Entry {
    gates: &[GATE],
    limit: Duration::from_secs(180),
    run: |bench| Box::pin(run(bench)),
};

const QUEUE: &str = "bench_wal";

async fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let [forge, pgmq] = interleave(
        bench.rounds(3),
        [
            Box::new(move || Box::pin(once::<Forge>(bench))),
            Box::new(move || Box::pin(once::<Pgmq>(bench))),
        ],
    )
    .await;
    let note = match pgmq {
        Ok(pgmq) => format!("pgmq: {pgmq:.0} bytes"),
        Err(error) => format!("pgmq was not measured: {error:#}"),
    };
    Ok(vec![GATE.limited(forge?).note(note)])
}

async fn once<P: Program>(bench: &Bench) -> anyhow::Result<f64> {
    let jobs = bench.size(200_000, 20_000);
    let client = session::open(&bench.url).await?;
    let program = P::fresh(&bench.url, QUEUE).await?;
    let before = position(&client).await?;
    cycle(&program, jobs, BATCH).await?;
    Ok((position(&client).await? - before) / jobs as f64)
}

/// Bytes of log written since the cluster began.
async fn position(client: &Client) -> anyhow::Result<f64> {
    let row = client
        .query_one(
            "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8",
            &[],
        )
        .await
        .context("the position in the write-ahead log cannot be read")?;
    Ok(row.get(0))
}
