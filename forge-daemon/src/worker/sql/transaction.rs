//! One transaction of `sql:` handlers.

use std::time::Duration;

use postgres_types::Type;
use tokio::time::timeout;
use tokio_postgres::Row;

use crate::{
    db::{Error, Line, Link, Query},
    worker::job::Lease,
};

const RUN: Query = Query::new(
    "worker_run_sql",
    "SELECT pos, outcome, error, elapsed_us FROM forge_private.worker_run_sql($1, $2, $3, $4)",
    &[Type::UUID, Type::UUID, Type::INT4_ARRAY, Type::INT4],
);
/// After the server's own limit the daemon waits this long before it gives up on the answer.
const GRACE: Duration = Duration::from_secs(5);

pub(super) const QUERIES: &[Query] = &[RUN];

/// How one member ended.
#[derive(Debug)]
pub(super) struct End {
    pub pos: i32,
    /// The job's new state.
    pub state: String,
    pub error: Option<String>,
    pub took: Duration,
}

/// What to run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work<'a> {
    pub lease: &'a Lease,
    pub positions: &'a [i32],
    /// Members that were not begun within this are left.
    pub budget: Duration,
    /// The server cancels everything after this.
    pub limit: Duration,
}

/// Runs members of a lease and commits; those not in the answer were not begun. After an error nothing was done, unless
/// the connection broke: then running the members again tells.
pub(super) async fn run(link: &mut Link, work: Work<'_>) -> Result<Vec<End>, Error> {
    let line = link.open().await?;
    let limit = work.limit.saturating_add(GRACE);
    let answer = timeout(limit, on(&line, work)).await;
    link.settle(RUN.name, limit, answer)
}

/// Begin, run and commit are sent at once: one round trip.
async fn on(line: &Line, work: Work<'_>) -> Result<Vec<End>, Error> {
    let begin = format!(
        "BEGIN; SET LOCAL statement_timeout = {}",
        crate::worker::outcome::millis(work.limit)
    );
    let budget = crate::worker::outcome::millis(work.budget);
    let node = work.lease.life.id();
    let params: [&(dyn postgres_types::ToSql + Sync); 4] =
        [&node, &work.lease.id, &work.positions, &budget];
    let (begun, ran, committed) = futures::join!(
        line.plain("begin", &begin),
        line.rows(&RUN, &params),
        line.plain("commit", "COMMIT")
    );
    begun?;
    let rows = ran?;
    committed?;
    rows.iter().map(end).collect()
}

fn end(row: &Row) -> Result<End, Error> {
    let read = || {
        let micros: Option<i32> = row.try_get(3)?;
        Ok(End {
            pos: row.try_get(0)?,
            state: row.try_get(1)?,
            error: row.try_get(2)?,
            took: Duration::from_micros(
                micros
                    .and_then(|micros| u64::try_from(micros).ok())
                    .unwrap_or(0),
            ),
        })
    };
    read().map_err(|error: tokio_postgres::Error| RUN.unexpected(error))
}
