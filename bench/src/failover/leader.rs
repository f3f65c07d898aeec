//! How long a leader's duties are without a leader: after kill -9, and after a stop in order.

use super::fleet::{Fleet, name_of};
use crate::bench::Bench;
use crate::gate::{Gate, Goal, Row};
use crate::session;
use crate::statistic::median;
use crate::suite::Entry;
use anyhow::{Context, ensure};
use std::time::{Duration, Instant};
use tokio_postgres::Client;
use uuid::Uuid;

const fn gate(name: &'static str, limit: f64) -> Gate {
    Gate {
        name,
        unit: "s",
        peer: "limit",
        goal: Goal::Below(limit),
    }
}

const KILLED: Gate = gate("leader killed with -9, duties with another node", 5.0);
const STOPPED: Gate = gate("leader stopped in order, duties with another node", 1.0);

pub const ENTRY: Entry = Entry {
    gates: &[KILLED, STOPPED],
    limit: Duration::from_secs(180),
    run: |bench| Box::pin(run(bench)),
};

/// The longest a duty may be without a leader before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks at the leaders.
const LOOK_EVERY: Duration = Duration::from_millis(5);

async fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let client = session::open(&bench.url).await?;
    let superuser = bench.daemon_url == bench.url;
    let mut fleet = Fleet::start(bench, 3).await?;
    let (mut killed, mut stopped) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds(5) {
        killed.push(once(&client, &mut fleet, |node| node.kill()).await?);
        fleet.grow(superuser).await?;
        stopped.push(once(&client, &mut fleet, |node| node.ask_to_stop()).await?);
        fleet.grow(superuser).await?;
    }
    fleet.stop().await?;
    let note = |values: &[f64]| format!("worst of {}: {:.2} s", values.len(), worst(values));
    Ok(vec![
        KILLED
            .limited(median(&killed).context("no round")?)
            .note(note(&killed)),
        STOPPED
            .limited(median(&stopped).context("no round")?)
            .note(note(&stopped)),
    ])
}

/// Ends the node that holds the most duties by `end`; seconds until another holds each of them.
async fn once(
    client: &Client,
    fleet: &mut Fleet,
    end: fn(&mut forge_tests::Node) -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    let leader = leader(client, fleet).await?;
    let duties: Vec<String> = client
        .query(
            "select duty from forge.leaders where node_id = $1",
            &[&leader],
        )
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let mut node = fleet.take(&name_of(client, leader).await?)?;
    let ended = Instant::now();
    let node = tokio::task::spawn_blocking(move || end(&mut node).map(|()| node)).await??;
    let moved = client
        .prepare(
            "select count(*) from forge.leaders
             where duty = any($1) and node_id <> $2 and expires_at > clock_timestamp()",
        )
        .await?;
    loop {
        let count: i64 = client.query_one(&moved, &[&duties, &leader]).await?.get(0);
        if usize::try_from(count)? == duties.len() {
            break;
        }
        ensure!(
            ended.elapsed() < PATIENCE,
            "{count} of the duties {duties:?} had another leader after {} s",
            PATIENCE.as_secs()
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let seconds = ended.elapsed().as_secs_f64();
    drop(node);
    Ok(seconds)
}

/// The node of the fleet with the most duties; leaders of earlier nodes run out first.
async fn leader(client: &Client, fleet: &Fleet) -> anyhow::Result<Uuid> {
    let names = fleet.names();
    let began = Instant::now();
    loop {
        let row = client
            .query_opt(
                "select node_id from forge.leaders join forge.nodes on nodes.id = leaders.node_id
                 where expires_at > clock_timestamp() and nodes.name = any($1)
                 group by node_id order by count(*) desc limit 1",
                &[&names],
            )
            .await
            .context("forge.leaders is not as the contract says")?;
        if let Some(row) = row {
            return Ok(row.get(0));
        }
        ensure!(
            began.elapsed() < PATIENCE,
            "no duty had a leader for {} s",
            PATIENCE.as_secs()
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn worst(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}
