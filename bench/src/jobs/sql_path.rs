//! One client program enqueues, claims and completes everything over SQL, in batches of 500: with a
//! million jobs waiting at the peak, and with ten thousand.

use super::BATCH;
use crate::bench::Bench;
use crate::gate::{Gate, Goal, Row};
use crate::interleave::interleave;
use crate::program::forge::Forge;
use crate::program::pgmq::Pgmq;
use crate::program::{Cycle, Program, cycle};
use crate::statistic::median;
use crate::suite::Entry;
use std::sync::{Mutex, PoisonError};
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

/// The cycles of one side, for the remark.
type Halves = Mutex<Vec<Cycle>>;

async fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let large = bench.size(1_000_000, 60_000);
    let repeats = bench.size(10, 2);
    let (ours, theirs, little) = (Halves::default(), Halves::default(), Halves::default());
    let [forge, pgmq, small] = interleave(
        bench.rounds(3),
        [
            Box::new(|| Box::pin(once::<Forge>(bench, large, 1, &ours))),
            Box::new(|| Box::pin(once::<Pgmq>(bench, large, 1, &theirs))),
            Box::new(|| Box::pin(once::<Forge>(bench, SMALL, repeats, &little))),
        ],
    )
    .await;
    let note = format!("{large} jobs; {}; pgmq {}", halves(&ours), halves(&theirs));
    Ok(vec![
        AGAINST_PGMQ.compared(&forge, &pgmq).note(note),
        AGAINST_SMALL.compared(&forge, &small).note(halves(&little)),
    ])
}

/// Jobs per second over `repeats` cycles of `jobs` jobs, on a queue of its own.
async fn once<P: Program>(
    bench: &Bench,
    jobs: usize,
    repeats: usize,
    cycles: &Halves,
) -> anyhow::Result<f64> {
    let program = P::fresh(&bench.url, QUEUE).await?;
    let mut all = Vec::with_capacity(repeats);
    for _ in 0..repeats {
        all.push(cycle(&program, jobs, BATCH).await?);
    }
    let sum: Cycle = all.into_iter().sum();
    cycles
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(sum);
    Ok(sum.rate())
}

/// What the two halves ran at.
fn halves(cycles: &Halves) -> String {
    let cycles = cycles.lock().unwrap_or_else(PoisonError::into_inner);
    let of = |rate: fn(&Cycle) -> f64| median(&cycles.iter().map(rate).collect::<Vec<_>>());
    format!(
        "enqueue {:.0}/s, claim and complete {:.0}/s",
        of(Cycle::enqueue_rate).unwrap_or(f64::NAN),
        of(Cycle::drain_rate).unwrap_or(f64::NAN)
    )
}
