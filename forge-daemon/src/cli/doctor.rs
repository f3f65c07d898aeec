//! `doctor`: looks at everything a node needs and says what to do about what is missing.

mod checks;
mod finding;

use self::finding::{Finding, Level};
use super::{arguments::Target, failure::Failure, table};
use crate::{config::Mistakes, db::Db};

/// Prints every finding. Fails when one of them keeps a node from serving.
pub(super) async fn run(target: &Target) -> Result<(), Failure> {
    let config = target.configuration()?;
    let db = Db::new(&config.database).map_err(|message| Mistakes::one("database.url", message))?;
    let findings = checks::all(&config, &db).await;
    if target.json {
        let rows =
            serde_json::to_value(&findings).map_err(|error| Failure::Refused(error.to_string()))?;
        table::print_json(&rows);
    } else {
        findings.iter().for_each(Finding::print);
    }
    if findings.iter().any(|finding| finding.level == Level::Fail) {
        Err(Failure::Silent)
    } else {
        Ok(())
    }
}
