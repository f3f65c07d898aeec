//! Nodes as processes: this program itself, running the daemon's library with the handlers that the
//! rows need.

use crate::bench::Bench;
use anyhow::Context;
use forge_daemon::{Failure, Forge, Job};
use forge_tests::{Node, NodeOptions};
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio_postgres::Client;
use uuid::Uuid;

/// The handler of a job that does nothing.
pub const NOOP: &str = "bench_noop";
/// The handler of a job that runs until it is cancelled.
pub const HOLD: &str = "bench_hold";
/// The subcommand of this program that is a node.
pub const SERVE: &str = "node";

/// The longest a job of the second handler runs if nobody cancels it.
const HELD: Duration = Duration::from_secs(600);

/// Runs a node of the fleet, configured by the environment, until it is stopped.
pub async fn serve() -> ExitCode {
    Forge::builder()
        .native(NOOP, |_: Job| async { Ok::<_, Failure>(Value::Null) })
        .native(HOLD, |job: Job| async move {
            tokio::select! {
                () = tokio::time::sleep(HELD) => Ok(Value::Null),
                () = job.cancelled().cancelled_owned() => Err(Failure::cancelled()),
            }
        })
        .run()
        .await
}

/// Running nodes, killed when dropped.
pub struct Fleet {
    nodes: Vec<Node>,
    /// What sets its names apart from those of earlier fleets.
    run: String,
    started: usize,
    daemon_url: String,
    logs: PathBuf,
}

impl Fleet {
    /// Starts `size` nodes and waits until each takes work.
    pub async fn start(bench: &Bench, size: usize) -> anyhow::Result<Self> {
        let run = Uuid::now_v7().simple().to_string();
        let logs = std::env::temp_dir().join(format!("forge-bench-{run}"));
        std::fs::create_dir_all(&logs)
            .with_context(|| format!("no directory {}", logs.display()))?;
        let mut fleet = Self {
            nodes: Vec::new(),
            run,
            started: 0,
            daemon_url: bench.daemon_url.clone(),
            logs,
        };
        let superuser = bench.daemon_url == bench.url;
        for _ in 0..size {
            fleet.grow(superuser).await?;
        }
        Ok(fleet)
    }

    /// Adds a node, in place of one that is gone.
    pub async fn grow(&mut self, superuser: bool) -> anyhow::Result<()> {
        self.started += 1;
        let name = format!("bench-{}-{}", self.run, self.started);
        let mut options = NodeOptions::new(&name, &self.daemon_url, &self.logs)
            .set("FORGE_DATABASE__ALLOW_SUPERUSER", superuser)
            .set("FORGE_WORKER__DRAIN_TIMEOUT", "200ms")
            .set("FORGE_LOG__LEVEL", "warn");
        let program = std::env::current_exe().context("this program's own path is unknown")?;
        options.program = Some((program, vec![SERVE.to_owned()]));
        let node = tokio::task::spawn_blocking(move || Node::start(options)).await??;
        self.nodes.push(node);
        Ok(())
    }

    /// The names of its nodes.
    pub fn names(&self) -> Vec<String> {
        self.nodes
            .iter()
            .map(|node| node.name().to_owned())
            .collect()
    }

    /// Takes the node called `name` out of the fleet, still running.
    pub fn take(&mut self, name: &str) -> anyhow::Result<Node> {
        let index = self
            .nodes
            .iter()
            .position(|node| node.name() == name)
            .with_context(|| format!("no node {name} in the fleet"))?;
        Ok(self.nodes.remove(index))
    }

    /// Stops every node in order.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        for mut node in std::mem::take(&mut self.nodes) {
            tokio::task::spawn_blocking(move || node.stop()).await??;
        }
        Ok(())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.nodes.clear();
        let _ = std::fs::remove_dir_all(&self.logs);
    }
}

/// The name of a living node.
pub async fn name_of(client: &Client, id: Uuid) -> anyhow::Result<String> {
    let row = client
        .query_opt("select name from forge.nodes where id = $1", &[&id])
        .await
        .context("forge.nodes is not as the contract says")?;
    Ok(row
        .with_context(|| format!("no node {id} in forge.nodes"))?
        .get(0))
}
