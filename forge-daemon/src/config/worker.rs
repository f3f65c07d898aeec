//! `[worker]`: how many jobs run at once and how their ends are written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bytes, Span};

/// Running jobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Worker {
    /// Jobs running at once for each kind of handler (native, http). Remote workers and `sql:` lanes have their own limits.
    pub concurrency: usize,
    /// Queues to take jobs from; all when absent.
    pub queues: Option<Vec<String>>,
    /// Longest wait at a stop for running jobs; what is left then returns to the queue without using an attempt.
    pub drain_timeout: Span,
    /// Jobs claimed in one statement at most.
    pub claim_max: usize,
    /// Completions wait this long for company before they are written together.
    pub flush_interval: Span,
    /// Completions written together at most.
    pub flush_max: usize,
    /// First pause after the queue was found empty; it doubles up to `poll_max`, and a wake-up ends it.
    pub poll_min: Span,
    /// Longest time between two looks at an empty queue without a wake-up.
    pub poll_max: Span,
    /// Transactions running batches of short `sql:` handlers at once.
    pub sql_lanes: usize,
    /// Connections for `sql:` kinds whose runs are long, one job each.
    pub sql_slow_lanes: usize,
    /// How long one transaction may go on running `sql:` handlers before it commits.
    pub sql_budget: Span,
    /// Largest result a handler may return.
    pub result_limit: Bytes,
    /// How long a handler that was told to stop may go on before it is dropped.
    pub cancel_grace: Span,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            concurrency: 1024,
            queues: None,
            drain_timeout: Span::secs(60),
            claim_max: 1000,
            flush_interval: Span::millis(3),
            flush_max: 1000,
            poll_min: Span::millis(1),
            poll_max: Span::secs(30),
            sql_lanes: 2,
            sql_slow_lanes: 4,
            sql_budget: Span::millis(250),
            result_limit: Bytes::mib(1),
            cancel_grace: Span::secs(5),
        }
    }
}
