//! This node among the others: registration, heartbeat, leadership, leaving.
//!
//! Invariants: work is done only inside a [`Life`]; when it is lost every job under it stops; a node is leader of a duty
//! only while the [`Tenure`] is trusted on the monotonic clock. One statement every few seconds carries heartbeat,
//! leadership and cancel requests.

mod heart;
mod leader;
mod life;
mod load;
mod query;

use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use leader::{Duty, Seat, Tenure};
pub use life::{Life, NODE_LEASE};
pub use load::Load;

use crate::app::Context;
use leader::Leadership;

/// This node's membership. Clones share it.
#[derive(Clone, Debug)]
pub struct Cluster {
    shared: Arc<Shared>,
}

/// What the heartbeat tells the rest of the node, and the other way round.
#[derive(Debug)]
struct Shared {
    life: watch::Sender<Option<Arc<Life>>>,
    leadership: Leadership,
    cancels: watch::Sender<Vec<Uuid>>,
    catalog: watch::Sender<Option<i64>>,
    load: Load,
    poke: Notify,
    leave: CancellationToken,
    left: CancellationToken,
}

impl Shared {
    /// Ends the present life, if any: its jobs stop, its duties end.
    fn end_life(&self) {
        self.leadership.clear();
        if let Some(life) = self.life.send_replace(None) {
            life.lost().cancel();
        }
    }
}

impl Cluster {
    /// Registers the node, trying until it works; `None` when the drain began first.
    pub async fn start(context: &Context) -> Option<Cluster> {
        let shared = Arc::new(Shared {
            life: watch::Sender::new(None),
            leadership: Leadership::default(),
            cancels: watch::Sender::default(),
            catalog: watch::Sender::new(None),
            load: Load::default(),
            poke: Notify::new(),
            leave: CancellationToken::new(),
            left: CancellationToken::new(),
        });
        let heart = heart::Heart::new(context, shared.clone());
        context
            .tasks
            .spawn("cluster heartbeat", |stop| heart.run(stop));
        let cluster = Cluster { shared };
        tokio::select! {
            () = context.drain.cancelled() => {
                cluster.leave().await;
                None
            }
            _ = cluster.living() => Some(cluster),
        }
    }

    /// The present life; `None` while the node is not registered.
    pub fn life(&self) -> Option<Arc<Life>> {
        self.shared.life.borrow().clone()
    }

    /// Follows the lives of this node.
    pub fn lives(&self) -> watch::Receiver<Option<Arc<Life>>> {
        self.shared.life.subscribe()
    }

    /// Waits until the node is registered.
    pub async fn living(&self) -> Arc<Life> {
        let mut lives = self.lives();
        loop {
            if let Some(life) = lives.borrow_and_update().clone() {
                return life;
            }
            if lives.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The node's id now; it changes when the node was taken for dead.
    pub fn node_id(&self) -> Option<Uuid> {
        self.life().map(|life| life.id())
    }

    /// The seat of `duty`, which this node may hold or not.
    pub fn seat(&self, duty: Duty) -> Seat {
        self.shared.leadership.seat(duty)
    }

    /// Duties held now with their terms.
    pub fn held(&self) -> Vec<(Duty, i64)> {
        self.shared.leadership.held()
    }

    /// Jobs of this node that someone wants cancelled, as of the last heartbeat.
    pub fn cancels(&self) -> watch::Receiver<Vec<Uuid>> {
        self.shared.cancels.subscribe()
    }

    /// Changes when the registered kinds do, as of the last heartbeat.
    pub fn catalog_version(&self) -> watch::Receiver<Option<i64>> {
        self.shared.catalog.subscribe()
    }

    /// What is told to the others about how busy this node is.
    pub fn load(&self) -> &Load {
        &self.shared.load
    }

    /// Beats soon: something suggests that the database sees this node differently.
    pub fn poke(&self) {
        self.shared.poke.notify_one();
    }

    /// Gives up every duty held, then leaves: unfinished members of the node's leases return to the queue unused.
    pub async fn leave(&self) {
        self.shared.leave.cancel();
        self.shared.left.cancelled().await;
    }
}
