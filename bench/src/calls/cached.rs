//! A query with `cache_ttl`, of a thousand different arguments, against the same without.

use super::LEVELS;
use super::load::Request;
use super::service::Service;
use super::side::Side;
use crate::bench::Bench;
use crate::gate::{Gate, Goal, Row};
use crate::interleave::interleave;
use crate::suite::Entry;
use std::time::Duration;

const fn gate(name: &'static str) -> Gate {
    Gate {
        name,
        unit: "calls/s",
        peer: "uncached",
        goal: Goal::AtLeast(2.0),
    }
}

const NAMES: [&str; 3] = [
    "cached query, 1 connection",
    "cached query, 32 connections",
    "cached query, 256 connections",
];
const ARGUMENTS: u32 = 1_000;

pub const ENTRY: Entry = Entry {
    gates: &[gate(NAMES[0]), gate(NAMES[1]), gate(NAMES[2])],
    limit: Duration::from_secs(200),
    run: |bench| Box::pin(run(bench)),
};

async fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let service = Service::start(bench).await?;
    let of = |function| Request {
        ids: ARGUMENTS,
        ..service.calls(function)
    };
    // Every argument once, so that what is measured is the cache.
    Side::new(of("bench.cached"), 32, Duration::from_millis(500))
        .once()
        .await?;
    let mut rows = Vec::new();
    for (name, connections) in NAMES.into_iter().zip(LEVELS) {
        let duration = bench.millis(4_000, 400);
        let cached = Side::new(of("bench.cached"), connections, duration);
        let asked = Side::new(of("bench.one"), connections, duration);
        let [value, peer] = interleave(
            bench.rounds(3),
            [
                Box::new(|| Box::pin(cached.once())),
                Box::new(|| Box::pin(asked.once())),
            ],
        )
        .await;
        rows.push(cached.noted(gate(name).compared(&value, &peer)));
    }
    Ok(rows)
}
