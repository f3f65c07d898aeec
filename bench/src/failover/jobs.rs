//! How long jobs are without a node: what a node was running when it was killed with -9, and what
//! one that was stopped in order gave back.

use super::fleet::{Fleet, HOLD, NOOP, name_of};
use crate::bench::Bench;
use crate::gate::{Gate, Goal, Row};
use crate::statistic::median;
use crate::suite::Entry;
use crate::{fixture, session};
use anyhow::{Context, ensure};
use postgres_types::Json;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const KILLED: Gate = Gate {
    name: "node killed with -9, its jobs running again",
    unit: "s",
    peer: "limit",
    goal: Goal::AtMost(15.0),
};
const STOPPED: Gate = Gate {
    name: "node stopped in order, its jobs running again",
    unit: "s",
    peer: "limit",
    goal: Goal::Below(1.0),
};

pub const ENTRY: Entry = Entry {
    gates: &[KILLED, STOPPED],
    limit: Duration::from_secs(300),
    run: |bench| Box::pin(run(bench)),
};

const HELD: &str = "bench_failover_held";
const FLOW: &str = "bench_failover_flow";
/// Jobs that run all the time, over all nodes.
const HOLDING: usize = 60;
/// The longest any of them may be without a node before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks at them.
const LOOK_EVERY: Duration = Duration::from_millis(10);

async fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let client = session::open(&bench.url).await?;
    let superuser = bench.daemon_url == bench.url;
    fixture::kind(
        &client,
        HELD,
        &format!("native:{HOLD}"),
        ", timeout => '1 hour'",
    )
    .await?;
    fixture::kind(&client, FLOW, &format!("native:{NOOP}"), "").await?;
    let mut fleet = Fleet::start(bench, 3).await?;
    let (mut killed, mut stopped, mut gaps) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds(3) {
        let round = once(bench, &client, &mut fleet, |node| node.kill()).await?;
        killed.push(round.without_node);
        gaps.push(round.gap);
        fleet.grow(superuser).await?;
        stopped.push(
            once(bench, &client, &mut fleet, |node| node.ask_to_stop())
                .await?
                .without_node,
        );
        fleet.grow(superuser).await?;
    }
    fleet.stop().await?;
    let gap = gaps.iter().copied().fold(0.0, f64::max);
    Ok(vec![
        KILLED.limited(median(&killed).context("no round")?).note(format!(
            "from the signal until the last of its jobs ran elsewhere; other jobs paused {:.0} ms at most",
            gap * 1000.0
        )),
        STOPPED
            .limited(median(&stopped).context("no round")?)
            .note("worker.drain_timeout 200 ms, which is part of it"),
    ])
}

/// What one end of a node did, in seconds.
struct Round {
    /// From the signal until its last job ran on another node.
    without_node: f64,
    /// The longest that a job enqueued meanwhile took to complete.
    gap: f64,
}

async fn once(
    bench: &Bench,
    client: &Client,
    fleet: &mut Fleet,
    end: fn(&mut forge_tests::Node) -> anyhow::Result<()>,
) -> anyhow::Result<Round> {
    let ids = hold(client).await?;
    let (victim, held) = busiest(client, &ids).await?;
    let mut node = fleet.take(&name_of(client, victim).await?)?;
    let flow = Flow::begin(bench).await?;
    let ended = Instant::now();
    let node = tokio::task::spawn_blocking(move || end(&mut node).map(|()| node)).await??;
    elsewhere(client, &held, victim, ended).await?;
    let without_node = ended.elapsed().as_secs_f64();
    let gap = flow.end().await?;
    drop(node);
    for id in &ids {
        client
            .execute("select forge.cancel($1)", &[id])
            .await
            .context("forge.cancel failed")?;
    }
    fixture::until_empty(client, HELD).await?;
    Ok(Round { without_node, gap })
}

/// Enqueues the jobs that run until they are cancelled and waits until all of them do.
async fn hold(client: &Client) -> anyhow::Result<Vec<Uuid>> {
    let args = vec![Json(json!({})); HOLDING];
    let ids: Vec<Uuid> = client
        .query(
            "select forge.enqueue_many($1, $2, queue => $1)",
            &[&HELD, &args],
        )
        .await
        .context("forge.enqueue_many failed")?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let began = Instant::now();
    loop {
        let running = on_nodes(client, &ids, None).await?;
        if running == ids.len() {
            return Ok(ids);
        }
        ensure!(
            began.elapsed() < PATIENCE,
            "{running} of {HOLDING} jobs run after {} s",
            PATIENCE.as_secs()
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The node that runs the most of `ids`, and which.
async fn busiest(client: &Client, ids: &[Uuid]) -> anyhow::Result<(Uuid, Vec<Uuid>)> {
    let row = client
        .query_one(
            "select node_id, array_agg(id) from forge.jobs where id = any($1)
             group by node_id order by count(*) desc limit 1",
            &[&ids],
        )
        .await
        .context("forge.jobs is not as the contract says")?;
    Ok((row.get(0), row.get(1)))
}

async fn elsewhere(
    client: &Client,
    held: &[Uuid],
    victim: Uuid,
    since: Instant,
) -> anyhow::Result<()> {
    loop {
        let running = on_nodes(client, held, Some(victim)).await?;
        if running == held.len() {
            return Ok(());
        }
        ensure!(
            since.elapsed() < PATIENCE,
            "{running} of the node's {} jobs run elsewhere after {} s",
            held.len(),
            PATIENCE.as_secs()
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How many of `ids` run, on a node other than `except`.
async fn on_nodes(client: &Client, ids: &[Uuid], except: Option<Uuid>) -> anyhow::Result<usize> {
    let count: i64 = client
        .query_one(
            "select count(*) from forge.jobs
             where id = any($1) and state = 'running' and node_id is distinct from $2",
            &[&ids, &except],
        )
        .await
        .context("forge.jobs is not as the contract says")?
        .get(0);
    Ok(usize::try_from(count)?)
}

/// One job after the other, enqueued and waited for.
struct Flow {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<f64>>,
}

impl Flow {
    async fn begin(bench: &Bench) -> anyhow::Result<Self> {
        let client = session::open(&bench.url).await?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut longest = 0.0_f64;
            while !stopped.is_cancelled() {
                let asked = Instant::now();
                client
                    .query_one("select forge.enqueue($1, queue => $1)", &[&FLOW])
                    .await?;
                fixture::until_empty(&client, FLOW).await?;
                longest = longest.max(asked.elapsed().as_secs_f64());
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Ok(longest)
        });
        Ok(Self { stop, task })
    }

    /// Stops it; the longest a job took from enqueue to completion, in seconds.
    async fn end(mut self) -> anyhow::Result<f64> {
        self.stop.cancel();
        (&mut self.task).await.context("the flow ended by itself")?
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
