//! How far jobs are: the latest report of each is written now and then, never one by one.
//!
//! Bounded by the number of running jobs. The answer to a report tells whether the job should stop.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use postgres_types::Type;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    desk::Ticket,
    job::Lease,
    stop::{Reason, Stop},
};
use crate::{
    app::Context,
    db::{Error, Line, Link, Query},
};

const PROGRESS: Query = Query::new(
    "worker_progress",
    "SELECT forge_private.worker_progress($1, $2, $3, $4, $5)",
    &[Type::UUID, Type::UUID, Type::INT4, Type::FLOAT4, Type::TEXT],
);
/// Time between two writings.
const PERIOD: Duration = Duration::from_millis(250);
/// Longest that one writing may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Longest message, in characters.
const MESSAGE_MAX: usize = 500;

#[derive(Debug)]
struct Latest {
    lease: Arc<Lease>,
    pos: i32,
    stop: Arc<Stop>,
    percent: f32,
    message: String,
}

/// Where progress is reported. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    latest: Arc<Mutex<HashMap<Uuid, Latest>>>,
    reported: Arc<Notify>,
}

impl Progress {
    /// Starts writing.
    pub fn start(context: &Context) -> Self {
        let progress = Self::default();
        let writer = progress.clone();
        let link = Link::new(context.db.clone(), "progress", &[PROGRESS]);
        context
            .tasks
            .spawn("worker progress", |stop| writer.run(link, stop));
        progress
    }

    /// Notes how far the job of `ticket` is; `percent` is 0 to 100.
    pub fn report(&self, ticket: &Ticket, percent: f32, message: &str) {
        let latest = Latest {
            lease: ticket.lease.clone(),
            pos: ticket.pos,
            stop: ticket.stop.clone(),
            percent: if percent.is_finite() {
                percent.clamp(0.0, 100.0)
            } else {
                0.0
            },
            message: message
                .chars()
                .filter(|c| *c != '\0')
                .take(MESSAGE_MAX)
                .collect(),
        };
        self.lock().insert(ticket.id, latest);
        self.reported.notify_one();
    }

    /// Drops what was not written of a job that ended.
    pub fn forget(&self, id: Uuid) {
        let mut latest = self.lock();
        if !latest.is_empty() {
            latest.remove(&id);
        }
    }

    async fn run(self, mut link: Link, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.reported.notified() => {}
            }
            let latest: Vec<Latest> = self.lock().drain().map(|(_, latest)| latest).collect();
            if let Err(error) = write(&mut link, &latest).await {
                tracing::debug!(%error, "progress not written");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(PERIOD) => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Latest>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn write(link: &mut Link, latest: &[Latest]) -> Result<(), Error> {
    for part in latest.chunks(24) {
        let line = link.open().await?;
        let writes = join_all(part.iter().map(|latest| one(&line, latest)));
        let answers = timeout(LIMIT, async { Ok(writes.await) }).await;
        for (latest, answer) in part.iter().zip(link.settle(PROGRESS.name, LIMIT, answers)?) {
            match answer {
                Ok(true) => {}
                Ok(false) => latest.stop.now(Reason::Cancelled),
                Err(error) if error.is_lease_lost() => latest.stop.now(Reason::LeaseLost),
                Err(error) => return link.settle(PROGRESS.name, LIMIT, Ok(Err(error))),
            }
        }
    }
    Ok(())
}

async fn one(line: &Line, latest: &Latest) -> Result<bool, Error> {
    let lease = &latest.lease;
    let params: [&(dyn postgres_types::ToSql + Sync); 5] = [
        &lease.life.id(),
        &lease.id,
        &latest.pos,
        &latest.percent,
        &latest.message,
    ];
    let rows = line.rows(&PROGRESS, &params).await?;
    let row = rows.first().ok_or_else(|| PROGRESS.unexpected("no row"))?;
    Ok(row
        .try_get::<_, Option<bool>>(0)
        .map_err(|error| PROGRESS.unexpected(error))?
        .unwrap_or(true))
}
