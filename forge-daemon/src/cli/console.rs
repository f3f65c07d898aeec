//! A connection for one command.

use std::time::Duration;

use postgres_types::{ToSql, Type};
use serde_json::Value;
use tokio_postgres::Row;

use super::{arguments::Target, failure::Failure};
use crate::{
    config::{self, Config, Mistakes, Span},
    db::{Db, Query, Session},
};

/// The daemon's login role has no rights of its own on jobs, but may act as an administrator.
const ACT_AS_ADMIN: Query = Query::new(
    "act_as_admin",
    "SELECT set_config('role', 'forge_admin', true) FROM pg_roles r \
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
    as_admin: bool,
    pub json: bool,
}

impl Console {
    /// Connects with the rights of an administrator where the login role may take them.
    pub async fn open(target: &Target) -> Result<Self, Failure> {
        let console = Self::open_as_login(target).await?;
        Ok(Self {
            as_admin: true,
            ..console
        })
    }

    /// Connects with the login role's own rights.
    pub async fn open_as_login(target: &Target) -> Result<Self, Failure> {
        let mut config = target.configuration()?.database;
        config.statement_timeout = Span::from(PATIENCE);
        let db = Db::new(&config).map_err(|message| Mistakes::one("database.url", message))?;
        Ok(Self {
            session: db.session().await?,
            as_admin: false,
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
        // The role ends with the transaction: behind a pooler the next one is someone else's.
        self.session.begin(PATIENCE).await?;
        if self.as_admin {
            self.session.rows(&ACT_AS_ADMIN, &[]).await?;
        }
        let rows = self.session.ask(name, sql, params).await;
        match &rows {
            Ok(_) => self.session.commit().await?,
            Err(_) => self.session.rollback().await.unwrap_or_default(),
        }
        rows?.iter().map(json).collect()
    }

    /// The first row of such a statement, null when there is none.
    pub async fn row(
        &mut self,
        name: &'static str,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Value, Failure> {
        let rows = self.rows(name, sql, params).await?;
        Ok(rows.into_iter().next().unwrap_or_default())
    }
}

fn json(row: &Row) -> Result<Value, Failure> {
    let unexpected =
        |error: &dyn std::error::Error| Failure::Refused(format!("unexpected answer: {error}"));
    let text: Option<String> = row.try_get(0).map_err(|error| unexpected(&error))?;
    serde_json::from_str(text.as_deref().unwrap_or("null")).map_err(|error| unexpected(&error))
}
