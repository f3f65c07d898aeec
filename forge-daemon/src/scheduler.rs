//! The leader's duties: schedules, promotion of due work, rescue, maintenance.
//!
//! Invariants: a duty runs on the node that holds it and nowhere else; each run is idempotent and carries the fencing
//! term; a run is given up when the tenure ends; between runs the node sleeps until the database says something is due
//! or a hint arrives.

mod duty;
mod maintain;
mod promote;
mod rescue;
mod run;
mod schedules;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{app::Context, cluster::Cluster};
use run::Runner;

/// The duties this node stands for.
#[derive(Debug)]
pub struct Scheduler {
    stop: CancellationToken,
    ended: watch::Receiver<()>,
}

/// Does each duty whenever this node is elected to it.
pub fn start(context: &Context, cluster: &Cluster) -> Scheduler {
    let stop = CancellationToken::new();
    let (running, ended) = watch::channel(());
    let runner = Runner {
        context: context.clone(),
        cluster: cluster.clone(),
        stop: stop.clone(),
        running,
    };
    let pace = &context.config.scheduler;
    runner.spawn(schedules::Schedules);
    runner.spawn(promote::Promote::new(pace.promote_max));
    runner.spawn(rescue::Rescue::new(pace.rescue_interval.get()));
    runner.spawn(maintain::Maintain::new(pace.maintain_interval.get()));
    Scheduler { stop, ended }
}

impl Scheduler {
    /// Stops doing duties and waits for runs in progress. The leases themselves are given up when the node leaves.
    pub async fn resign(&self) {
        self.stop.cancel();
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}
