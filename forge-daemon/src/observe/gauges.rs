//! Gauges that the database knows: read when metrics are asked for, at most every few seconds.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use metrics::Label;
use tokio::sync::Mutex;
use tokio_postgres::Row;

use crate::{
    app::Context,
    db::{Error, Query},
};

const FRESH: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(2);
/// Each row is one gauge: its name, two labels and a value.
const READ: Query = Query::new(
    "gauges",
    "SELECT 'forge_queue_depth', 'queue', q.queue, 'state', s.state, s.jobs::float8 \
       FROM forge.queues q, LATERAL (VALUES ('ready', q.ready), ('scheduled', q.scheduled), ('running', q.running), \
            ('retrying', q.retrying), ('dead', q.dead)) AS s(state, jobs) \
     UNION ALL \
     SELECT 'forge_queue_oldest_ready_seconds', 'queue', queue, NULL, NULL, \
            coalesce(extract(epoch FROM oldest_ready_age), 0)::float8 FROM forge.queues \
     UNION ALL \
     SELECT 'forge_cluster_nodes', 'state', state::text, NULL, NULL, count(*)::float8 FROM forge.nodes GROUP BY state",
    &[],
);

type Series = (String, Vec<(String, String)>);

/// Remembers when gauges were read and which there were: one that is gone is set to zero.
#[derive(Debug, Default)]
pub struct Gauges {
    state: Mutex<(Option<Instant>, HashSet<Series>)>,
}

impl Gauges {
    /// Brings the gauges up to date, unless they were read just now or the database is away.
    pub async fn refresh(&self, context: &Context) {
        let (open, idle, waiting) = context.db.usage();
        for (state, count) in [
            ("used", open.saturating_sub(idle)),
            ("idle", idle),
            ("waiting", waiting),
        ] {
            metrics::gauge!("forge_db_pool_connections", "state" => state).set(count as f64);
        }
        let mut state = self.state.lock().await;
        if state.0.is_some_and(|at| at.elapsed() < FRESH) {
            return;
        }
        state.0 = Some(Instant::now());
        match tokio::time::timeout(PATIENCE, context.db.rows(&READ, &[])).await {
            Ok(Ok(rows)) => set(&rows, &mut state.1),
            Ok(Err(error)) => report(&error),
            Err(_) => tracing::debug!("gauges were not read in time"),
        }
    }
}

fn set(rows: &[Row], known: &mut HashSet<Series>) {
    let mut seen = HashSet::new();
    for row in rows {
        let Some((series, value)) = series(row) else {
            continue;
        };
        gauge(&series).set(value);
        seen.insert(series);
    }
    known
        .difference(&seen)
        .for_each(|gone| gauge(gone).set(0.0));
    *known = seen;
}

fn series(row: &Row) -> Option<(Series, f64)> {
    let mut labels = vec![(row.try_get(1).ok()?, row.try_get(2).ok()?)];
    if let Some(name) = row.try_get::<_, Option<String>>(3).ok()? {
        labels.push((name, row.try_get(4).ok()?));
    }
    Some(((row.try_get(0).ok()?, labels), row.try_get(5).ok()?))
}

fn gauge((name, labels): &Series) -> metrics::Gauge {
    let labels: Vec<Label> = labels
        .iter()
        .map(|(name, value)| Label::new(name.clone(), value.clone()))
        .collect();
    metrics::gauge!(name.clone(), labels)
}

fn report(error: &Error) {
    tracing::debug!(%error, "gauges cannot be read; the daemon's role needs SELECT on forge.queues and forge.nodes");
}
