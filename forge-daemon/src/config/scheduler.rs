//! `[scheduler]`: leadership and the pace of the leader's duties.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Span;

/// Leader duties.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Scheduler {
    /// How long leadership lasts without renewal; another node takes over within this after a crash.
    pub lease: Span,
    /// Time between renewals.
    pub renew: Span,
    /// The leader stops acting this long before its lease ends on its own clock.
    pub margin: Span,
    /// Due jobs promoted in one statement at most.
    pub promote_max: usize,
    /// Longest time between looks for dead nodes and expired leases; a look says itself when the next is due.
    pub rescue_interval: Span,
    /// Longest time between looks after partitions, watermarks and rollups.
    pub maintain_interval: Span,
}

impl Default for Scheduler {
    fn default() -> Self {
        Self {
            lease: Span::secs(4),
            renew: Span::secs(2),
            margin: Span::secs(1),
            promote_max: 5000,
            rescue_interval: Span::secs(15),
            maintain_interval: Span::secs(60),
        }
    }
}
