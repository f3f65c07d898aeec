//! Queries of one row by its key and of ten rows, with a caller's full identity.

use super::bare::Bare;
use super::load::Request;
use super::pgbench::{self, Isolation};
use super::service::Service;
use super::side::Side;
use super::{ITEMS, LEVELS, ONE, TEN};
use crate::bench::Bench;
use crate::gate::{Gate, Goal, Row};
use crate::interleave::interleave;
use crate::suite::Entry;
use std::time::Duration;

const fn bare(name: &'static str) -> Gate {
    Gate {
        name,
        unit: "calls/s",
        peer: "bare axum handler",
        goal: Goal::AtLeast(0.85),
    }
}

const fn limit(name: &'static str) -> Gate {
    Gate {
        peer: "pgbench -M prepared",
        goal: Goal::Shown,
        ..bare(name)
    }
}

const ONE_NAMES: [&str; 3] = [
    "primary-key query, 1 connection",
    "primary-key query, 32 connections",
    "primary-key query, 256 connections",
];
const TEN_NAMES: [&str; 3] = [
    "ten-row query, 1 connection",
    "ten-row query, 32 connections",
    "ten-row query, 256 connections",
];

pub const ENTRY: Entry = Entry {
    gates: &[
        bare(ONE_NAMES[0]),
        limit(ONE_NAMES[0]),
        bare(ONE_NAMES[1]),
        limit(ONE_NAMES[1]),
        bare(ONE_NAMES[2]),
        limit(ONE_NAMES[2]),
        bare(TEN_NAMES[0]),
        limit(TEN_NAMES[0]),
        bare(TEN_NAMES[1]),
        limit(TEN_NAMES[1]),
        bare(TEN_NAMES[2]),
        limit(TEN_NAMES[2]),
    ],
    limit: Duration::from_secs(600),
    run: |bench| Box::pin(run(bench)),
};

async fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let service = Service::start(bench).await?;
    let handler = Bare::start(&bench.url).await?;
    let cases = [
        (ONE_NAMES, "bench.one", "/one", ONE, ITEMS),
        (TEN_NAMES, "bench.ten", "/ten", TEN, ITEMS / 10),
    ];
    let mut rows = Vec::new();
    for (names, function, path, statement, ids) in cases {
        for (name, connections) in names.into_iter().zip(LEVELS) {
            let duration = bench.millis(4_000, 400);
            let call = Request {
                ids,
                ..service.calls(function)
            };
            let bare_call = Request {
                address: handler.address,
                path: path.into(),
                headers: String::new(),
                ..call.clone()
            };
            let forge = Side::new(call, connections, duration);
            let plain = Side::new(bare_call, connections, duration);
            // The server takes 100 sessions, the node's and the handler's among them.
            let clients = connections.min(64);
            let [value, peer, bench_rate] = interleave(
                bench.rounds(3),
                [
                    Box::new(|| Box::pin(forge.once())),
                    Box::new(|| Box::pin(plain.once())),
                    Box::new(|| {
                        Box::pin(pgbench::run(
                            &bench.url,
                            statement,
                            ids,
                            Isolation::ReadCommitted,
                            clients,
                            duration,
                        ))
                    }),
                ],
            )
            .await;
            rows.push(forge.noted(bare(name).compared(&value, &peer)));
            let row = limit(name).compared(&value, &bench_rate);
            rows.push(if clients < connections {
                row.note(format!("pgbench with {clients} sessions"))
            } else {
                row
            });
        }
    }
    Ok(rows)
}
