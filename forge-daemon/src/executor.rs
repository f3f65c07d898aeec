//! Runs functions for callers: one round trip each, with the caller's identity set inside it.
//!
//! Invariants: the database decides who may call what and with which arguments, nothing here allows more; a mutation is
//! repeated only after the server said that it was rolled back (40001, 40P01), or under the caller's idempotency key; a
//! cached answer is given only to callers who are equal in every part of the identity that the answer depended on; every
//! call ends within its function's time limit.

mod action;
mod audit;
mod call;
mod caller;
mod catalog;
mod error;
mod flight;
mod memory;
mod retry;
mod routes;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use call::{Answer, Circumstances, Freshness, Order, Reply};
pub use caller::{Caller, Kind as CallerKind, Sealed};
pub use catalog::{Argument, Catalog, Function, Kind};
pub use error::Error;
pub use routes::{Found, Route, Routes};

use self::{action::Desk, audit::Audit, catalog::Keeper, flight::Flights, memory::Memory};
use crate::{
    app::Context,
    config::Cache,
    db::{Db, Wakeups},
    service::Tasks,
};

/// Runs functions. Clones share everything.
#[derive(Clone)]
pub struct Executor {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    keeper: Keeper,
    memory: Memory,
    flights: Flights,
    desk: Desk,
    audit: Audit,
}

impl Executor {
    /// An executor on `db`; nothing is read yet.
    pub fn new(db: &Db, cache: &Cache) -> Self {
        Self {
            inner: Arc::new(Inner {
                db: db.clone(),
                keeper: Keeper::new(db.clone()),
                memory: Memory::new(cache),
                flights: Flights::default(),
                desk: Desk::new(db.clone()),
                audit: Audit::new(db.clone()),
            }),
        }
    }

    /// Starts what keeps an executor current.
    pub fn start(context: &Context) -> Self {
        let executor = Self::new(&context.db, &context.config.cache);
        executor.spawn(&context.tasks, &context.wakeups);
        executor
    }

    fn spawn(&self, tasks: &Tasks, wakeups: &Wakeups) {
        let (inner, hints) = (self.inner.clone(), wakeups.clone());
        tasks.spawn("function catalog", |stop| async move {
            inner.keeper.follow(hints, stop).await;
        });
        let inner = self.inner.clone();
        tasks.spawn("audit", |stop| async move { inner.audit.serve(stop).await });
        let inner = self.inner.clone();
        tasks.spawn("action results", |stop| async move {
            inner.desk.serve(stop).await;
        });
    }

    /// Collects the results of actions until `stop`: for programs that wait for them without a node's tasks.
    pub async fn serve_results(&self, stop: CancellationToken) {
        self.inner.desk.serve(stop).await;
    }

    /// What is registered, as last read.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.inner.keeper.current()
    }

    /// What is registered, read after this call began.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn reread(&self) -> Result<Arc<Catalog>, Error> {
        Ok(self.inner.keeper.reread().await?)
    }
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor").finish_non_exhaustive()
    }
}
