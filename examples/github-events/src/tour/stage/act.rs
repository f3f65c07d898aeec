//! The acts: replay, kill, third node, the end of all jobs, the receiver's pardon, the last digest.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Run, Stage};
use crate::{
    plan::Plan,
    receiver::Report,
    replay::{Book, Counters, Fleet, Replay},
    tour::{Options, audit::Audit, node::Node, progress::Progress, table::thousands},
};

/// Share of the deliveries after which a node is killed.
const KILL_AFTER: f64 = 0.4;
/// How long a delivery is sent again before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);

impl Stage {
    /// Plays all acts.
    ///
    /// # Errors
    /// What did not happen in time.
    pub async fn perform(&mut self, options: &Options) -> Result<Run> {
        Audit::begin(&self.database).await?;
        let plan = Plan::new(self.payloads.len(), options.repeat, options.seed);
        let (planned, requests) = (plan.good, plan.requests());
        println!(
            "replaying {} deliveries ({} requests) by {} senders",
            thousands(planned as u64),
            thousands(requests as u64),
            options.senders
        );
        let counters = Arc::<Counters>::default();
        let progress = Progress::new(Arc::clone(&counters), requests)?;
        let fleet = Fleet::new(self.nodes.iter().map(Node::url).collect());
        let replay = Replay {
            plan,
            payloads: self.payloads.to_vec(),
            fleet: fleet.clone(),
            secret: self.webhook_secret.clone(),
            senders: options.senders,
            rate: options.rate,
            patience: PATIENCE,
            counters: Arc::clone(&counters),
        };
        // Dropping the guard stops the senders, should an act fail.
        let stop = CancellationToken::new();
        let _guard = stop.clone().drop_guard();
        let replay = tokio::spawn(replay.run(stop));

        let kill_at = (planned as f64 * KILL_AFTER) as u64;
        self.until_accepted(&counters, kill_at, &progress, &replay, options.deadline())
            .await?;
        let mut names = self.node_names().await?;
        self.kill_second(&progress).await?;
        let third = self.start_third(&fleet, &progress).await?;
        let after_third = (planned as u64).saturating_sub(accepted(&counters));
        names.extend(self.node_names().await?);
        self.until_sent(&replay, &progress, options.deadline())
            .await?;
        let book: Book = replay.await.context("the senders panicked")??;
        progress.event("every delivery is answered");

        self.until_ended(&progress, options.deadline()).await?;
        let dead_before = self.dead().await?;
        let redriven = self.pardon(&progress, dead_before).await?;
        self.until_ended(&progress, options.deadline()).await?;
        let seconds = progress.elapsed().as_secs_f64();
        progress.event("every job has ended");
        self.until_digest().await?;
        self.until_buried().await?;
        progress.finish();
        Ok(Run {
            book,
            report: self.report().await?,
            planned,
            dead_before,
            redriven,
            third,
            after_third,
            names,
            seconds,
        })
    }

    /// Kills node 2 as a power cut would.
    async fn kill_second(&mut self, progress: &Progress) -> Result<()> {
        let id = self.node_id("node-2").await?;
        self.until_busy(id).await?;
        let mut victim = self.nodes.remove(1);
        let pid = victim.child.pid().unwrap_or_default();
        victim.child.kill().await?;
        let orphaned = self.running_on(id).await?;
        progress.event(&format!(
            "kill -9 {pid}: node-2 is gone, with {orphaned} running jobs; its peers notice within 15 s"
        ));
        Ok(())
    }

    /// Starts node 3 and tells the senders, as a load balancer would.
    async fn start_third(&mut self, fleet: &Fleet, progress: &Progress) -> Result<Uuid> {
        let mut third = Node::start(&self.site, 3)?;
        third.ready(&self.http).await?;
        self.nodes.push(third);
        fleet.set(self.nodes.iter().map(Node::url).collect());
        progress.event("node-3 has joined");
        self.node_id("node-3").await
    }

    /// Repairs the receiver and sends its dead jobs round again.
    async fn pardon(&self, progress: &Progress, dead: i64) -> Result<i64> {
        let answer: Value = self
            .http
            .post(format!("{}/pardon", self.receiver_url))
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        let statement = "SELECT forge.redrive(queue => 'callout')";
        let redriven: i64 = self.database.query_one(statement, &[]).await?.get(0);
        progress.event(&format!(
            "{dead} jobs were dead; the receiver is repaired ({} calls pardoned), {redriven} redriven",
            answer["pardoned"]
        ));
        Ok(redriven)
    }

    async fn report(&self) -> Result<Report> {
        let url = format!("{}/report", self.receiver_url);
        let answer = self.http.get(url).send().await?.error_for_status()?;
        Ok(answer.json().await?)
    }

    /// Names of the nodes known now.
    async fn node_names(&self) -> Result<BTreeMap<Uuid, String>> {
        let rows = self
            .database
            .query("SELECT id, name FROM forge.nodes", &[])
            .await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// The database's id of a node, by its name. The newest, should one have been declared dead and come back.
    async fn node_id(&self, name: &str) -> Result<Uuid> {
        let statement = "SELECT id FROM forge.nodes WHERE name = $1 AND state <> 'dead' ORDER BY started_at DESC LIMIT 1";
        let row = self.database.query_opt(statement, &[&name]).await?;
        ensure!(row.is_some(), "forge.nodes does not list {name}");
        Ok(row.map(|row| row.get(0)).unwrap_or_default())
    }
}

/// How many good deliveries were accepted so far.
pub(super) fn accepted(counters: &Counters) -> u64 {
    counters.accepted.load(Ordering::Relaxed)
}
