//! One client program enqueues, claims and completes everything over SQL, in batches of 500: with a
//! million jobs waiting at the peak, and with ten thousand.

use super::BATCH;
use crate::bench::Bench;
use crate::gate::{Gate, Goal, Row};
use crate::interleave::interleave;
use crate::program::forge::Forge;
use crate::program::pgmq::Pgmq;
use crate::program::{Program, cycle};
use crate::suite::Entry;
use std::time::Duration;

const AGAINST_PGMQ: Gate = Gate {
    name: "SQL path, 1M backlog",
    unit: "jobs/s",
    peer: "pgmq",
    goal: Goal::AtLeast(2.5),
};
const AGAINST_SMALL: Gate = Gate {
    name: "SQL path, 1M backlog",
    unit: "jobs/s",
    peer: "Forge at 10k",
    goal: Goal::AtLeast(0.9),
};

pub const ENTRY: Entry = Entry {
    gates: &[AGAINST_PGMQ, AGAINST_SMALL],
    limit: Duration::from_secs(600),
    run: |bench| Box::pin(run(bench)),
};

const QUEUE: &str = "bench_sql_path";
const SMALL: usize = 10_000;

async fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let large = bench.size(1_000_000, 100_000);
    let repeats = bench.size(10, 3);
    let [forge, pgmq, small] = interleave(
        bench.rounds(3),
        [
            Box::new(move || Box::pin(once::<Forge>(bench, large, 1))),
            Box::new(move || Box::pin(once::<Pgmq>(bench, large, 1))),
            Box::new(move || Box::pin(once::<Forge>(bench, SMALL, repeats))),
        ],
    )
    .await;
    let note = format!("{large} jobs enqueued, then claimed and completed, batches of {BATCH}");
    Ok(vec![
        AGAINST_PGMQ.compared(&forge, &pgmq).note(note),
        AGAINST_SMALL.compared(&forge, &small),
    ])
}

/// Jobs per second over `repeats` cycles of `jobs` jobs, on a queue of its own.
async fn once<P: Program>(bench: &Bench, jobs: usize, repeats: usize) -> anyhow::Result<f64> {
    let program = P::fresh(&bench.url, QUEUE).await?;
    let mut seconds = 0.0;
    for _ in 0..repeats {
        seconds += jobs as f64 / cycle(&program, jobs, BATCH).await?;
    }
    Ok((jobs * repeats) as f64 / seconds)
}
