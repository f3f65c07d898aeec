//! Duty `schedules`: turns schedule instants into jobs, each exactly once.

use std::time::Duration;

use postgres_types::Type;

use super::duty::{Duty, Summary, answer, summary};
use crate::{
    cluster::{self, Tenure},
    db::{Error, Link, Query, Wakeup},
};

const RUN: Query = Query::new(
    "duty_schedules",
    "SELECT forge_private.duty_schedules($1, $2)",
    &[Type::UUID, Type::INT8],
);

/// Fires what is due.
pub struct Schedules;

impl Duty for Schedules {
    const TASK: &'static str = "duty schedules";
    const SEAT: cluster::Duty = cluster::Duty::Schedules;
    const QUERIES: &'static [Query] = &[RUN];
    const HINTS: &'static [Wakeup] = &[Wakeup::Control];
    const LIMIT: Duration = Duration::from_secs(30);

    fn longest_sleep(&self) -> Duration {
        Duration::from_secs(60)
    }

    async fn run_once(&mut self, link: &mut Link, tenure: &Tenure) -> Result<Summary, Error> {
        let rows = link
            .rows(Self::LIMIT, &RUN, &[&tenure.node, &tenure.term])
            .await?;
        Ok(summary(answer(&RUN, &rows)?, &["fired"]))
    }
}
