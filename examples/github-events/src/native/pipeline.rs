//! How long a workflow took, and which of its steps took longest.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio_postgres::{Error, types::ToSql};

use super::{Delivery, Missing, Transaction, number, result, text};

/// One run, job or request of a workflow.
#[derive(Debug, PartialEq)]
pub struct Pipeline {
    kind: String,
    id: i64,
    repository: String,
    name: Option<String>,
    status: String,
    conclusion: Option<String>,
    seconds: Option<f64>,
    slowest_step: Option<String>,
}

impl Pipeline {
    /// Reads what a `workflow_…` event says.
    ///
    /// # Errors
    /// The field that is missing.
    pub fn read(event: &str, payload: &Value) -> Result<Self, Missing> {
        let repository = text(payload, "/repository/full_name")?.to_owned();
        // A request to run has no number of its own yet: one line for each repository.
        let Some(run) = payload.get(event) else {
            return Ok(Self {
                kind: event.to_owned(),
                id: number(payload, "/repository/id")?,
                repository,
                name: text(payload, "/workflow").ok().map(str::to_owned),
                status: "requested".to_owned(),
                conclusion: None,
                seconds: None,
                slowest_step: None,
            });
        };
        let optional = |pointer| text(run, pointer).ok().map(str::to_owned);
        let started = time(run, "/started_at").or_else(|| time(run, "/run_started_at"));
        let status = text(run, "/status")?.to_owned();
        let ended = match status.as_str() {
            "completed" => time(run, "/completed_at").or_else(|| time(run, "/updated_at")),
            _ => None,
        };
        Ok(Self {
            kind: event.to_owned(),
            id: number(run, "/id")?,
            repository,
            name: optional("/name"),
            status,
            conclusion: optional("/conclusion"),
            seconds: started
                .zip(ended)
                .map(|(from, to)| to.duration_since(from).as_secs_f64()),
            slowest_step: slowest(run),
        })
    }

    /// Writes it; a run that ended does not go back to running.
    pub(super) async fn keep(&self, transaction: &Transaction<'_>) -> Result<(), Error> {
        let statement = transaction
            .prepare_cached(
                "INSERT INTO github.pipeline AS p
                     (kind, id, repository, name, status, conclusion, seconds, slowest_step, seen_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now())
                 ON CONFLICT (kind, id) DO UPDATE SET
                     (status, conclusion, seconds, slowest_step, seen_at)
                   = (excluded.status, excluded.conclusion, excluded.seconds, excluded.slowest_step, now())
                 WHERE p.status <> excluded.status AND p.status <> 'completed'",
            )
            .await?;
        let values: [&(dyn ToSql + Sync); 8] = [
            &self.kind,
            &self.id,
            &self.repository,
            &self.name,
            &self.status,
            &self.conclusion,
            &self.seconds,
            &self.slowest_step,
        ];
        transaction.execute(&statement, &values).await?;
        Ok(())
    }

    /// The job's result.
    pub(super) fn result(&self, delivery: &Delivery) -> Value {
        result(
            delivery,
            json!({ "status": self.status, "seconds": self.seconds, "slowest_step": self.slowest_step }),
        )
    }
}

fn time(value: &Value, pointer: &'static str) -> Option<Timestamp> {
    text(value, pointer).ok()?.parse().ok()
}

fn slowest(run: &Value) -> Option<String> {
    let steps = run.get("steps")?.as_array()?;
    let took = |step: &Value| -> Option<(SignedDuration, String)> {
        let ended = time(step, "/completed_at")?;
        let name = text(step, "/name").ok()?.to_owned();
        Some((ended.duration_since(time(step, "/started_at")?), name))
    };
    steps.iter().filter_map(took).max().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_a_completed_job_and_its_slowest_step() {
        let payload = json!({
            "repository": { "id": 1, "full_name": "octo/repo" },
            "workflow_job": {
                "id": 9, "name": "test", "status": "completed", "conclusion": "success",
                "started_at": "2021-08-05T10:34:58Z", "completed_at": "2021-08-05T10:38:16Z",
                "steps": [
                    { "name": "build", "started_at": "2021-08-05T10:35:00Z", "completed_at": "2021-08-05T10:37:00Z" },
                    { "name": "check", "started_at": "2021-08-05T10:37:00Z", "completed_at": "2021-08-05T10:37:30Z" },
                    { "name": "never", "started_at": "2021-08-05T10:37:30Z", "completed_at": null },
                ],
            },
        });
        let pipeline = Pipeline::read("workflow_job", &payload).unwrap();
        assert_eq!(pipeline.seconds, Some(198.0));
        assert_eq!(pipeline.slowest_step.as_deref(), Some("build"));
    }

    #[test]
    fn names_what_is_missing() {
        let payload = json!({ "repository": { "full_name": "octo/repo" }, "workflow_run": { "status": "queued" } });
        assert_eq!(
            Pipeline::read("workflow_run", &payload),
            Err(Missing("/id"))
        );
    }
}
