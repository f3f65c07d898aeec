//! Eight workers claiming five jobs at a time from one queue: what contention between claimers
//! costs, with and without an old snapshot held by another session.

use super::BATCH;
use super::old_snapshot::OldSnapshot;
use crate::bench::Bench;
use crate::gate::{Gate, Goal, Row};
use crate::interleave::interleave;
use crate::program::forge::Forge;
use crate::program::pgmq::Pgmq;
use crate::program::{Program, crowd, fill};
use crate::suite::Entry;
use std::time::Duration;

const WITHOUT: &str = "claims of 5, 8 workers";
const WITH: &str = "claims of 5, 8 workers, old snapshot";

const fn gate(name: &'static str, peer: &'static str, times: f64) -> Gate {
    Gate {
        name,
        unit: "jobs/s",
        peer,
        goal: Goal::AtLeast(times),
    }
}

const WITHOUT_PGMQ: Gate = gate(WITHOUT, "pgmq", 1.5);
const WITH_PGMQ: Gate = gate(WITH, "pgmq with", 1.5);
const WITH_WITHOUT: Gate = gate(WITH, "Forge without", 0.8);

pub const ENTRY: Entry = Entry {
    gates: &[WITHOUT_PGMQ, WITH_PGMQ, WITH_WITHOUT],
    limit: Duration::from_secs(400),
    run: |bench| Box::pin(run(bench)),
};

const QUEUE: &str = "bench_small_claims";
const WORKERS: usize = 8;
const CLAIM: i32 = 5;

async fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let [forge, pgmq, forge_with, pgmq_with] = interleave(
        bench.rounds(3),
        [
            Box::new(move || Box::pin(once::<Forge>(bench, false))),
            Box::new(move || Box::pin(once::<Pgmq>(bench, false))),
            Box::new(move || Box::pin(once::<Forge>(bench, true))),
            Box::new(move || Box::pin(once::<Pgmq>(bench, true))),
        ],
    )
    .await;
    Ok(vec![
        WITHOUT_PGMQ.compared(&forge, &pgmq),
        WITH_PGMQ.compared(&forge_with, &pgmq_with),
        WITH_WITHOUT.compared(&forge_with, &forge),
    ])
}

async fn once<P: Program>(bench: &Bench, old_snapshot: bool) -> anyhow::Result<f64> {
    let filler = P::fresh(&bench.url, QUEUE).await?;
    let snapshot = if old_snapshot {
        Some(OldSnapshot::hold(&bench.url).await?)
    } else {
        None
    };
    fill(&filler, bench.size(200_000, 25_000), BATCH).await?;
    let limit = Duration::from_millis(bench.size(5_000, 700) as u64);
    let rate = crowd::<P>(&bench.url, QUEUE, WORKERS, CLAIM, limit).await;
    drop(snapshot);
    rate
}
