//! One statement that writes ends of members of one lease, and what to do when the database refuses it.

use std::sync::Arc;

use postgres_types::Type;

use super::super::{
    job::Lease,
    json::JsonText,
    outcome::{Outcome, millis},
};
use crate::db::{Error, Line, Query};

pub(super) const QUERIES: &[Query] = &[COMPLETE, FAIL, CANCELLED, RELEASE, SNOOZE];

const COMPLETE: Query = Query::new(
    "worker_complete",
    "SELECT forge_private.worker_complete($1, $2, $3, $4)",
    &[Type::UUID, Type::UUID, Type::INT4_ARRAY, Type::JSONB_ARRAY],
);
const FAIL: Query = Query::new(
    "worker_fail",
    "SELECT forge_private.worker_fail($1, $2, $3, $4, $5, $6)",
    &[
        Type::UUID,
        Type::UUID,
        Type::INT4,
        Type::TEXT,
        Type::BOOL,
        Type::INT4,
    ],
);
const CANCELLED: Query = Query::new(
    "worker_cancelled",
    "SELECT forge_private.worker_cancelled($1, $2, $3)",
    &[Type::UUID, Type::UUID, Type::INT4],
);
const RELEASE: Query = Query::new(
    "worker_release",
    "SELECT forge_private.worker_release($1, $2, $3)",
    &[Type::UUID, Type::UUID, Type::INT4_ARRAY],
);
const SNOOZE: Query = Query::new(
    "worker_snooze",
    "SELECT forge_private.worker_snooze($1, $2, $3, $4)",
    &[Type::UUID, Type::UUID, Type::INT4, Type::INT4],
);

/// Ends of members of one lease that one statement writes.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub lease: Arc<Lease>,
    pub ends: Ends,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ends {
    /// Positions, and results of the same length unless none has one.
    Completed(Vec<i32>, Option<Vec<Option<JsonText>>>),
    /// Positions.
    Released(Vec<i32>),
    /// Any other end of one member.
    One(i32, Outcome),
}

impl Operation {
    /// Whether the lease it writes under is known to be lost.
    pub fn is_void(&self) -> bool {
        self.lease.life.is_lost()
    }

    /// Writes it. Repeating it after an answer was lost changes nothing more.
    pub async fn execute(&self, line: &Line) -> Result<(), Error> {
        let (node, lease) = (self.lease.life.id(), self.lease.id);
        match &self.ends {
            Ends::Completed(positions, results) => {
                line.rows(&COMPLETE, &[&node, &lease, positions, results])
                    .await?;
            }
            Ends::Released(positions) => {
                line.rows(&RELEASE, &[&node, &lease, positions]).await?;
            }
            Ends::One(
                pos,
                Outcome::Failed {
                    error,
                    retry,
                    retry_in,
                },
            ) => {
                let retry_in = retry_in.map(millis);
                let rows = line
                    .rows(&FAIL, &[&node, &lease, pos, error, retry, &retry_in])
                    .await?;
                if rows.first().and_then(|row| row.try_get::<_, &str>(0).ok()) == Some("dead") {
                    metrics::counter!("forge_jobs_dead_total").increment(1);
                }
            }
            Ends::One(pos, Outcome::Cancelled) => {
                line.rows(&CANCELLED, &[&node, &lease, pos]).await?;
            }
            Ends::One(pos, Outcome::Snoozed(delay)) => {
                line.rows(&SNOOZE, &[&node, &lease, pos, &millis(*delay)])
                    .await?;
            }
            Ends::One(pos, Outcome::Completed(result)) => {
                line.rows(
                    &COMPLETE,
                    &[&node, &lease, &[*pos].as_slice(), &[result].as_slice()],
                )
                .await?;
            }
            Ends::One(pos, Outcome::Released) => {
                line.rows(&RELEASE, &[&node, &lease, &[*pos].as_slice()])
                    .await?;
            }
        }
        Ok(())
    }

    /// What to try instead of an operation that the database refused: its members one by one, then an error in place
    /// of a result that cannot be stored. Nothing when there is nothing left to try.
    pub fn instead(&self, refused: &Error) -> Vec<Operation> {
        let one = |pos, outcome| Operation {
            lease: self.lease.clone(),
            ends: Ends::One(pos, outcome),
        };
        match &self.ends {
            Ends::Completed(positions, results) => {
                let result = |index| {
                    results
                        .as_ref()
                        .and_then(|results| results.get(index).cloned().flatten())
                };
                positions
                    .iter()
                    .enumerate()
                    .map(|(i, pos)| one(*pos, Outcome::Completed(result(i))))
                    .collect()
            }
            Ends::Released(positions) if positions.len() > 1 => positions
                .iter()
                .map(|pos| one(*pos, Outcome::Released))
                .collect(),
            Ends::One(pos, Outcome::Completed(Some(_))) => {
                vec![one(
                    *pos,
                    Outcome::dead(format!("the result cannot be stored: {refused}")),
                )]
            }
            _ => Vec::new(),
        }
    }
}
