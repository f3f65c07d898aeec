//! Waiting for the jobs of actions.
//!
//! Invariants: one statement asks for all that are waited for; who leaves is forgotten; nothing is asked while nobody
//! waits.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use postgres_types::Type;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::db::{Db, Query};

/// An administrator's view: that the caller may see this job follows from its having started it.
const JOBS: Query = Query::new(
    "action_results",
    "SELECT j::text FROM unnest($1) AS given(id), LATERAL forge_private.gateway_job('forge_admin', given.id) AS j \
     WHERE j->>'state' IN ('completed', 'dead', 'cancelled')",
    &[Type::UUID_ARRAY],
);
const FIRST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(500);

/// How a job ended.
#[derive(Debug, Deserialize)]
pub(super) struct Ended {
    id: Uuid,
    pub state: String,
    #[serde(default)]
    pub result: Option<Box<RawValue>>,
    #[serde(default)]
    pub error: Option<String>,
}

struct Waiting {
    answer: oneshot::Sender<Ended>,
    pause: Duration,
    next: Instant,
}

/// Where endings are waited for.
pub(super) struct Desk {
    db: Db,
    waiting: Mutex<HashMap<Uuid, Waiting>>,
    came: Notify,
}

impl Desk {
    pub fn new(db: Db) -> Self {
        Self {
            db,
            waiting: Mutex::default(),
            came: Notify::new(),
        }
    }

    /// The end of `job`, within `limit`.
    pub async fn ending(&self, job: Uuid, limit: Duration) -> Option<Ended> {
        let (answer, ended) = oneshot::channel();
        let waiting = Waiting {
            answer,
            pause: FIRST,
            next: Instant::now() + FIRST,
        };
        self.lock().insert(job, waiting);
        self.came.notify_one();
        let ended = tokio::time::timeout(limit, ended).await;
        if ended.is_err() {
            self.lock().remove(&job);
        }
        ended.ok().and_then(Result::ok)
    }

    /// Asks for endings until `stop`.
    pub async fn serve(&self, stop: CancellationToken) {
        loop {
            let next = self.next();
            let due = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.came.notified() => {}
                () = due => self.ask().await,
            }
        }
    }

    fn next(&self) -> Option<Instant> {
        let mut waiting = self.lock();
        waiting.retain(|_, one| !one.answer.is_closed());
        waiting.values().map(|one| one.next).min()
    }

    async fn ask(&self) {
        let due = self.due();
        if due.is_empty() {
            return;
        }
        let rows: Vec<String> = match self.db.column(&JOBS, &[&due]).await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::debug!(%error, "results of actions cannot be asked for");
                return;
            }
        };
        for row in rows {
            match serde_json::from_str::<Ended>(&row) {
                Ok(ended) => {
                    if let Some(one) = self.lock().remove(&ended.id) {
                        // Who no longer waits needs no answer.
                        let _ = one.answer.send(ended);
                    }
                }
                Err(error) => tracing::error!(%error, "gateway_job answered something else"),
            }
        }
    }

    fn due(&self) -> Vec<Uuid> {
        let now = Instant::now();
        let mut waiting = self.lock();
        let due = waiting.iter_mut().filter(|(_, one)| one.next <= now);
        due.map(|(id, one)| {
            one.pause = (one.pause * 3 / 2).min(LONGEST);
            one.next = now + one.pause;
            *id
        })
        .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
