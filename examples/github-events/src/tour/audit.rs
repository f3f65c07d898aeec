//! Counts what came out, in the database, once everything has ended; each number with the SQL it comes from.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use tokio_postgres::{Client, types::Type};
use uuid::Uuid;

use crate::{payload::Payload, replay::Outcome};

const PREPARE: &str = include_str!("../../sql/audit/prepare.sql");
const COUNTS: &str = include_str!("../../sql/audit/counts.sql");
const HANDLERS: &str = include_str!("../../sql/audit/handlers.sql");
const NODES: &str = include_str!("../../sql/audit/nodes.sql");

/// A number from the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The number.
    pub value: i64,
    /// The statement that answered it.
    pub sql: String,
}

/// One kind of handler: name, kinds, jobs, completed, effects, retries.
pub type HandlerLine = (String, [i64; 5]);

/// All numbers of one run.
#[derive(Debug, Default)]
pub struct Audit {
    counts: BTreeMap<String, Count>,
    /// By kind of handler.
    pub handlers: Vec<HandlerLine>,
    /// Node id and jobs completed, most first.
    pub nodes: Vec<(Option<Uuid>, i64)>,
}

impl Audit {
    /// Remembers when the run begins, by the database's clock.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn begin(client: &Client) -> Result<()> {
        let statement = "CREATE TEMPORARY TABLE run AS SELECT clock_timestamp() AS started_at";
        client.batch_execute(statement).await?;
        Ok(())
    }

    /// Counts. `received` are the deliveries that had an effect at the receiver.
    ///
    /// # Errors
    /// The statement that failed.
    pub async fn take(
        client: &Client,
        sent: &[Outcome],
        payloads: &[Payload],
        received: &[Uuid],
    ) -> Result<Self> {
        let ids: Vec<Uuid> = sent.iter().map(|one| one.id).collect();
        let events: Vec<&str> = sent
            .iter()
            .map(|one| &*payloads[one.payload].event)
            .collect();
        let fill = "CREATE TEMPORARY TABLE sent (delivery_id uuid NOT NULL, event text NOT NULL);
                    CREATE TEMPORARY TABLE received (delivery_id uuid NOT NULL)";
        client.batch_execute(fill).await?;
        let insert = "INSERT INTO sent SELECT * FROM unnest($1, $2)";
        let insert = client
            .prepare_typed(insert, &[Type::UUID_ARRAY, Type::TEXT_ARRAY])
            .await?;
        client.execute(&insert, &[&ids, &events]).await?;
        let insert = "INSERT INTO received SELECT * FROM unnest($1)";
        let insert = client.prepare_typed(insert, &[Type::UUID_ARRAY]).await?;
        client.execute(&insert, &[&received]).await?;
        client
            .batch_execute(PREPARE)
            .await
            .context("running sql/audit/prepare.sql")?;

        let mut audit = Self::default();
        for (name, sql) in statements(COUNTS) {
            let row = client
                .query_one(&sql, &[])
                .await
                .with_context(|| format!("counting `{name}`: {sql}"))?;
            let value = row
                .try_get(0)
                .with_context(|| format!("counting `{name}`"))?;
            audit.counts.insert(name, Count { value, sql });
        }
        for row in client.query(HANDLERS, &[]).await? {
            let numbers = [row.get(1), row.get(2), row.get(3), row.get(4), row.get(5)];
            audit.handlers.push((row.get(0), numbers));
        }
        for row in client.query(NODES, &[]).await? {
            audit.nodes.push((row.get(0), row.get(1)));
        }
        Ok(audit)
    }

    /// A count by its name in counts.sql.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn get(&self, name: &str) -> Result<&Count> {
        self.counts
            .get(name)
            .ok_or_else(|| anyhow!("sql/audit/counts.sql has no count `{name}`"))
    }

    /// The number alone.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn value(&self, name: &str) -> Result<i64> {
        Ok(self.get(name)?.value)
    }
}

/// Parts a file of statements: `-- name`, then comments and SQL up to a semicolon at a line's end.
fn statements(file: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for block in file.split("\n\n").skip(1) {
        let mut lines = block.lines();
        let name = lines.next().and_then(|line| line.strip_prefix("-- "));
        let sql: Vec<&str> = lines
            .filter(|line| !line.starts_with("--"))
            .map(str::trim)
            .collect();
        if let Some(name) = name {
            let sql = sql.join(" ").trim_end_matches(';').to_owned();
            found.push((name.to_owned(), sql));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_of_the_file_is_a_named_select() {
        let found = statements(COUNTS);
        assert!(found.len() > 10);
        for (name, sql) in found {
            assert!(!name.contains(' '), "{name}");
            assert!(sql.starts_with("SELECT "), "{name}: {sql}");
            assert!(!sql.contains(';'), "{name}: {sql}");
        }
    }
}
