//! Ten million jobs wait for their time and six thousand fall due each second: how late they start.

use crate::bench::Bench;
use crate::gate::{Gate, Goal, Row};
use crate::node::{HANDLER, Node};
use crate::statistic::percentile;
use crate::suite::Entry;
use crate::{fixture, session};
use anyhow::{Context, ensure};
use postgres_types::Json;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio_postgres::{Client, Statement};

const P99: Gate = Gate {
    name: "10M deferred, 6k due/s, lateness p99",
    unit: "s",
    peer: "limit",
    goal: Goal::Below(1.0),
};

pub const ENTRY: Entry = Entry {
    gates: &[P99],
    limit: Duration::from_secs(900),
    run: |bench| Box::pin(run(bench)),
};

const QUEUE: &str = "bench_deferred";
/// Jobs that fall due together, ten times a second.
const DUE: usize = 600;
const EVERY: Duration = Duration::from_millis(100);
/// Jobs of one statement that fill the store.
const BATCH: usize = 5_000;

async fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let client = session::open(&bench.url).await?;
    fixture::kind(&client, QUEUE, &format!("native:{HANDLER}"), "").await?;
    let enqueue = client
        .prepare(
            "select count(*) from forge.enqueue_many($1, $2, queue => $1, run_at => to_timestamp($3))",
        )
        .await
        .context("forge.enqueue_many is not as the contract says")?;
    let filler = bench.size(10_000_000, 50_000);
    let filled = Instant::now();
    far_future(&client, &enqueue, filler).await?;
    let filled = filled.elapsed();

    let late: Arc<Mutex<Vec<f64>>> = Arc::default();
    let seen = late.clone();
    let node = Node::start(bench, QUEUE, move |job| {
        if let Some(due) = job.args["due"].as_f64() {
            seen.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(now() - due);
        }
    })
    .await?;
    let groups = bench.size(300, 20);
    let lead = bench.millis(10_000, 1_500);
    let first = now() + lead.as_secs_f64();
    for group in 0..groups {
        let due = first + group as f64 * EVERY.as_secs_f64();
        let args: Vec<_> = (0..DUE).map(|_| Json(json!({ "due": due }))).collect();
        client.query_one(&enqueue, &[&QUEUE, &args, &due]).await?;
    }
    let spare = first - now();
    ensure!(
        spare > 0.0,
        "the jobs to measure were enqueued {:.1} s after the first was due",
        -spare
    );
    let expected = groups * DUE;
    until(
        &late,
        expected,
        lead + EVERY * u32::try_from(groups)? + Duration::from_secs(30),
    )
    .await?;
    node.stop().await?;
    // Whoever measures again need not wait for them.
    client
        .execute("select forge.purge_queue($1)", &[&QUEUE])
        .await
        .context("forge.purge_queue failed")?;

    let late = late.lock().unwrap_or_else(PoisonError::into_inner);
    let p99 = percentile(&late, 0.99).context("no job started")?;
    let p50 = percentile(&late, 0.5).context("no job started")?;
    Ok(vec![P99.limited(p99).note(format!(
        "{filler} deferred in {:.0} s, then {expected} due at {} a second; p50 {p50:.3} s",
        filled.as_secs_f64(),
        DUE as u128 * 1000 / EVERY.as_millis(),
    ))])
}

/// Fills the store with jobs that fall due over the day after tomorrow.
async fn far_future(client: &Client, enqueue: &Statement, jobs: usize) -> anyhow::Result<()> {
    let args: Vec<Json<Value>> = (0..BATCH).map(|n| Json(json!({ "n": n }))).collect();
    let day = 86_400.0;
    let start = now() + 2.0 * day;
    let mut left = jobs;
    while left > 0 {
        let take = left.min(BATCH);
        let due = start + day * left as f64 / jobs as f64;
        client
            .query_one(enqueue, &[&QUEUE, &&args[..take], &due])
            .await
            .context("forge.enqueue_many failed")?;
        left -= take;
    }
    Ok(())
}

async fn until(late: &Mutex<Vec<f64>>, expected: usize, limit: Duration) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let started = late.lock().unwrap_or_else(PoisonError::into_inner).len();
        if started >= expected {
            return Ok(());
        }
        ensure!(
            began.elapsed() < limit,
            "{started} of {expected} jobs started in {:.0} s",
            limit.as_secs_f64()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Seconds since 1970, by the clock that the server on this machine reads too.
fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
