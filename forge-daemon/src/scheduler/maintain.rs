//! Duty `maintain`: partitions made ahead and dropped, watermarks, rollups, retention.

use std::time::Duration;

use postgres_types::Type;

use super::duty::{Duty, Summary, answer, summary};
use crate::{
    cluster::{self, Tenure},
    db::{Error, Link, Query, Wakeup},
};

const RUN: Query = Query::new(
    "duty_maintain",
    "SELECT forge_private.duty_maintain($1, $2)",
    &[Type::UUID, Type::INT8],
);

/// Keeps house.
pub struct Maintain {
    interval: Duration,
}

impl Maintain {
    /// Runs at least every `interval`.
    pub fn new(interval: Duration) -> Self {
        Self { interval }
    }
}

impl Duty for Maintain {
    const TASK: &'static str = "duty maintain";
    const SEAT: cluster::Duty = cluster::Duty::Maintain;
    const QUERIES: &'static [Query] = &[RUN];
    const HINTS: &'static [Wakeup] = &[];
    const LIMIT: Duration = Duration::from_secs(120);

    fn longest_sleep(&self) -> Duration {
        self.interval
    }

    async fn run_once(&mut self, link: &mut Link, tenure: &Tenure) -> Result<Summary, Error> {
        let rows = link
            .rows(Self::LIMIT, &RUN, &[&tenure.node, &tenure.term])
            .await?;
        Ok(summary(answer(&RUN, &rows)?, &["created", "dropped"]))
    }
}
