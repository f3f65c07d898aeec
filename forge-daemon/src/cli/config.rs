//! `config check` and `config schema`.

use super::{
    arguments::{Config, Target},
    failure::Failure,
    table::print_json,
};
use crate::{config, db::Db};

pub(super) fn run(target: &Target, what: &Config) -> Result<(), Failure> {
    match what {
        Config::Schema => print_json(&config::schema::document()),
        Config::Check => {
            let config = target.configuration()?;
            Db::new(&config.database)
                .map_err(|message| config::Mistakes::one("database.url", message))?;
            if target.json {
                let effective = serde_json::to_value(&config)
                    .map_err(|error| Failure::Refused(error.to_string()))?;
                print_json(&effective);
            } else {
                say!("the configuration is right");
            }
        }
    }
    Ok(())
}
