//! The example's handlers written in Rust: how long pipelines take, and which alerts are urgent.
//!
//! Invariant: a handler runs at least once, its effect happens once. The job's id is written in the
//! transaction of the effect, and a second run finds it there and changes nothing.

mod alert;
mod pipeline;

use std::{env, time::Duration};

use anyhow::{Context, Result};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Transaction};
use forge_daemon::{Failure, Job};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_postgres::NoTls;
use uuid::Uuid;

pub use alert::Alert;
pub use pipeline::Pipeline;

/// Where the handlers write; the daemon's own role may write nothing but Forge's tables.
pub const DATABASE_VARIABLE: &str = "GITHUB_EVENTS_DATABASE_URL";

const CONNECTIONS: usize = 4;
const WAIT: Duration = Duration::from_secs(10);
const STATEMENT_TIMEOUT: &str = "-c statement_timeout=10s";

/// The arguments of every job a webhook makes.
#[derive(Debug, Deserialize)]
struct Delivery {
    event: String,
    delivery_id: Uuid,
    payload: Value,
}

/// The handlers, with a small pool of connections. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Handlers {
    pool: Pool,
}

impl Handlers {
    /// Reads [`DATABASE_VARIABLE`]; connects when the first job comes.
    ///
    /// # Errors
    /// When the variable is missing or no connection string.
    pub fn from_environment() -> Result<Self> {
        let url = env::var(DATABASE_VARIABLE)
            .with_context(|| format!("{DATABASE_VARIABLE} must name the example's database"))?;
        let mut config: tokio_postgres::Config = url
            .parse()
            .with_context(|| format!("{DATABASE_VARIABLE} is not a connection string"))?;
        config
            .application_name("github-events native")
            .connect_timeout(WAIT)
            .options(STATEMENT_TIMEOUT);
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let pool = Pool::builder(Manager::from_config(config, NoTls, recycling))
            .max_size(CONNECTIONS)
            .wait_timeout(Some(WAIT))
            .create_timeout(Some(WAIT))
            .recycle_timeout(Some(WAIT))
            .runtime(Runtime::Tokio1)
            .build()?;
        Ok(Self { pool })
    }

    /// `workflow_job`, `workflow_run`, `workflow_dispatch`: keeps how long the pipeline took, and where.
    pub async fn pipeline(self, job: Job) -> Result<Value, Failure> {
        let delivery: Delivery = job.args()?;
        let pipeline = Pipeline::read(&delivery.event, &delivery.payload).map_err(misfit)?;
        self.once(&job, &delivery, async |transaction| {
            pipeline.keep(transaction).await
        })
        .await?;
        Ok(pipeline.result(&delivery))
    }

    /// `code_scanning_alert`, `dependabot_alert`, `repository_vulnerability_alert`: ranks by urgency.
    pub async fn alert(self, job: Job) -> Result<Value, Failure> {
        let delivery: Delivery = job.args()?;
        let alert = Alert::read(&delivery.event, &delivery.payload).map_err(misfit)?;
        self.once(&job, &delivery, async |transaction| {
            alert.keep(transaction).await
        })
        .await?;
        Ok(alert.result(&delivery))
    }

    /// Writes the effect and its line in the ledger, unless an earlier run of the job has.
    async fn once(
        &self,
        job: &Job,
        delivery: &Delivery,
        effect: impl AsyncFnOnce(&Transaction<'_>) -> Result<(), tokio_postgres::Error>,
    ) -> Result<(), Failure> {
        let mut client = self.pool.get().await?;
        let transaction = client.transaction().await?;
        let statement = transaction
            .prepare_cached(
                "INSERT INTO github.native_run AS run (job_id) VALUES ($1)
                 ON CONFLICT (job_id) DO UPDATE SET runs = run.runs + 1
                 RETURNING runs",
            )
            .await?;
        let runs: i32 = transaction.query_one(&statement, &[&job.id]).await?.get(0);
        if runs == 1 {
            effect(&transaction).await?;
            let kind = format!("github.{}", delivery.event);
            let statement = transaction
                .prepare_cached("INSERT INTO github.effect (delivery_id, kind) VALUES ($1, $2)")
                .await?;
            transaction
                .execute(&statement, &[&delivery.delivery_id, &kind])
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

/// A payload that does not have what the handler needs: no retry mends that.
fn misfit(missing: Missing) -> Failure {
    Failure::permanent(missing.to_string())
}

/// A field a payload should have.
#[derive(Debug, PartialEq, Eq)]
pub struct Missing(pub &'static str);

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the payload has no usable `{}`", self.0)
    }
}

/// A string at a JSON pointer.
fn text<'v>(value: &'v Value, pointer: &'static str) -> Result<&'v str, Missing> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .ok_or(Missing(pointer))
}

/// An integer at a JSON pointer.
fn number(value: &Value, pointer: &'static str) -> Result<i64, Missing> {
    value
        .pointer(pointer)
        .and_then(Value::as_i64)
        .ok_or(Missing(pointer))
}

/// A job's result: what it was about, and what was found.
fn result(delivery: &Delivery, found: Value) -> Value {
    json!({ "delivery_id": delivery.delivery_id, "found": found })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload;

    /// Every payload of the events that go to native handlers is understood.
    #[tokio::test]
    async fn reads_every_payload() {
        let mut read = 0;
        for payload in payload::for_tests().await {
            let value: Value = serde_json::from_slice(&payload.body).unwrap();
            match &*payload.event {
                "workflow_job" | "workflow_run" | "workflow_dispatch" => {
                    Pipeline::read(&payload.event, &value).unwrap();
                }
                "code_scanning_alert" | "dependabot_alert" | "repository_vulnerability_alert" => {
                    Alert::read(&payload.event, &value).unwrap();
                }
                _ => continue,
            }
            read += 1;
        }
        assert_eq!(read, 28);
    }
}
