//! `codegen openapi`: the description of this database's interface.

use super::{
    arguments::{Codegen, Target},
    failure::Failure,
    table,
};
use crate::{
    config::Mistakes,
    db::Db,
    executor::{Error, Executor},
    gateway::openapi,
};

pub(super) async fn run(target: &Target, Codegen::Openapi: Codegen) -> Result<(), Failure> {
    let config = target.configuration()?;
    let db = Db::new(&config.database).map_err(|message| Mistakes::one("database.url", message))?;
    let catalog = Executor::new(&db, &config.cache).reread().await;
    let catalog = catalog.map_err(|error| match error {
        Error::Database(error) => match std::sync::Arc::try_unwrap(error) {
            Ok(error) => Failure::Database(error),
            Err(shared) => Failure::Refused(shared.to_string()),
        },
        other => Failure::Refused(other.to_string()),
    })?;
    table::print_json(&openapi::document(&catalog));
    Ok(())
}
