//! A serializable update of one row by its key, flushed to disk.

use super::pgbench::{self, Isolation};
use super::service::Service;
use super::side::Side;
use super::{ADD, ITEMS, LEVELS};
use crate::bench::Bench;
use crate::gate::{Gate, Goal, Row};
use crate::interleave::interleave;
use crate::suite::Entry;
use std::time::Duration;

const fn gate(name: &'static str) -> Gate {
    Gate {
        name,
        unit: "calls/s",
        peer: "pgbench -M prepared",
        goal: Goal::AtLeast(0.4),
    }
}

const NAMES: [&str; 3] = [
    "mutation, 1 connection",
    "mutation, 32 connections",
    "mutation, 256 connections",
];

pub const ENTRY: Entry = Entry {
    gates: &[gate(NAMES[0]), gate(NAMES[1]), gate(NAMES[2])],
    limit: Duration::from_secs(200),
    run: |bench| Box::pin(run(bench)),
};

async fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let service = Service::start(bench).await?;
    let mut rows = Vec::new();
    for (name, connections) in NAMES.into_iter().zip(LEVELS) {
        let duration = bench.millis(4_000, 800);
        let forge = Side::new(service.calls("bench.add"), connections, duration);
        // The server takes 100 sessions, the node's among them.
        let clients = connections.min(64);
        let [value, peer] = interleave(
            bench.rounds(3),
            [
                Box::new(|| Box::pin(forge.once())),
                Box::new(|| {
                    Box::pin(pgbench::run(
                        &bench.url,
                        ADD,
                        ITEMS,
                        Isolation::Serializable,
                        clients,
                        duration,
                    ))
                }),
            ],
        )
        .await;
        rows.push(forge.noted(gate(name).compared(&value, &peer)));
    }
    Ok(rows)
}
