//! Native handlers: Rust code linked with the daemon that runs jobs of kinds with handler `native:NAME`.

mod failure;
mod registry;
mod runner;

use std::sync::Arc;

use postgres_types::Type;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use failure::{Failure, Then};
pub use registry::{Native, Natives};
pub(super) use runner::NativeRunner;

use super::desk::{Desk, Ticket};
use crate::db::{Error, Query};

const ENQUEUE: Query = Query::new(
    "gateway_enqueue",
    "SELECT forge_private.gateway_enqueue('forge_service', $1, $2, $3)",
    &[Type::TEXT, Type::JSONB, Type::JSONB],
);

/// A job handed to a native handler.
#[derive(Debug)]
pub struct Job {
    /// The job, the same over all its attempts.
    pub id: Uuid,
    /// Its kind.
    pub kind: Arc<str>,
    /// Its arguments.
    pub args: Value,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Attempts it has in all.
    pub max_attempts: u32,
    /// W3C trace context, when the job has one.
    pub traceparent: Option<String>,
    ticket: Arc<Ticket>,
    desk: Arc<Desk>,
}

impl Job {
    /// The arguments as a type of the handler's own. Wrong ones fail the job for good: no retry mends them.
    ///
    /// # Errors
    /// A permanent [`Failure`] that says what does not fit.
    pub fn args<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        T::deserialize(&self.args)
            .map_err(|error| Failure::permanent(format!("arguments do not fit: {error}")))
    }

    /// Reports progress, 0 to 100 percent. Cheap: only the latest report is written, a few times a second.
    pub fn progress(&self, percent: f32, message: impl AsRef<str>) {
        self.desk
            .progress
            .report(&self.ticket, percent, message.as_ref());
    }

    /// Cancelled when the job was cancelled, timed out, lost its lease, or the node must stop: end soon.
    pub fn cancelled(&self) -> CancellationToken {
        self.ticket.stop.token().clone()
    }

    /// Enqueues another job in a transaction of its own, with this job's trace context.
    ///
    /// # Errors
    /// What the database says, for example ZF001 for an unknown kind.
    pub async fn enqueue(&self, kind: &str, args: Value) -> Result<Uuid, Error> {
        self.enqueue_with(kind, args, json!({})).await
    }

    /// As [`enqueue`](Self::enqueue), with the optional parameters of SQL's `forge.enqueue` by name, for example
    /// `{"queue": "mail", "delay": "30s", "idempotency_key": "order-17"}`. A repeated attempt enqueues again unless
    /// one of the keys says otherwise.
    ///
    /// # Errors
    /// What the database says, for example ZF002 for an unknown option.
    pub async fn enqueue_with(
        &self,
        kind: &str,
        args: Value,
        mut options: Value,
    ) -> Result<Uuid, Error> {
        if let (Some(traceparent), Some(options)) = (&self.traceparent, options.as_object_mut()) {
            options
                .entry("traceparent")
                .or_insert_with(|| traceparent.as_str().into());
        }
        self.desk
            .context
            .db
            .scalar(&ENQUEUE, &[&kind, &args, &options])
            .await
    }
}
