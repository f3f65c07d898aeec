//! A claimed job and the lease it is held under.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::{json::JsonText, kind::Kind};
use crate::cluster::Life;

/// A batch of members handed out together. Every write about a member names it.
#[derive(Debug)]
pub struct Lease {
    /// Chosen by this node, so that the lease of a claim whose answer was lost can be given back.
    pub id: Uuid,
    /// The life it was claimed in; when that is lost so is the lease.
    pub life: Arc<Life>,
    /// When the claim was asked for.
    pub claimed_at: Instant,
}

/// A member of a lease.
#[derive(Debug)]
pub struct Claimed {
    /// Position in the lease.
    pub pos: i32,
    /// The job, the same over all its attempts.
    pub id: Uuid,
    /// Its kind as registered when it was claimed.
    pub kind: Arc<Kind>,
    /// Its arguments.
    pub args: JsonText,
    /// This attempt, from 1.
    pub attempt: i32,
    /// Attempts it has in all.
    pub max_attempts: i32,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

/// What one claim brought.
#[derive(Debug)]
pub struct Batch {
    /// The lease of all members.
    pub lease: Arc<Lease>,
    /// The members.
    pub jobs: Vec<Claimed>,
}

impl Claimed {
    /// How long an attempt may take.
    pub fn timeout(&self) -> Duration {
        self.kind.timeout
    }
}
