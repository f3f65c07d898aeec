//! What a node holds in memory, with nothing to do and with a thousand connections open.

use super::load::Connection;
use super::service::Service;
use crate::bench::Bench;
use crate::gate::{Gate, Goal, Row};
use crate::suite::Entry;
use anyhow::{Context, ensure};
use std::time::Duration;

const IDLE: Gate = Gate {
    name: "resident memory, idle node",
    unit: "MiB",
    peer: "limit",
    goal: Goal::AtMost(60.0),
};
const OPEN: Gate = Gate {
    name: "resident memory, 1,000 open connections",
    goal: Goal::AtMost(150.0),
    ..IDLE
};
const CONNECTIONS: usize = 1_000;

pub const ENTRY: Entry = Entry {
    gates: &[IDLE, OPEN],
    limit: Duration::from_secs(120),
    run: |bench| Box::pin(run(bench)),
};

async fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let service = Service::start(bench).await?;
    let idle = resident(service.node.pid()).await?;
    let request = service.calls("bench.one");
    let mut connections = Vec::with_capacity(CONNECTIONS);
    for n in 0..CONNECTIONS {
        let mut connection = Connection::open(request.address).await?;
        let status = connection.call(&request, n as u64).await?;
        ensure!(status == 200, "connection {n} was answered {status}");
        connections.push(connection);
    }
    let open = resident(service.node.pid()).await?;
    // All of them are still good.
    for connection in &mut connections {
        ensure!(
            connection.call(&request, 1).await? == 200,
            "a connection was closed"
        );
    }
    Ok(vec![
        IDLE.limited(idle),
        OPEN.limited(open).note("each has made a call"),
    ])
}

/// Mebibytes of a process, by /proc.
async fn resident(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = tokio::fs::read_to_string(&path).await.context(path)?;
    let kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|value| value.trim().strip_suffix("kB"))
        .and_then(|value| value.trim().parse().ok())
        .context("no VmRSS")?;
    Ok(kib / 1024.0)
}
