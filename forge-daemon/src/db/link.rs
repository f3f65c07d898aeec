//! A connection of its own that is opened when first needed and replaced when it breaks.
//!
//! For loops that must not wait for the pool (heartbeat, claims, completions) and for those that run several
//! statements at once on one connection. Invariants: a line that broke, or whose statement was given up, is never used
//! again; opening it includes preparing its statements, so that a call on an open line is one round trip.

use std::{collections::HashMap, sync::Arc, time::Duration};

use postgres_types::ToSql;
use tokio::time::{error::Elapsed, timeout};
use tokio_postgres::{CancelToken, Client, Row, Statement, error::SqlState};

use super::{Db, Error, Query};

/// Opens and replaces one connection.
#[derive(Debug)]
pub struct Link {
    db: Db,
    purpose: &'static str,
    queries: &'static [Query],
    line: Option<Arc<Line>>,
}

/// An open connection with its statements prepared. Calls on it may overlap; the server runs them in the order made.
pub struct Line {
    client: Client,
    prepared: Option<HashMap<&'static str, Statement>>,
}

impl Link {
    /// A link that will run `queries`; nothing is opened yet. `purpose` shows in `pg_stat_activity`.
    pub fn new(db: Db, purpose: &'static str, queries: &'static [Query]) -> Self {
        Self {
            db,
            purpose,
            queries,
            line: None,
        }
    }

    /// The line, opened when there is none.
    pub async fn open(&mut self) -> Result<Arc<Line>, Error> {
        if let Some(line) = self.line.as_ref().filter(|line| !line.client.is_closed()) {
            return Ok(line.clone());
        }
        let line = Arc::new(self.connect().await?);
        self.line = Some(line.clone());
        Ok(line)
    }

    /// Runs one statement within `limit` and returns its rows.
    pub async fn rows(
        &mut self,
        limit: Duration,
        query: &Query,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let line = self.open().await?;
        let answer = timeout(limit, line.rows(query, params)).await;
        self.settle(query.name, limit, answer)
    }

    /// Ends one or more calls on the line: closes it when it broke or was given up.
    pub fn settle<T>(
        &mut self,
        name: &'static str,
        limit: Duration,
        answer: Result<Result<T, Error>, Elapsed>,
    ) -> Result<T, Error> {
        match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                if error.is_outage() || stale_plan(&error) {
                    self.close();
                }
                Err(error)
            }
            Err(_) => {
                self.abandon();
                Err(Error::Timeout { name, limit })
            }
        }
    }

    /// Closes the line; the next call opens another.
    pub fn close(&mut self) {
        self.line = None;
    }

    /// Cancels what runs on the server and closes the line, without waiting for either.
    fn abandon(&mut self) {
        if let Some(line) = self.line.take() {
            let db = self.db.clone();
            tokio::spawn(async move { db.cancel(&line.cancel_token()).await });
        }
    }

    async fn connect(&self) -> Result<Line, Error> {
        let client = self.db.connect(self.purpose).await?;
        if !self.db.prepares() {
            return Ok(Line {
                client,
                prepared: None,
            });
        }
        let mut prepared = HashMap::new();
        for query in self.queries {
            let statement = client.prepare_typed(query.sql, query.types);
            let statement = timeout(self.db.limit(), statement)
                .await
                .map_err(|_| Error::Timeout {
                    name: query.name,
                    limit: self.db.limit(),
                })?
                .map_err(|error| Error::from_client(query.name, error))?;
            prepared.insert(query.name, statement);
        }
        Ok(Line {
            client,
            prepared: Some(prepared),
        })
    }
}

impl Line {
    /// Runs one of the link's statements. No time limit: the caller has one.
    pub async fn rows(
        &self,
        query: &Query,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let statement = self
            .prepared
            .as_ref()
            .and_then(|prepared| prepared.get(query.name));
        let rows = match statement {
            Some(statement) => self.client.query(statement, params).await,
            None => {
                self.client
                    .query_typed(query.sql, &query.bind(params))
                    .await
            }
        };
        rows.map_err(|error| Error::from_client(query.name, error))
    }

    /// Runs statements without parameters, such as `BEGIN`. No time limit: the caller has one.
    pub async fn plain(&self, name: &'static str, sql: &str) -> Result<(), Error> {
        self.client
            .batch_execute(sql)
            .await
            .map_err(|error| Error::from_client(name, error))
    }

    /// What [`Db::cancel`] needs to cancel what runs on this line.
    pub fn cancel_token(&self) -> CancelToken {
        self.client.cancel_token()
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line")
            .field("closed", &self.client.is_closed())
            .finish_non_exhaustive()
    }
}

/// "cached plan must not change result type": the extension was updated under us.
fn stale_plan(error: &Error) -> bool {
    error.sqlstate() == Some(SqlState::FEATURE_NOT_SUPPORTED.code())
}
