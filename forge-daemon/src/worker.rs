//! Claims and runs jobs.
//!
//! Kinds are run by how they are handled, each sort with claim loops and limits of its own: [`native`] Rust code,
//! `sql:` functions, `http:` calls and [`remote`] workers. Invariants: never more is claimed than there is room for;
//! every claimed job ends in exactly one outcome, or its lease is lost; after a drain this node holds nothing.

mod catalog;
mod claim;
mod desk;
mod flush;
mod http;
mod job;
mod json;
mod kind;
mod meters;
pub mod native;
mod outcome;
mod progress;
pub mod remote;
mod running;
mod sql;
mod stop;
mod supervise;

use std::{sync::Arc, time::Duration};

use tokio::{sync::Notify, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use json::JsonText;
pub use outcome::Outcome;
use remote::Remotes;

use crate::{app::Context, cluster::Cluster, db::Wakeup};
use claim::{Lane, Runner, Slots, Source};
use desk::Desk;
use stop::Reason;

/// Claim loops of native jobs: one claims while the other starts what it claimed.
const NATIVE_LANES: usize = 2;

/// The job runner of this node.
#[derive(Debug)]
pub struct Worker {
    desk: Arc<Desk>,
    remotes: Remotes,
}

/// Who is told that work may be ready.
#[derive(Default)]
struct Wakes {
    native: Arc<Notify>,
    http: Arc<Notify>,
    quick: Arc<Notify>,
    slow: Arc<Notify>,
}

impl Worker {
    /// Starts to claim and run jobs.
    pub fn start(context: &Context, cluster: &Cluster) -> Worker {
        let config = &context.config;
        let desk = Arc::new(Desk {
            catalog: catalog::follow(context, cluster),
            flush: flush::Flush::start(context, cluster),
            running: running::Running::new(cluster.clone()),
            progress: progress::Progress::start(context),
            tracker: TaskTracker::new(),
            hurry: CancellationToken::new(),
            context: context.clone(),
            cluster: cluster.clone(),
        });
        let wakes = Wakes::default();
        let shared = Source::new(&desk);
        let remotes = Remotes::new(desk.clone(), shared.clone(), config.grpc.max_workers);
        start_native(&desk, &wakes.native);
        start_http(&desk, &wakes.http, &shared);
        start_sql(&desk, &wakes, &shared);
        follow_hints(&desk, wakes, remotes.clone());
        follow_cancels(&desk);
        follow_lives(&desk);
        Worker { desk, remotes }
    }

    /// The remote workers connected to this node.
    pub fn remotes(&self) -> &Remotes {
        &self.remotes
    }

    /// The node's membership.
    pub fn cluster(&self) -> &Cluster {
        &self.desk.cluster
    }

    /// Waits for running jobs at most `within`; then tells the others to stop and returns what they leave to the queue
    /// without using an attempt. Claims must have been stopped by the drain signal.
    pub async fn drain(&self, within: Duration) {
        let desk = &self.desk;
        desk.tracker.close();
        let ended = tokio::select! {
            ended = timeout(within, desk.tracker.wait()) => ended.is_ok(),
            () = desk.context.force.cancelled() => false,
        };
        if !ended {
            tracing::warn!(
                jobs = desk.running.len(),
                "jobs are told to stop and return to the queue"
            );
            desk.hurry.cancel();
            desk.running.stop_all(Reason::NodeStopping);
            desk.tracker.wait().await;
        }
        desk.flush.idle().await;
    }
}

fn start_native(desk: &Arc<Desk>, wake: &Arc<Notify>) {
    if desk.context.natives.is_empty() {
        return;
    }
    let config = &desk.context.config.worker;
    // So that one lane does not set aside the room of the other.
    let share = config.concurrency.div_ceil(NATIVE_LANES);
    let slots = Slots::new(config.concurrency, config.claim_max.min(share));
    for number in 0..NATIVE_LANES {
        let runner = native::NativeRunner::new(desk.clone(), slots.share());
        spawn(desk, runner, Source::new(desk), wake, number == 0);
    }
}

fn start_http(desk: &Arc<Desk>, wake: &Arc<Notify>, source: &Source) {
    let config = &desk.context.config.worker;
    let slots = Slots::new(config.concurrency, config.claim_max);
    match http::HttpRunner::new(desk.clone(), slots, wake.clone()) {
        Ok(runner) => spawn(desk, runner, source.clone(), wake, true),
        Err(error) => tracing::error!(error, "this node runs no http: jobs"),
    }
}

fn start_sql(desk: &Arc<Desk>, wakes: &Wakes, source: &Source) {
    let config = &desk.context.config.worker;
    let costs = sql::Costs::new(wakes.slow.clone());
    for number in 0..config.sql_lanes {
        spawn(
            desk,
            sql::Quick::new(desk.clone(), costs.clone()),
            source.clone(),
            &wakes.quick,
            number == 0,
        );
    }
    for number in 0..config.sql_slow_lanes {
        spawn(
            desk,
            sql::Slow::new(desk.clone(), costs.clone()),
            source.clone(),
            &wakes.slow,
            number == 0,
        );
    }
}

fn spawn<R: Runner>(desk: &Arc<Desk>, runner: R, source: Source, wake: &Arc<Notify>, polls: bool) {
    let lane = Lane {
        desk: desk.clone(),
        runner,
        source,
        wake: wake.clone(),
        polls,
    };
    desk.tracker.spawn(lane.run());
}

/// Passes hints on to one idle claim loop of each sort; it wakes others when there is more.
fn follow_hints(desk: &Arc<Desk>, wakes: Wakes, remotes: Remotes) {
    let mut hints = desk.context.wakeups.subscribe();
    desk.context.tasks.spawn("worker hints", |stop| async move {
        let work = async {
            loop {
                hints.next_of(&[Wakeup::Jobs]).await;
                for wake in [&wakes.native, &wakes.quick, &wakes.slow, &wakes.http] {
                    wake.notify_one();
                }
                remotes.wake();
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    });
}

/// Tells running jobs to stop that someone wants cancelled.
fn follow_cancels(desk: &Arc<Desk>) {
    let mut cancels = desk.cluster.cancels();
    let running = desk.running.clone();
    desk.context
        .tasks
        .spawn("worker cancels", |stop| async move {
            let work = async {
                while cancels.changed().await.is_ok() {
                    let ids = cancels.borrow_and_update().clone();
                    for id in ids {
                        running.stop(id, Reason::Cancelled);
                    }
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
}

/// Stops every job of a life that was lost.
fn follow_lives(desk: &Arc<Desk>) {
    let cluster = desk.cluster.clone();
    let running = desk.running.clone();
    desk.context.tasks.spawn("worker lives", |stop| async move {
        let work = async {
            loop {
                cluster.living().await.lost().cancelled().await;
                running.stop_lost();
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    });
}
