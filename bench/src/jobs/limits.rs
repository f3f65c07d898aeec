//! What a concurrency key, or a rate limit, on every job costs the SQL path when neither is reached:
//! each claim must still count.

use super::BATCH;
use crate::bench::Bench;
use crate::gate::{Gate, Goal, Row};
use crate::interleave::interleave;
use crate::program::cycle;
use crate::program::forge::{Forge, PULLED};
use crate::suite::Entry;
use crate::{fixture, session};
use std::time::Duration;

const fn gate(name: &'static str) -> Gate {
    Gate {
        name,
        unit: "jobs/s",
        peer: "Forge without",
        goal: Goal::AtLeast(0.9),
    }
}

const KEY: Gate = gate("concurrency key on every job");
const RATE: Gate = gate("rate limit on every job");

pub const ENTRY: Entry = Entry {
    gates: &[KEY, RATE],
    limit: Duration::from_secs(300),
    run: |bench| Box::pin(run(bench)),
};

/// A queue of its own for each side, so that no registration lingers.
struct Side {
    queue: &'static str,
    /// More arguments of `forge.register_job`.
    kind: &'static str,
    /// More arguments of `forge.enqueue_many`.
    enqueue: &'static str,
}

const WITHOUT: Side = Side {
    queue: "bench_limits_without",
    kind: "",
    enqueue: "",
};
const WITH_KEY: Side = Side {
    queue: "bench_limits_key",
    kind: ", max_concurrency => 1000000",
    // A hundred tenants.
    enqueue: ", concurrency_key => 'tenant-' || floor(random() * 100)::int",
};
const WITH_RATE: Side = Side {
    queue: "bench_limits_rate",
    kind: ", rate_limit => '1000000/second'",
    enqueue: "",
};

async fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let [without, key, rate] = interleave(
        bench.rounds(5),
        [
            Box::new(move || Box::pin(once(bench, &WITHOUT))),
            Box::new(move || Box::pin(once(bench, &WITH_KEY))),
            Box::new(move || Box::pin(once(bench, &WITH_RATE))),
        ],
    )
    .await;
    Ok(vec![
        KEY.compared(&key, &without)
            .note("100 keys, one per batch; the limit is not reached"),
        RATE.compared(&rate, &without)
            .note("the limit is not reached"),
    ])
}

async fn once(bench: &Bench, side: &Side) -> anyhow::Result<f64> {
    let client = session::open(&bench.url).await?;
    fixture::kind(&client, side.queue, PULLED, side.kind).await?;
    let enqueue = format!(
        "select forge.enqueue_many($1, $2, queue => $1{})",
        side.enqueue
    );
    let program = Forge::with_enqueue(&bench.url, side.queue, &enqueue).await?;
    Ok(cycle(&program, bench.size(100_000, 20_000), BATCH)
        .await?
        .rate())
}
