//! A connection for one command.

use std::time::Duration;

use postgres_types::{ToSql, Type};
use serde_json::Value;

use super::{arguments::Target, failure::Failure};
use crate::{
    config::{self, Config, Mistakes, Span},
    db::{Db, Query, Session},
};

/// The daemon's login role has no rights of its own on jobs, but may act as an administrator.
const ACT_AS_ADMIN: Query = Query::new(
    "act_as_admin",
    "SELECT set_config('role', 'forge_admin', false) FROM pg_roles r \
     WHERE r.rolname = 'forge_admin' AND pg_has_role(current_user, r.oid, 'MEMBER') \
       AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)",
    &[],
);
const PATIENCE: Duration = Duration::from_secs(30);

impl Target {
    /// The configuration this command line means.
    pub fn configuration(&self) -> Result<Config, Mistakes> {
        config::load::read(self.config.as_deref(), &[], &self.overrides())
    }

    /// Flags as the fields they set.
    pub fn overrides(&self) -> Vec<(&'static str, String)> {
        self.database_url
            .iter()
            .map(|url| ("database.url", url.clone()))
            .collect()
    }
}

/// One session.
pub(super) struct Console {
    session: Session,
    pub json: bool,
}

impl Console {
    /// Connects with the rights of an administrator where the login role may take them.
    pub async fn open(target: &Target) -> Result<Self, Failure> {
        let mut console = Self::open_as_login(target).await?;
        console.session.rows(&ACT_AS_ADMIN, &[]).await?;
        Ok(console)
    }

    /// Connects with the login role's own rights.
    pub async fn open_as_login(target: &Target) -> Result<Self, Failure> {
        let mut config = target.configuration()?.database;
        config.statement_timeout = Span::from(PATIENCE);
        let db = Db::new(&config).map_err(|message| Mistakes::one("database.url", message))?;
        Ok(Self {
            session: db.session().await?,
            json: target.json,
        })
    }

    /// The rows of a statement whose only column is JSON text.
    pub async fn rows(
        &mut self,
        name: &'static str,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Value>, Failure> {
        let rows = self.session.ask(name, sql, params).await?;
        rows.iter()
            .map(|row| {
                let text: Option<String> = row
                    .try_get(0)
                    .map_err(|error| Failure::Refused(error.to_string()))?;
                let text = text.unwrap_or_else(|| "null".into());
                serde_json::from_str(&text)
                    .map_err(|error| Failure::Refused(format!("unexpected answer: {error}")))
            })
            .collect()
    }

    /// The first row of such a statement, null when there is none.
    pub async fn row(
        &mut self,
        name: &'static str,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Value, Failure> {
        Ok(self
            .rows(name, sql, params)
            .await?
            .into_iter()
            .next()
            .unwrap_or_default())
    }
}
