//! Tokens that nobody signed are refused without asking the database.

use super::LEVELS;
use super::service::Service;
use super::side::Side;
use crate::bench::Bench;
use crate::gate::{Gate, Goal, Row};
use crate::interleave::interleave;
use crate::session;
use crate::suite::Entry;
use std::time::Duration;
use tokio_postgres::Client;

const fn gate(name: &'static str) -> Gate {
    Gate {
        name,
        unit: "calls/s",
        peer: "primary-key query",
        goal: Goal::AtLeast(1.0),
    }
}

const NAMES: [&str; 3] = [
    "rejected token, 1 connection",
    "rejected token, 32 connections",
    "rejected token, 256 connections",
];
/// Not zero: the node's heartbeat and the reading itself are transactions too.
const TOUCHES: Gate = Gate {
    name: "transactions per rejected token",
    unit: "",
    peer: "limit",
    goal: Goal::Below(0.01),
};

pub const ENTRY: Entry = Entry {
    gates: &[gate(NAMES[0]), gate(NAMES[1]), gate(NAMES[2]), TOUCHES],
    limit: Duration::from_secs(200),
    run: |bench| Box::pin(run(bench)),
};

async fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let service = Service::start(bench).await?;
    let client = session::open(&bench.url).await?;
    let mut rows = Vec::new();
    for (name, connections) in NAMES.into_iter().zip(LEVELS) {
        let duration = bench.millis(3_000, 300);
        let rejected = Side::new(service.rejected("bench.one"), connections, duration);
        let taken = Side::new(service.calls("bench.one"), connections, duration);
        let [value, peer] = interleave(
            bench.rounds(3),
            [
                Box::new(|| Box::pin(rejected.once())),
                Box::new(|| Box::pin(taken.once())),
            ],
        )
        .await;
        rows.push(rejected.noted(gate(name).compared(&value, &peer)));
    }
    // Sessions tell what they did within a second of being idle, and within ten at the latest.
    tokio::time::sleep(bench.millis(11_000, 3_000)).await;
    let before = transactions(&client).await?;
    let duration = bench.millis(4_000, 2_000);
    let rejected = Side::new(service.rejected("bench.one"), 32, duration);
    let calls = rejected.once().await? * duration.as_secs_f64();
    tokio::time::sleep(bench.millis(11_000, 3_000)).await;
    let touched = transactions(&client).await? - before;
    rows.push(TOUCHES.limited(touched / calls).note(format!(
        "{touched:.0} transactions of the whole database, {calls:.0} rejected tokens"
    )));
    Ok(rows)
}

async fn transactions(client: &Client) -> anyhow::Result<f64> {
    let query = "select (xact_commit + xact_rollback)::float8 from pg_stat_database
                 where datname = current_database()";
    Ok(client.query_one(query, &[]).await?.get(0))
}
