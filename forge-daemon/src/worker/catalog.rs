//! The kinds of job there are, kept in step with the database.
//!
//! Read again when the heartbeat says that they changed; a slow poll covers a database that does not say.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use super::kind::{Kind, Row};
use crate::{
    app::Context,
    cluster::Cluster,
    db::{Db, Error, Query, Wakeup, backoff},
};

const KINDS: Query = Query::new(
    "job_kinds",
    "SELECT kind, handler, capability, options, timeout_ms, paused FROM forge_private.job_kinds()",
    &[],
);

/// Time between two looks when the heartbeat tells the version of the catalog, and when it does not.
const TOLD: Duration = Duration::from_secs(120);
const UNTOLD: Duration = Duration::from_secs(5);

/// All kinds at one moment.
#[derive(Debug, Default)]
pub struct Catalog {
    kinds: BTreeMap<Arc<str>, Arc<Kind>>,
}

impl Catalog {
    fn new(kinds: impl IntoIterator<Item = Kind>) -> Self {
        Self {
            kinds: kinds
                .into_iter()
                .map(|kind| (kind.name.clone(), Arc::new(kind)))
                .collect(),
        }
    }

    /// The kind called `name`.
    pub fn get(&self, name: &str) -> Option<&Arc<Kind>> {
        self.kinds.get(name)
    }

    /// Kinds that may be claimed now.
    pub fn open(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.values().filter(|kind| !kind.paused)
    }
}

/// Starts keeping the catalog; readers begin with an empty one.
pub(super) fn follow(context: &Context, cluster: &Cluster) -> watch::Receiver<Arc<Catalog>> {
    let (kinds, reader) = watch::channel(Arc::default());
    let keeper = Keeper {
        context: context.clone(),
        cluster: cluster.clone(),
        kinds,
    };
    context
        .tasks
        .spawn("worker catalog", |stop| keeper.run(stop));
    reader
}

struct Keeper {
    context: Context,
    cluster: Cluster,
    kinds: watch::Sender<Arc<Catalog>>,
}

impl Keeper {
    async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep() => {}
        }
    }

    async fn keep(&self) {
        let mut version = self.cluster.catalog_version();
        let mut hints = self.context.wakeups.subscribe();
        let mut pauses = backoff();
        loop {
            let told = version.borrow_and_update().is_some();
            match read(&self.context.db).await {
                Ok(catalog) => {
                    pauses = backoff();
                    self.publish(catalog);
                }
                Err(error) => {
                    let pause = pauses.next().unwrap_or(UNTOLD);
                    tracing::warn!(%error, retry_in = ?pause, "the registered kinds could not be read");
                    sleep(pause).await;
                    continue;
                }
            }
            let hint = async {
                if told {
                    hints.next_of(&[]).await
                } else {
                    hints.next_of(&[Wakeup::Control]).await
                }
            };
            tokio::select! {
                Ok(()) = version.changed() => {}
                _ = hint => {}
                () = sleep(if told { TOLD } else { UNTOLD }) => {}
            }
        }
    }

    fn publish(&self, catalog: Catalog) {
        self.kinds.send_if_modified(|known| {
            let changed = known.kinds != catalog.kinds;
            if changed {
                tracing::debug!(kinds = catalog.kinds.len(), "registered kinds changed");
                *known = Arc::new(catalog);
            }
            changed
        });
    }
}

async fn read(db: &Db) -> Result<Catalog, Error> {
    let rows = db.rows(&KINDS, &[]).await?;
    let read = |row: &tokio_postgres::Row| -> Result<Row, tokio_postgres::Error> {
        Ok(Row {
            kind: row.try_get(0)?,
            handler: row.try_get(1)?,
            capability: row.try_get(2)?,
            options: row.try_get::<_, Option<Value>>(3)?.unwrap_or_default(),
            timeout_ms: row.try_get(4)?,
            paused: row.try_get(5)?,
        })
    };
    let mut kinds = Vec::with_capacity(rows.len());
    for row in &rows {
        match Kind::read(read(row).map_err(|error| KINDS.unexpected(error))?) {
            Ok(kind) => kinds.push(kind),
            // Registered by a newer version perhaps: others may run it.
            Err(error) => tracing::warn!(error, "this node cannot run a registered kind"),
        }
    }
    Ok(Catalog::new(kinds))
}

#[cfg(test)]
mod tests {
    use super::{super::kind::tests::kind, *};

    #[test]
    fn paused_kinds_are_not_open() {
        let mut paused = kind("b", "native:b", "general");
        paused.paused = true;
        let catalog = Catalog::new([kind("a", "native:a", "general"), paused]);
        assert_eq!(
            catalog.open().map(|kind| &*kind.name).collect::<Vec<_>>(),
            ["a"]
        );
        assert!(catalog.get("b").is_some());
    }
}
