//! How long a job waits: from the call of `forge.enqueue` until its handler starts in a node, with
//! nothing else to do and at half the load the node can bear.

use super::BATCH;
use crate::bench::Bench;
use crate::gate::{Gate, Goal, Row};
use crate::node::{HANDLER, Node};
use crate::program::forge::Forge;
use crate::program::{Program, batch, fill};
use crate::statistic::percentile;
use crate::suite::Entry;
use crate::{fixture, session};
use anyhow::{Context, ensure};
use postgres_types::Json;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

const fn gate(name: &'static str, limit: f64) -> Gate {
    Gate {
        name,
        unit: "ms",
        peer: "limit",
        goal: Goal::Below(limit),
    }
}

const IDLE_P50: Gate = gate("enqueue to start, idle, p50", 2.0);
const IDLE_P99: Gate = gate("enqueue to start, idle, p99", 10.0);
const HALF_P50: Gate = gate("enqueue to start, half load, p50", 2.0);
const HALF_P99: Gate = gate("enqueue to start, half load, p99", 10.0);

pub const ENTRY: Entry = Entry {
    gates: &[IDLE_P50, IDLE_P99, HALF_P50, HALF_P99],
    limit: Duration::from_secs(300),
    run: |bench| Box::pin(run(bench)),
};

const QUEUE: &str = "bench_latency";
/// The longest a probe may be on its way.
const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// How often the background load is enqueued.
const TICK: Duration = Duration::from_millis(10);

/// When each probe's handler started, in nanoseconds since `epoch` (0: not yet), and how many other
/// jobs did.
struct Starts {
    epoch: Instant,
    probes: Vec<AtomicU64>,
    others: AtomicUsize,
}

impl Starts {
    fn new(probes: usize) -> Arc<Self> {
        Arc::new(Self {
            epoch: Instant::now(),
            probes: (0..probes).map(|_| AtomicU64::new(0)).collect(),
            others: AtomicUsize::new(0),
        })
    }

    fn saw(&self, args: &serde_json::Value) {
        let probe = args["probe"]
            .as_u64()
            .and_then(|n| self.probes.get(usize::try_from(n).ok()?));
        match probe {
            Some(slot) => {
                let since = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
                // A second attempt would be a later start; the first is the one that counts.
                let _ = slot.compare_exchange(0, since, Ordering::Relaxed, Ordering::Relaxed);
            }
            None => {
                self.others.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

async fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let client = session::open(&bench.url).await?;
    fixture::kind(&client, QUEUE, &format!("native:{HANDLER}"), "").await?;
    let probes = bench.size(300, 60);
    let starts = Starts::new(2 * probes);
    let seen = starts.clone();
    let node = Node::start(bench, QUEUE, move |job| seen.saw(&job.args)).await?;

    let idle = probe(&client, &starts, 0, probes, bench.millis(100, 25)).await?;
    let capacity = capacity(bench, &starts).await?;
    let load = Load::begin(bench, capacity / 2.0).await?;
    let half = probe(&client, &starts, probes, probes, bench.millis(30, 25)).await;
    let rate = load.end().await?;
    let half = half?;
    fixture::until_empty(&client, QUEUE).await?;
    node.stop().await?;

    let value =
        |latencies: &[f64], quantile| percentile(latencies, quantile).context("no probe ran");
    let loaded = format!("{rate:.0} jobs/s beside the probes, of {capacity:.0} it can bear");
    Ok(vec![
        IDLE_P50
            .limited(value(&idle, 0.5)?)
            .note(format!("{probes} probes, one at a time")),
        IDLE_P99.limited(value(&idle, 0.99)?),
        HALF_P50.limited(value(&half, 0.5)?).note(loaded),
        HALF_P99.limited(value(&half, 0.99)?),
    ])
}

/// Sends `count` single jobs about `pause` apart; the milliseconds each took to start.
async fn probe(
    client: &Client,
    starts: &Starts,
    first: usize,
    count: usize,
    pause: Duration,
) -> anyhow::Result<Vec<f64>> {
    let enqueue = client
        .prepare("select forge.enqueue($1, $2, queue => $1)")
        .await?;
    let mut latencies = Vec::with_capacity(count);
    for n in 0..count {
        // Uneven pauses, so that no polling interval falls in with them.
        tokio::time::sleep(pause / 2 + pause.mul_f64((n * 7919 % 101) as f64 / 100.0)).await;
        let slot = first + n;
        let asked = starts.epoch.elapsed();
        client
            .query_one(&enqueue, &[&QUEUE, &Json(json!({ "probe": slot }))])
            .await?;
        let started = wait(&starts.probes[slot])
            .await
            .with_context(|| format!("probe {n} did not start"))?;
        latencies.push(started.saturating_sub(asked).as_secs_f64() * 1000.0);
    }
    Ok(latencies)
}

async fn wait(slot: &AtomicU64) -> anyhow::Result<Duration> {
    let began = Instant::now();
    loop {
        match slot.load(Ordering::Relaxed) {
            0 => ensure!(
                began.elapsed() < PROBE_LIMIT,
                "within {} s",
                PROBE_LIMIT.as_secs()
            ),
            since => return Ok(Duration::from_nanos(since)),
        }
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
}

/// Jobs per second that one program can enqueue while the node runs them.
async fn capacity(bench: &Bench, starts: &Starts) -> anyhow::Result<f64> {
    let program = Forge::join(&bench.url, QUEUE).await?;
    let jobs = bench.size(200_000, 20_000);
    let before = starts.others.load(Ordering::Relaxed);
    let started = Instant::now();
    fill(&program, jobs, BATCH).await?;
    while starts.others.load(Ordering::Relaxed) < before + jobs {
        ensure!(
            started.elapsed() < Duration::from_secs(60),
            "the node does not run {jobs} jobs in 60 s"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(jobs as f64 / started.elapsed().as_secs_f64())
}

/// A steady stream of jobs in the background.
struct Load {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<f64>>,
}

impl Load {
    async fn begin(bench: &Bench, rate: f64) -> anyhow::Result<Self> {
        let program = Forge::join(&bench.url, QUEUE).await?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let per_tick = (rate * TICK.as_secs_f64()).round().max(1.0) as usize;
        let task = tokio::spawn(async move {
            let args = batch(per_tick);
            let mut ticks = tokio::time::interval(TICK);
            let started = Instant::now();
            let mut sent = 0;
            while !stopped.is_cancelled() {
                ticks.tick().await;
                program.enqueue(&args).await?;
                sent += per_tick;
            }
            Ok(sent as f64 / started.elapsed().as_secs_f64())
        });
        Ok(Self { stop, task })
    }

    /// Stops the stream; the jobs per second it was.
    async fn end(mut self) -> anyhow::Result<f64> {
        self.stop.cancel();
        (&mut self.task).await.context("the load ended by itself")?
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
