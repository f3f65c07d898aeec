//! Claims whose answer was lost: the database may have handed out members that nobody here knows of.
//!
//! The lease id was chosen here, so the lease can be given back whole. Once is not enough: the statement may still have
//! been running. After the server's statement limit it cannot be any more.

use std::{sync::Arc, time::Duration};

use postgres_types::Type;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    app::Context,
    db::{Db, Error, Query, backoff},
    worker::job::Lease,
};

const RELEASE_ALL: Query = Query::new(
    "worker_release_all",
    "SELECT forge_private.worker_release($1, $2, NULL)",
    &[Type::UUID, Type::UUID],
);

/// Gives `lease` back in the background.
pub fn give_back(context: &Context, lease: Arc<Lease>) {
    let db = context.db.clone();
    let settled = db.limit() + Duration::from_secs(5);
    context
        .tasks
        .spawn("worker stray lease", |stop: CancellationToken| async move {
            let work = async {
                release(&db, &lease).await;
                sleep(settled).await;
                release(&db, &lease).await;
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = lease.life.lost().cancelled() => {}
                () = work => {}
            }
        });
}

async fn release(db: &Db, lease: &Lease) {
    let mut pauses = backoff();
    loop {
        match db
            .scalar::<Option<i32>>(&RELEASE_ALL, &[&lease.life.id(), &lease.id])
            .await
        {
            Ok(count) => {
                let count = count.unwrap_or(0);
                if count > 0 {
                    tracing::info!(lease = %lease.id, jobs = count, "jobs of a claim whose answer was lost given back");
                }
                return;
            }
            Err(error) if error.is_lease_lost() => return,
            Err(error) => retry(&error, pauses.next()).await,
        }
    }
}

async fn retry(error: &Error, pause: Option<Duration>) {
    tracing::debug!(%error, "stray lease not given back yet");
    sleep(pause.unwrap_or(Duration::from_secs(5))).await;
}
