//! Duty `rescue`: takes back what dead nodes and late pullers hold, so that it runs elsewhere.

use std::time::Duration;

use postgres_types::Type;

use super::duty::{Duty, Summary, answer, summary};
use crate::{
    cluster::{self, Tenure},
    db::{Error, Link, Query, Wakeup},
};

const RUN: Query = Query::new(
    "duty_rescue",
    "SELECT forge_private.duty_rescue($1, $2)",
    &[Type::UUID, Type::INT8],
);

/// Looks for the dead.
pub struct Rescue {
    interval: Duration,
}

impl Rescue {
    /// Looks at least every `interval`; sooner when the database knows when a lease could end.
    pub fn new(interval: Duration) -> Self {
        Self { interval }
    }
}

impl Duty for Rescue {
    const TASK: &'static str = "duty rescue";
    const SEAT: cluster::Duty = cluster::Duty::Rescue;
    const QUERIES: &'static [Query] = &[RUN];
    const HINTS: &'static [Wakeup] = &[];
    const LIMIT: Duration = Duration::from_secs(60);

    fn longest_sleep(&self) -> Duration {
        self.interval
    }

    async fn run_once(&mut self, link: &mut Link, tenure: &Tenure) -> Result<Summary, Error> {
        let rows = link
            .rows(Self::LIMIT, &RUN, &[&tenure.node, &tenure.term])
            .await?;
        Ok(summary(answer(&RUN, &rows)?, &["nodes", "jobs"]))
    }
}
