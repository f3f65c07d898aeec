//! One node runs `sql:` handlers that do nothing, each exactly once in effect: how much of the SQL
//! path is left when every job is a call in a subtransaction of its own.

use super::BATCH;
use crate::bench::Bench;
use crate::gate::{Gate, Goal, Row};
use crate::interleave::interleave;
use crate::node::Node;
use crate::program::forge::Forge;
use crate::program::{Program, cycle, fill};
use crate::suite::Entry;
use crate::{fixture, session};
use std::time::{Duration, Instant};

const GATE: Gate = Gate {
    name: "one node, sql handler",
    unit: "jobs/s",
    peer: "Forge's SQL path",
    goal: Goal::AtLeast(0.2),
};

pub const ENTRY: Entry = Entry {
    gates: &[GATE],
    limit: Duration::from_secs(300),
    run: |bench| Box::pin(run(bench)),
};

const QUEUE: &str = "bench_node_sql";

async fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let jobs = bench.size(100_000, 10_000);
    let [handlers, path] = interleave(
        bench.rounds(3),
        [
            Box::new(move || Box::pin(handlers(bench, jobs))),
            Box::new(move || Box::pin(path(bench, jobs))),
        ],
    )
    .await;
    Ok(vec![
        GATE.compared(&handlers, &path)
            .note(format!("both enqueue {jobs} jobs and finish them")),
    ])
}

/// Enqueue and run, as the SQL path is measured; starting the node is not part of it.
async fn handlers(bench: &Bench, jobs: usize) -> anyhow::Result<f64> {
    let client = session::open(&bench.url).await?;
    fixture::schema(&client).await?;
    fixture::kind(&client, QUEUE, "sql:forge_bench.noop", "").await?;
    fixture::pause(&client, QUEUE).await?;
    let program = Forge::join(&bench.url, QUEUE).await?;
    let node = Node::start(bench, QUEUE, |_| ()).await?;
    let started = Instant::now();
    fill(&program, jobs, BATCH).await?;
    fixture::resume(&client, QUEUE).await?;
    fixture::until_empty(&client, QUEUE).await?;
    let rate = jobs as f64 / started.elapsed().as_secs_f64();
    node.stop().await?;
    Ok(rate)
}

async fn path(bench: &Bench, jobs: usize) -> anyhow::Result<f64> {
    let program = Forge::fresh(&bench.url, "bench_node_sql_path").await?;
    Ok(cycle(&program, jobs, BATCH).await?.rate())
}
