//! Security alerts of three kinds, ranked on one scale.

use serde_json::{Value, json};
use tokio_postgres::{Error, types::ToSql};

use super::{Delivery, Missing, Transaction, number, result, text};

/// One alert.
#[derive(Debug, PartialEq, Eq)]
pub struct Alert {
    repository: String,
    source: String,
    number: i64,
    severity: String,
    urgency: i32,
    state: String,
}

impl Alert {
    /// Reads what a `…_alert` event says.
    ///
    /// # Errors
    /// The field that is missing.
    pub fn read(event: &str, payload: &Value) -> Result<Self, Missing> {
        let severity = text(payload, "/alert/severity")
            .or_else(|_| text(payload, "/alert/security_advisory/severity"))
            .or_else(|_| text(payload, "/alert/rule/severity"))?
            .to_owned();
        // Alerts had no state at first, only the action.
        let state = text(payload, "/alert/state").or_else(|_| text(payload, "/action"))?;
        Ok(Self {
            repository: text(payload, "/repository/full_name")?.to_owned(),
            source: event.to_owned(),
            number: number(payload, "/alert/number").or_else(|_| number(payload, "/alert/id"))?,
            urgency: urgency(&severity, state),
            state: state.to_owned(),
            severity,
        })
    }

    /// Writes it. Payloads come in any order and urgency only falls over an alert's life, so the lowest stays.
    pub(super) async fn keep(&self, transaction: &Transaction<'_>) -> Result<(), Error> {
        let statement = transaction
            .prepare_cached(
                "INSERT INTO github.alert AS a (repository, source, number, severity, urgency, state)
                 VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (repository, source, number) DO UPDATE SET
                     (severity, urgency, state) = (excluded.severity, excluded.urgency, excluded.state)
                 WHERE a.urgency > excluded.urgency",
            )
            .await?;
        let values: [&(dyn ToSql + Sync); 6] = [
            &self.repository,
            &self.source,
            &self.number,
            &self.severity,
            &self.urgency,
            &self.state,
        ];
        transaction.execute(&statement, &values).await?;
        Ok(())
    }

    /// The job's result.
    pub(super) fn result(&self, delivery: &Delivery) -> Value {
        result(
            delivery,
            json!({ "urgency": self.urgency, "state": self.state }),
        )
    }
}

/// 0 (closed) to 4 (critical and open).
fn urgency(severity: &str, state: &str) -> i32 {
    if matches!(state, "fixed" | "dismissed" | "dismiss" | "resolve") {
        return 0;
    }
    match severity {
        "critical" => 4,
        "high" | "error" => 3,
        "medium" | "moderate" | "warning" => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_scale_for_three_sources() {
        assert_eq!(urgency("critical", "open"), 4);
        assert_eq!(urgency("error", "open"), urgency("high", "create"));
        assert_eq!(urgency("moderate", "open"), urgency("medium", "open"));
        assert_eq!(urgency("note", "open"), 1);
        assert_eq!(urgency("critical", "fixed"), 0);
    }
}
