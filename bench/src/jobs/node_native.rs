//! One node drains a backlog with a `native:` handler that does nothing, against what a program
//! over pgmq and the workers of awa and graphile-worker drain from theirs.

use super::BATCH;
use crate::bench::Bench;
use crate::gate::{Gate, Goal, Row};
use crate::interleave::interleave;
use crate::node::{HANDLER, Node};
use crate::peer::graphile_worker::Setting;
use crate::peer::{awa, graphile_worker};
use crate::program::forge::Forge;
use crate::program::pgmq::Pgmq;
use crate::program::{Program, drain, fill};
use crate::suite::Entry;
use crate::{fixture, session};
use anyhow::{Context, ensure};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

const fn gate(peer: &'static str, times: f64) -> Gate {
    Gate {
        name: "one node, native handler",
        unit: "jobs/s",
        peer,
        goal: Goal::AtLeast(times),
    }
}

const PGMQ: Gate = gate("pgmq program", 1.5);
const AWA: Gate = gate("awa", 3.0);
const GRAPHILE: Gate = gate("graphile-worker", 5.0);
/// Not a goal of the design, which measured it as it comes: shown so that nobody is misled.
const GRAPHILE_BATCHING: Gate = gate("graphile-worker, batching", 1.0);

pub const ENTRY: Entry = Entry {
    gates: &[PGMQ, AWA, GRAPHILE, GRAPHILE_BATCHING],
    limit: Duration::from_secs(900),
    run: |bench| Box::pin(run(bench)),
};

const QUEUE: &str = "bench_node_native";

async fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let jobs = bench.size(100_000, 5_000);
    let graphile = move |setting| graphile_worker::drain(&bench.peers, &bench.url, jobs, setting);
    let [forge, pgmq, awa, plain, batching] = interleave(
        bench.rounds(3),
        [
            Box::new(move || Box::pin(forge(bench, jobs))),
            Box::new(move || Box::pin(pgmq(bench, jobs))),
            Box::new(move || Box::pin(awa::drain(&bench.url, jobs))),
            Box::new(move || Box::pin(graphile(Setting::Plain))),
            Box::new(move || Box::pin(graphile(Setting::Batching))),
        ],
    )
    .await;
    Ok(vec![
        PGMQ.compared(&forge, &pgmq)
            .note(format!("drains of {jobs} jobs that were enqueued before")),
        AWA.compared(&forge, &awa),
        GRAPHILE
            .compared(&forge, &plain)
            .note("24 jobs at a time, no batching: its defaults"),
        GRAPHILE_BATCHING.compared(&forge, &batching).note(
            "local queue of 500 and batched completion: options it has, not a goal of the design",
        ),
    ])
}

/// What the handler saw.
#[derive(Default)]
struct Seen {
    first: OnceLock<Instant>,
    count: AtomicUsize,
    all: Notify,
}

async fn forge(bench: &Bench, jobs: usize) -> anyhow::Result<f64> {
    let client = session::open(&bench.url).await?;
    fixture::kind(&client, QUEUE, &format!("native:{HANDLER}"), "").await?;
    fixture::pause(&client, QUEUE).await?;
    fill(&Forge::join(&bench.url, QUEUE).await?, jobs, BATCH).await?;
    let seen = Arc::new(Seen::default());
    let counted = seen.clone();
    let node = Node::start(bench, QUEUE, move |_| {
        counted.first.get_or_init(Instant::now);
        if counted.count.fetch_add(1, Ordering::Relaxed) + 1 == jobs {
            counted.all.notify_one();
        }
    })
    .await?;
    fixture::resume(&client, QUEUE).await?;
    let limit = Duration::from_secs(120);
    tokio::time::timeout(limit, seen.all.notified())
        .await
        .with_context(|| {
            let ran = seen.count.load(Ordering::Relaxed);
            format!(
                "the node ran {ran} of {jobs} jobs within {} s",
                limit.as_secs()
            )
        })?;
    fixture::until_empty(&client, QUEUE).await?;
    let first = seen.first.get().context("no job started")?;
    let rate = jobs as f64 / first.elapsed().as_secs_f64();
    node.stop().await?;
    let ran = seen.count.load(Ordering::Relaxed);
    ensure!(
        ran == jobs,
        "the node ran {ran} jobs of the {jobs} enqueued"
    );
    Ok(rate)
}

async fn pgmq(bench: &Bench, jobs: usize) -> anyhow::Result<f64> {
    let program = Pgmq::fresh(&bench.url, QUEUE).await?;
    fill(&program, jobs, BATCH).await?;
    let started = Instant::now();
    drain(&program, jobs, BATCH).await?;
    Ok(jobs as f64 / started.elapsed().as_secs_f64())
}
