//! Denied calls reach the audit log.
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

struct Denial {
    identity: String,
    object: String,
    request_id: Option<String>,
}

/// Where denials are noted.
pub(super) struct Denials {
    pending: mpsc::Sender<Denial>,
}

impl Denials {
    /// Starts writing them down.
    pub fn spawn(context: &Context) -> Self {
        let (pending, mut denials) = mpsc::channel::<Denial>(PENDING);
        let db = context.db.clone();
        context.tasks.spawn("denials", |stop| async move {
            loop {
                let denial = tokio::select! {
                    () = stop.cancelled() => return,
                    denial = denials.recv() => denial,
                };
                let Some(denial) = denial else {
                    return stop.cancelled().await;
                };
                let written = db
                    .rows(
                        &DENIED,
                        &[&denial.identity, &"call", &denial.object, &denial.request_id],
                    )
                    .await;
                if let Err(error) = written {
                    metrics::counter!("forge_audit_dropped_total").increment(1);
                    tracing::warn!(%error, object = denial.object, "a denied call was not written to the audit log");
                }
            }
        });
        Self { pending }
    }

    /// Notes that `identity` may not do this.
    pub fn note(&self, identity: &Identity, object: &str, request_id: Option<String>) {
        let denial = Denial {
            identity: identity.sealed.text().to_owned(),
            object: object.to_owned(),
            request_id,
        };
        if self.pending.try_send(denial).is_err() {
            metrics::counter!("forge_audit_dropped_total").increment(1);
        }
    }
}
