//! Duty `promote`: makes due deferred jobs (delays, retries, snoozes) ready.

use std::time::Duration;

use postgres_types::Type;
use serde_json::Value;

use super::duty::{Duty, Summary, answer, summary};
use crate::{
    cluster::{self, Tenure},
    db::{Error, Link, Query, Wakeup},
};

const RUN: Query = Query::new(
    "duty_promote",
    "SELECT forge_private.duty_promote($1, $2, $3, $4)",
    &[Type::UUID, Type::INT8, Type::JSONB, Type::INT4],
);

/// Promotes up to `max` jobs a run; the cursor spares the database looking twice.
pub struct Promote {
    max: i32,
    cursor: Option<Value>,
}

impl Promote {
    /// Promotes at most `max` jobs in one statement.
    pub fn new(max: usize) -> Self {
        Self {
            max: i32::try_from(max).unwrap_or(i32::MAX),
            cursor: None,
        }
    }
}

impl Duty for Promote {
    const TASK: &'static str = "duty promote";
    const SEAT: cluster::Duty = cluster::Duty::Promote;
    const QUERIES: &'static [Query] = &[RUN];
    const HINTS: &'static [Wakeup] = &[Wakeup::Jobs, Wakeup::Control];
    const LIMIT: Duration = Duration::from_secs(30);

    fn longest_sleep(&self) -> Duration {
        Duration::from_secs(15)
    }

    async fn run_once(&mut self, link: &mut Link, tenure: &Tenure) -> Result<Summary, Error> {
        let cursor = self.cursor.take();
        let rows = link
            .rows(
                Self::LIMIT,
                &RUN,
                &[&tenure.node, &tenure.term, &cursor, &self.max],
            )
            .await?;
        let detail = answer(&RUN, &rows)?;
        self.cursor = Some(detail["cursor"].clone()).filter(|cursor| !cursor.is_null());
        let mut summary = summary(detail, &["promoted"]);
        if summary.did >= u64::from(self.max.unsigned_abs()) {
            summary.next = Some(Duration::ZERO);
        }
        Ok(summary)
    }

    fn reset(&mut self) {
        self.cursor = None;
    }
}
