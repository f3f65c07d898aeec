//! Denied calls, and those of administrators, reach the audit log.
//!
//! Invariants: nobody waits for it; at most so many are pending, more are counted and dropped. Credentials that prove
//! nothing are not among them: whoever sends them must not be able to make the database write.

use postgres_types::Type;
use tokio::sync::mpsc;

use super::identity::Identity;
use crate::{app::Context, db::Query};

const DENIED: Query = Query::new(
    "audit_denied",
    "SELECT forge_private.audit_denied($1, $2, $3, $4)",
    &[Type::TEXT, Type::TEXT, Type::TEXT, Type::TEXT],
);
const PENDING: usize = 1024;

struct Event {
    action: &'static str,
    identity: String,
    object: String,
    request_id: Option<String>,
}

/// Where calls are noted.
pub(super) struct Audit {
    pending: mpsc::Sender<Event>,
}

impl Audit {
    /// Starts writing down.
    pub fn spawn(context: &Context) -> Self {
        let (pending, mut events) = mpsc::channel::<Event>(PENDING);
        let db = context.db.clone();
        context.tasks.spawn("audit", |stop| async move {
            loop {
                let event = tokio::select! {
                    () = stop.cancelled() => return,
                    event = events.recv() => event,
                };
                let Some(event) = event else {
                    return stop.cancelled().await;
                };
                let written = db
                    .rows(
                        &DENIED,
                        &[&event.identity, &event.action, &event.object, &event.request_id],
                    )
                    .await;
                if let Err(error) = written {
                    metrics::counter!("forge_audit_dropped_total").increment(1);
                    tracing::warn!(%error, object = event.object, "a call was not written to the audit log");
                }
            }
        });
        Self { pending }
    }

    /// Notes that `identity` was `denied` this, or made the `call`.
    pub fn note(
        &self,
        action: &'static str,
        identity: &Identity,
        object: &str,
        request_id: Option<String>,
    ) {
        let event = Event {
            action,
            identity: identity.sealed.text().to_owned(),
            object: object.to_owned(),
            request_id,
        };
        if self.pending.try_send(event).is_err() {
            metrics::counter!("forge_audit_dropped_total").increment(1);
        }
    }
}
