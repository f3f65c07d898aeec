//! The SQL path while another session holds an old snapshot, as a forgotten transaction or a long
//! report does: at once, and a minute later. Dead rows cannot be removed meanwhile.

use super::BATCH;
use crate::bench::Bench;
use crate::gate::{Gate, Goal, Row};
use crate::program::forge::Forge;
use crate::program::pgmq::Pgmq;
use crate::program::{Program, cycle};
use crate::session;
use crate::statistic::median;
use crate::suite::Entry;
use anyhow::Context;
use std::time::{Duration, Instant};
use tokio_postgres::Client;

const fn gate(name: &'static str, peer: &'static str, times: f64) -> Gate {
    Gate {
        name,
        unit: "jobs/s",
        peer,
        goal: Goal::AtLeast(times),
    }
}

const HELD: &str = "SQL path, old snapshot";
const LATER: &str = "SQL path, old snapshot, 60 s later";
const HELD_WITHOUT: Gate = gate(HELD, "Forge without", 0.9);
const HELD_PGMQ: Gate = gate(HELD, "pgmq with", 8.0);
const LATER_WITHOUT: Gate = gate(LATER, "Forge without", 0.9);
const LATER_PGMQ: Gate = gate(LATER, "pgmq with", 8.0);

pub const ENTRY: Entry = Entry {
    gates: &[HELD_WITHOUT, HELD_PGMQ, LATER_WITHOUT, LATER_PGMQ],
    limit: Duration::from_secs(1200),
    run: |bench| Box::pin(run(bench)),
};

const QUEUE: &str = "bench_old_snapshot";

/// A transaction with a snapshot and a transaction id of its own, held until it is dropped.
pub struct OldSnapshot {
    _client: Client,
}

impl OldSnapshot {
    /// Begins the transaction and takes its snapshot.
    pub async fn hold(url: &str) -> anyhow::Result<Self> {
        let client = session::open(url).await?;
        client
            .batch_execute(
                "begin isolation level repeatable read;
                 select pg_current_xact_id(), (select count(*) from pg_class)",
            )
            .await
            .context("no snapshot was taken")?;
        Ok(Self { _client: client })
    }
}

/// Jobs per second of one side: without, with, and with an older snapshot.
struct Side {
    without: f64,
    held: f64,
    later: f64,
}

async fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let jobs = bench.size(400_000, 20_000);
    let wait = Duration::from_secs(bench.size(60, 2) as u64);
    let (mut forge, mut pgmq) = (Vec::new(), Vec::new());
    for round in 0..bench.rounds(3) {
        let [first, second] = both(bench, jobs, wait, round % 2 == 0).await?;
        forge.push(first);
        pgmq.push(second);
    }
    let middle = |sides: &[Side], value: fn(&Side) -> f64| {
        median(&sides.iter().map(value).collect::<Vec<_>>()).context("no round was measured")
    };
    let without = middle(&forge, |side| side.without)?;
    let note = format!(
        "{jobs} jobs; pgmq without: {:.0} jobs/s; later: {} s",
        middle(&pgmq, |side| side.without)?,
        wait.as_secs()
    );
    Ok(vec![
        HELD_WITHOUT
            .against(middle(&forge, |side| side.held)?, without)
            .note(note),
        HELD_PGMQ.against(
            middle(&forge, |side| side.held)?,
            middle(&pgmq, |side| side.held)?,
        ),
        LATER_WITHOUT.against(middle(&forge, |side| side.later)?, without),
        LATER_PGMQ.against(
            middle(&forge, |side| side.later)?,
            middle(&pgmq, |side| side.later)?,
        ),
    ])
}

/// One round of Forge and pgmq under the same snapshot; Forge goes first where `forge_first`.
async fn both(
    bench: &Bench,
    jobs: usize,
    wait: Duration,
    forge_first: bool,
) -> anyhow::Result<[Side; 2]> {
    let forge = Forge::fresh(&bench.url, QUEUE).await?;
    let pgmq = Pgmq::fresh(&bench.url, QUEUE).await?;
    let without = pair(&forge, &pgmq, jobs, forge_first).await?;
    let snapshot = OldSnapshot::hold(&bench.url).await?;
    let taken = Instant::now();
    let held = pair(&forge, &pgmq, jobs, forge_first).await?;
    tokio::time::sleep(wait.saturating_sub(taken.elapsed())).await;
    let later = pair(&forge, &pgmq, jobs, forge_first).await?;
    drop(snapshot);
    Ok([0, 1].map(|side| Side {
        without: without[side],
        held: held[side],
        later: later[side],
    }))
}

async fn pair(
    forge: &Forge,
    pgmq: &Pgmq,
    jobs: usize,
    forge_first: bool,
) -> anyhow::Result<[f64; 2]> {
    if forge_first {
        let first = cycle(forge, jobs, BATCH).await?.rate();
        return Ok([first, cycle(pgmq, jobs, BATCH).await?.rate()]);
    }
    let second = cycle(pgmq, jobs, BATCH).await?.rate();
    Ok([cycle(forge, jobs, BATCH).await?.rate(), second])
}
