//! What an installation of three nodes asks of the database while there is nothing to do.

use crate::bench::Bench;
use crate::gate::{Gate, Goal, Row};
use crate::node::Node;
use crate::session;
use crate::suite::Entry;
use anyhow::{Context, ensure};
use std::time::{Duration, Instant};
use tokio_postgres::Client;

const GATE: Gate = Gate {
    name: "idle installation, 3 nodes",
    unit: "queries/s",
    peer: "limit",
    goal: Goal::Below(2.0),
};

pub const ENTRY: Entry = Entry {
    gates: &[GATE],
    limit: Duration::from_secs(180),
    run: |bench| Box::pin(run(bench)),
};

async fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let client = session::open(&bench.url).await?;
    let source = Source::of(&client).await?;
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Node::idle(bench).await?);
    }
    // Joining, electing and catching up are over by then, and what sessions counted meanwhile is
    // told: a session that does nothing tells ten seconds later.
    tokio::time::sleep(bench.millis(15_000, 11_000)).await;
    let before = source.read(&client).await?;
    let began = Instant::now();
    tokio::time::sleep(bench.millis(60_000, 6_000)).await;
    let asked = source.read(&client).await? - before - source.own_share();
    let seconds = began.elapsed().as_secs_f64();
    ensure!(asked >= 0.0, "the statistics were reset meanwhile");
    for node in nodes {
        node.stop().await?;
    }
    Ok(vec![
        GATE.limited(asked / seconds)
            .note(format!("{} over {seconds:.0} s", source.name())),
    ])
}

/// Where the number of queries comes from.
#[derive(Clone, Copy)]
enum Source {
    /// Statements of clients, counted one by one.
    Statements,
    /// Transactions, those of background workers and autovacuum included.
    Transactions,
}

impl Source {
    async fn of(client: &Client) -> anyhow::Result<Self> {
        let preloaded: bool = client
            .query_one(
                "select current_setting('shared_preload_libraries') ~ '\\mpg_stat_statements\\M'",
                &[],
            )
            .await?
            .get(0);
        if !preloaded {
            return Ok(Self::Transactions);
        }
        client
            .batch_execute("create extension if not exists pg_stat_statements")
            .await
            .context("pg_stat_statements is preloaded but not installable")?;
        Ok(Self::Statements)
    }

    async fn read(self, client: &Client) -> anyhow::Result<f64> {
        let query = match self {
            Self::Statements => {
                "select sum(calls)::float8 from pg_stat_statements
                 where dbid = (select oid from pg_database where datname = current_database())"
            }
            Self::Transactions => {
                "select (xact_commit + xact_rollback)::float8 from pg_stat_database
                 where datname = current_database()"
            }
        };
        Ok(client
            .query_one(query, &[])
            .await
            .context("the statistics cannot be read")?
            .get(0))
    }

    /// The first reading itself is counted by the second.
    fn own_share(self) -> f64 {
        1.0
    }

    fn name(self) -> &'static str {
        match self {
            Self::Statements => "statements by pg_stat_statements",
            Self::Transactions => "transactions by pg_stat_database, background workers included",
        }
    }
}
