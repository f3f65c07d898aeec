//! Denied calls, and those of administrators, reach the audit log.
//!
//! Invariants: nobody waits for it; at most so many are pending, more are counted and dropped. Credentials that prove
//! nothing are not among them: whoever sends them must not be able to make the database write.

use std::sync::Arc;

use postgres_types::Type;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::{Order, Sealed};
use crate::db::{Db, Query};

const NOTE: Query = Query::new(
    "audit_denied",
    "SELECT forge_private.audit_denied($1, $2, $3, $4)",
    &[Type::TEXT, Type::TEXT, Type::TEXT, Type::TEXT],
);
const PENDING: usize = 1024;

struct Event {
    action: &'static str,
    caller: Arc<Sealed>,
    object: String,
    request_id: Option<String>,
}

/// Where calls are noted.
pub(super) struct Audit {
    db: Db,
    sender: mpsc::Sender<Event>,
    pending: Mutex<mpsc::Receiver<Event>>,
}

impl Audit {
    pub fn new(db: Db) -> Self {
        let (sender, pending) = mpsc::channel(PENDING);
        Self {
            db,
            sender,
            pending: Mutex::new(pending),
        }
    }

    /// Notes a call that ended with this SQLSTATE, if it is one to be noted.
    pub fn note(&self, order: &Order, sqlstate: Option<&str>) {
        let action = match sqlstate {
            Some("ZF003" | "42501") => "denied",
            _ if order.caller.is_administrator() => "call",
            _ => return,
        };
        let event = Event {
            action,
            caller: order.caller.clone(),
            object: order.name.clone(),
            request_id: order.circumstances.request_id.clone(),
        };
        if self.sender.try_send(event).is_err() {
            metrics::counter!("forge_audit_dropped_total").increment(1);
        }
    }

    /// Writes down what was noted, until `stop` and then what is left.
    pub async fn serve(&self, stop: CancellationToken) {
        let mut pending = self.pending.lock().await;
        loop {
            let event = tokio::select! {
                event = pending.recv() => event,
                () = stop.cancelled() => pending.try_recv().ok(),
            };
            let Some(event) = event else {
                return;
            };
            let written = self
                .db
                .rows(
                    &NOTE,
                    &[
                        &event.caller.text(),
                        &event.action,
                        &event.object,
                        &event.request_id,
                    ],
                )
                .await;
            if let Err(error) = written {
                metrics::counter!("forge_audit_dropped_total").increment(1);
                tracing::warn!(%error, object = event.object, "a call was not written to the audit log");
            }
        }
    }
}
