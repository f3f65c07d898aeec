//! What a duty is to the loop that runs it.

use std::time::Duration;

use serde_json::Value;

use crate::{
    cluster::{self, Tenure},
    db::{Error, Link, Query, Wakeup},
};

/// What one run did.
#[derive(Debug, PartialEq)]
pub struct Summary {
    /// How much was done; nothing done is not logged.
    pub did: u64,
    /// The database's own words, for the log.
    pub detail: Value,
    /// When something is due next; `None` when nothing is known to be.
    pub next: Option<Duration>,
}

/// One of the leader's duties.
pub trait Duty: Send + 'static {
    /// Name of its task.
    const TASK: &'static str;
    /// The seat it needs.
    const SEAT: cluster::Duty;
    /// Its statement.
    const QUERIES: &'static [Query];
    /// Hints after which something may be due at once.
    const HINTS: &'static [Wakeup];
    /// Longest that a run may take.
    const LIMIT: Duration;
    /// Longest sleep between two runs.
    fn longest_sleep(&self) -> Duration;

    /// Does what is due now. Idempotent: a run that was cut short is simply run again.
    fn run_once(
        &mut self,
        link: &mut Link,
        tenure: &Tenure,
    ) -> impl Future<Output = Result<Summary, Error>> + Send;

    /// Forgets what it knows from runs under another tenure.
    fn reset(&mut self) {}
}

/// The single JSON answer of a duty's statement.
pub fn answer(query: &Query, rows: &[tokio_postgres::Row]) -> Result<Value, Error> {
    let row = rows.first().ok_or_else(|| query.unexpected("no row"))?;
    row.try_get(0).map_err(|error| query.unexpected(error))
}

/// Sums up an answer: `did` adds the named counts, `next_in_ms` says when to come back.
pub fn summary(detail: Value, counts: &[&str]) -> Summary {
    let did = counts
        .iter()
        .filter_map(|name| detail[*name].as_u64())
        .sum();
    let next = detail["next_in_ms"].as_u64().map(Duration::from_millis);
    Summary { did, detail, next }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sums_up_what_the_database_says() {
        let full = summary(
            json!({"nodes": 1, "jobs": 4, "next_in_ms": 250}),
            &["nodes", "jobs"],
        );
        assert_eq!((full.did, full.next), (5, Some(Duration::from_millis(250))));
        let empty = summary(json!({"fired": 0, "next_in_ms": null}), &["fired"]);
        assert_eq!((empty.did, empty.next), (0, None));
    }
}
