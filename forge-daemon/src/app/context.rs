//! What every part of a node is handed: configuration, database, hints, native handlers, the two stop signals.

use std::{net::SocketAddr, sync::Arc};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    db::{Db, Wakeups},
    service::Tasks,
    worker::native::Natives,
};

/// Where a node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Waiting for the database, or not yet registered.
    Starting,
    /// Taking work.
    Active,
    /// Refusing new work, finishing what runs.
    Draining,
}

/// Addresses really bound, with port 0 resolved.
#[derive(Clone, Copy, Debug, Default)]
pub struct Addresses {
    /// The HTTP door, when this node is a gateway.
    pub http: Option<SocketAddr>,
    /// The gRPC door, when this node serves it.
    pub grpc: Option<SocketAddr>,
}

/// The shared parts of a node. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Context {
    /// The configuration, checked.
    pub config: Arc<Config>,
    /// Statements.
    pub db: Db,
    /// Hints.
    pub wakeups: Wakeups,
    /// Handlers of `native:` kinds.
    pub natives: Arc<Natives>,
    /// Addresses bound.
    pub addresses: Addresses,
    /// Starts tasks; its token means: stop now.
    pub tasks: Tasks,
    /// First stop signal: take no new work, finish what runs.
    pub drain: CancellationToken,
    /// Second stop signal: give up waiting; what still runs is returned or left to rescue.
    pub force: CancellationToken,
    /// Told when files should be read anew, as SIGHUP asks.
    pub(super) reload: Arc<watch::Sender<()>>,
    /// Set when someone asked this node to drain and end, as SIGTERM does.
    pub(super) asked: CancellationToken,
    pub(super) phase: Arc<watch::Sender<Phase>>,
}

impl Context {
    /// Where the node is now.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Follows where the node is.
    pub fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Asks the node to drain and end, as SIGTERM does.
    pub fn request_drain(&self) {
        self.asked.cancel();
    }

    /// Reads certificates anew, as SIGHUP does; also done when their files change.
    pub fn reload(&self) {
        self.reload.send_replace(());
    }

    /// The address others reach this node's HTTP door at.
    pub fn http_address(&self) -> Option<String> {
        address(self.config.http.advertise.as_ref(), self.addresses.http)
    }

    /// The address others reach this node's gRPC door at.
    pub fn grpc_address(&self) -> Option<String> {
        address(self.config.grpc.advertise.as_ref(), self.addresses.grpc)
    }
}

fn address(advertised: Option<&String>, bound: Option<SocketAddr>) -> Option<String> {
    let bound = bound?;
    Some(advertised.cloned().unwrap_or_else(|| bound.to_string()))
}

#[cfg(test)]
impl Context {
    /// A context whose database is never there.
    pub(crate) fn unconnected() -> Self {
        let mut config = Config::default();
        config.database.url = crate::config::Secret::new("postgres://nobody@127.0.0.1:1/nothing");
        let db = Db::new(&config.database).expect("the URL is well-formed");
        Self {
            config: Arc::new(config),
            db,
            wakeups: Wakeups::default(),
            natives: Arc::default(),
            addresses: Addresses::default(),
            tasks: Tasks::new(),
            drain: CancellationToken::new(),
            force: CancellationToken::new(),
            reload: Arc::new(watch::Sender::new(())),
            asked: CancellationToken::new(),
            phase: Arc::new(watch::Sender::new(Phase::Active)),
        }
    }

    /// Puts the node into `phase`.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }
}
