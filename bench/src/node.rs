//! A Forge node inside this process, over the daemon's library, so that a handler written here can
//! tell when a job started.

use crate::bench::Bench;
use anyhow::Context;
use forge_daemon::app::Running;
use forge_daemon::config::{Role, Secret};
use forge_daemon::{Config, Failure, Forge, Job, Phase};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// The longest a node may take until it takes work.
const START_LIMIT: Duration = Duration::from_secs(30);
/// The longest a node may take to stop in order.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The native handler of every measured kind: `native:bench`.
pub const HANDLER: &str = "bench";

/// A running node. Dropped without [`Node::stop`], it is stopped in the background.
pub struct Node {
    running: Option<Running>,
}

impl Node {
    /// Starts a node that works on `queue` alone and calls `seen` at the start of each job of a kind
    /// with handler `native:bench`; waits until it takes work.
    ///
    /// # Errors
    /// It is refused, or not ready within half a minute.
    pub async fn start(
        bench: &Bench,
        queue: &str,
        seen: impl Fn(&Job) + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let mut config = config(bench);
        config.worker.queues = Some(vec![queue.to_owned()]);
        Self::started(config, seen).await
    }

    /// Starts a node with every role and nothing to do.
    ///
    /// # Errors
    /// It is refused, or not ready within half a minute.
    pub async fn idle(bench: &Bench) -> anyhow::Result<Self> {
        Self::started(config(bench), |_| ()).await
    }

    async fn started(
        config: Config,
        seen: impl Fn(&Job) + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let seen = Arc::new(seen);
        let running = Forge::builder()
            .config(config)
            .native(HANDLER, move |job: Job| {
                seen(&job);
                async { Ok::<_, Failure>(Value::Null) }
            })
            .start()
            .await
            .context("the node was refused")?;
        let mut phases = running.context().phases();
        let node = Self {
            running: Some(running),
        };
        tokio::time::timeout(
            START_LIMIT,
            phases.wait_for(|phase| *phase == Phase::Active),
        )
        .await
        .with_context(|| format!("the node took no work within {} s", START_LIMIT.as_secs()))?
        .context("the node ended at its start")?;
        Ok(node)
    }

    /// Stops the node in order: what it holds is finished and written.
    ///
    /// # Errors
    /// It has not ended within half a minute.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        tokio::time::timeout(STOP_LIMIT, running.stop())
            .await
            .with_context(|| format!("the node did not stop within {} s", STOP_LIMIT.as_secs()))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.context().force.cancel();
            tokio::spawn(running.stop());
        }
    }
}

/// The defaults of a production node, on free ports.
fn config(bench: &Bench) -> Config {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = Config::default();
    config.database.url = Secret::new(&bench.daemon_url);
    // Whoever measures an own database may do so with an own role.
    config.database.allow_superuser = bench.daemon_url == bench.url;
    config.node.name = Some("bench".to_owned());
    config.node.roles = Role::ALL.to_vec();
    config.http.listen = anywhere;
    config.grpc.listen = anywhere;
    config
}
