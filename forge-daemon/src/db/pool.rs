//! The pool and the calls through it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType,
};
use postgres_types::{FromSqlOwned, ToSql, Type};
use tokio::time::{error::Elapsed, timeout};
use tokio_postgres::{CancelToken, Client, Row, error::SqlState};

use super::{Error, Query, connect::Target};
use crate::config::Database;

/// After the server's own limit the daemon waits this long before it gives up on the answer.
const GRACE: Duration = Duration::from_secs(1);

/// The pool. Clones share it.
#[derive(Clone)]
pub struct Db {
    pool: Pool,
    target: Arc<Target>,
    prepared: bool,
    acquire: Duration,
    limit: Duration,
    away: Arc<AtomicBool>,
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db")
            .field("status", &self.pool.status())
            .finish_non_exhaustive()
    }
}

impl Db {
    /// Prepares a pool; no connection is made yet. The error names what is wrong with the URL.
    pub fn new(config: &Database) -> Result<Self, String> {
        let target = Target::new(config.url.expose(), config, "pool")?;
        let manager = Manager::from_config(
            target.options.clone(),
            target.tls.clone(),
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let pool = Pool::builder(manager)
            .max_size(config.pool_size)
            .wait_timeout(Some(config.acquire_timeout.get()))
            .create_timeout(Some(config.connect_timeout.get()))
            .recycle_timeout(Some(config.connect_timeout.get()))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| format!("the connection pool cannot be made: {error}"))?;
        Ok(Self {
            pool,
            target: Arc::new(target),
            prepared: config.prepared_statements,
            acquire: config.acquire_timeout.get(),
            limit: config.statement_timeout.get(),
            away: Arc::default(),
        })
    }

    /// Says once that the database went away and once that it is back, however many callers notice.
    fn notice<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        let outage = match &outcome {
            Ok(_) => false,
            Err(error) if error.is_outage() => true,
            // Other errors tell nothing about the next call.
            Err(_) => return outcome,
        };
        if self.away.load(Ordering::Relaxed) != outage
            && self.away.swap(outage, Ordering::Relaxed) != outage
        {
            match &outcome {
                Ok(_) => tracing::info!("the database answers again"),
                Err(error) => tracing::warn!(%error, "the database is away"),
            }
        }
        outcome
    }

    /// A connection of the pool for several statements.
    pub async fn session(&self) -> Result<Session, Error> {
        let taken = self.pool.get().await.map_err(|error| match error {
            PoolError::Timeout(TimeoutType::Wait) => Error::Busy(self.acquire),
            PoolError::Timeout(_) => Error::Connection {
                message: "the server did not answer in time".into(),
                source: None,
            },
            PoolError::Backend(error) => Error::connection(error),
            other => Error::Connection {
                message: other.to_string(),
                source: None,
            },
        });
        // A connection taken proves nothing: it may be an old one.
        let object = match taken {
            Ok(object) => object,
            Err(error) => return self.notice(Err(error)),
        };
        Ok(Session {
            object: Some(object),
            db: self.clone(),
            unfinished: false,
            transaction: false,
        })
    }

    /// Runs one statement in its own transaction and returns its rows.
    pub async fn rows(
        &self,
        query: &Query,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.session().await?.rows(query, params).await
    }

    /// Runs one statement and returns the first column of its first row. `T` may be an `Option`.
    pub async fn scalar<T: FromSqlOwned>(
        &self,
        query: &Query,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<T, Error> {
        self.session().await?.scalar(query, params).await
    }

    /// Runs one statement and returns the first column of every row.
    pub async fn column<T: FromSqlOwned>(
        &self,
        query: &Query,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<T>, Error> {
        let rows = self.rows(query, params).await?;
        rows.iter().map(|row| value(query, row)).collect()
    }

    /// Runs one statement that may take up to `limit`, however long that is, in a transaction with that limit.
    pub async fn rows_within(
        &self,
        limit: Duration,
        query: &Query,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.session()
            .await?
            .rows_within(limit, query, params)
            .await
    }

    /// A connection of its own outside the pool, its driver running until the client is dropped. `purpose` shows in
    /// `pg_stat_activity`. The caller keeps its own time limits.
    pub async fn connect(&self, purpose: &str) -> Result<Client, Error> {
        let mut options = self.target.options.clone();
        options.application_name(format!("forge-daemon {purpose}"));
        let limit = self.acquire;
        let connecting = timeout(limit, options.connect(self.target.tls.clone())).await;
        let (client, connection) = connecting
            .map_err(|_| Error::Connection {
                message: format!("the server did not answer within {limit:?}"),
                source: None,
            })?
            .map_err(Error::connection)?;
        let purpose = purpose.to_owned();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(purpose, %error, "database connection ended");
            }
        });
        Ok(client)
    }

    /// Asks the server to cancel what runs on the connection of `token`; gives up after five seconds.
    pub async fn cancel(&self, token: &CancelToken) {
        let _ = timeout(
            Duration::from_secs(5),
            token.cancel_query(self.target.tls.clone()),
        )
        .await;
    }

    /// Whether statements are prepared and kept (off behind a pooler in transaction mode).
    pub fn prepares(&self) -> bool {
        self.prepared
    }

    /// The longest that a statement without a limit of its own may run.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Connections open, idle, and callers waiting: for metrics.
    pub fn usage(&self) -> (usize, usize, usize) {
        let status = self.pool.status();
        (status.size, status.available, status.waiting)
    }

    /// Closes the pool; calls in progress end, later ones fail.
    pub fn close(&self) {
        self.pool.close();
    }
}

/// A connection taken from the pool. It returns there when dropped between statements; dropped in the middle of a
/// statement or a transaction (a caller that went away), the statement is cancelled and the connection closed.
pub struct Session {
    object: Option<Object>,
    db: Db,
    unfinished: bool,
    transaction: bool,
}

impl Session {
    /// Runs one statement and returns its rows.
    pub async fn rows(
        &mut self,
        query: &Query,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let limit = self.db.limit;
        self.guard(query, limit, params).await
    }

    /// Runs one statement and returns the first column of its first row.
    pub async fn scalar<T: FromSqlOwned>(
        &mut self,
        query: &Query,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<T, Error> {
        let rows = self.rows(query, params).await?;
        let row = rows.first().ok_or_else(|| Error::Answer {
            name: query.name,
            message: "no row".into(),
        })?;
        value(query, row)
    }

    /// Runs a statement that is not kept prepared: one of many texts, or run once.
    pub async fn ask(
        &mut self,
        name: &'static str,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, Error> {
        self.unfinished = true;
        let limit = self.db.limit;
        let object = object_of(&self.object)?;
        let answer = timeout(limit + GRACE, object.query_typed(sql, params)).await;
        self.settle(name, limit, answer)
    }

    /// See [`Db::rows_within`]. Not inside a transaction of the caller.
    pub async fn rows_within(
        &mut self,
        limit: Duration,
        query: &Query,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.begin(limit).await?;
        match self.guard(query, limit, params).await {
            Ok(rows) => self.commit().await.map(|()| rows),
            Err(error) => {
                let _ = self.rollback().await;
                Err(error)
            }
        }
    }

    /// Runs one statement that has a limit of its own on the server, not longer than the connection's.
    pub async fn rows_limited(
        &mut self,
        limit: Duration,
        query: &Query,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.guard(query, limit, params).await
    }

    /// Closes the connection instead of giving it back: something was left behind on it.
    pub fn spoil(mut self) {
        if let Some(object) = self.object.take() {
            drop(Object::take(object));
        }
    }

    /// Runs `begin`, one statement and COMMIT in one round trip. An error of the statement rolls the transaction back;
    /// one of COMMIT is the answer. `begin` sets the server's limit; `limit` is that of this side.
    pub async fn bracketed(
        &mut self,
        begin: &str,
        limit: Duration,
        query: &Query,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.unfinished = true;
        let object = object_of(&self.object)?;
        let work = async {
            if self.db.prepared {
                // Prepared before, so that what follows is sent at once.
                let statement = object.prepare_typed_cached(query.sql, query.types).await?;
                let (began, rows, committed) = tokio::join!(
                    object.batch_execute(begin),
                    object.query(&statement, params),
                    object.batch_execute("COMMIT")
                );
                bracket(began, rows, committed)
            } else {
                let bound = query.bind(params);
                let (began, rows, committed) = tokio::join!(
                    object.batch_execute(begin),
                    object.query_typed(query.sql, &bound),
                    object.batch_execute("COMMIT")
                );
                bracket(began, rows, committed)
            }
        };
        let answer = timeout(limit + GRACE, work).await;
        self.settle(query.name, limit, answer)
    }

    /// Begins a transaction whose statements may each take up to `limit`.
    pub async fn begin(&mut self, limit: Duration) -> Result<(), Error> {
        self.transaction = true;
        self.plain(
            "begin",
            &format!("BEGIN; SET LOCAL statement_timeout = {}", limit.as_millis()),
        )
        .await
    }

    /// Commits. After an error nobody knows whether it happened, unless the server said no.
    pub async fn commit(&mut self) -> Result<(), Error> {
        self.plain("commit", "COMMIT").await?;
        self.transaction = false;
        Ok(())
    }

    /// Rolls back.
    pub async fn rollback(&mut self) -> Result<(), Error> {
        self.plain("rollback", "ROLLBACK").await?;
        self.transaction = false;
        Ok(())
    }

    async fn plain(&mut self, name: &'static str, sql: &str) -> Result<(), Error> {
        let limit = self.db.limit;
        self.unfinished = true;
        let object = object_of(&self.object)?;
        let answer = timeout(limit + GRACE, object.batch_execute(sql)).await;
        self.settle(name, limit, answer)
    }

    async fn guard(
        &mut self,
        query: &Query,
        limit: Duration,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.unfinished = true;
        let object = object_of(&self.object)?;
        let answer = timeout(limit + GRACE, run(object, self.db.prepared, query, params)).await;
        if let Ok(Err(error)) = &answer
            && error.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED)
        {
            // "cached plan must not change result type": the extension was updated under us.
            object.statement_cache.remove(query.sql, query.types);
        }
        self.settle(query.name, limit, answer)
    }

    /// Ends a statement: an answer leaves the connection usable, none closes it.
    fn settle<T>(
        &mut self,
        name: &'static str,
        limit: Duration,
        answer: Result<Result<T, tokio_postgres::Error>, Elapsed>,
    ) -> Result<T, Error> {
        match answer {
            Ok(result) => {
                self.unfinished = false;
                self.db
                    .notice(result.map_err(|error| Error::from_client(name, error)))
            }
            Err(_) => {
                self.abandon();
                Err(Error::Timeout { name, limit })
            }
        }
    }

    /// Cancels what runs on the server and closes the connection, without waiting for either.
    fn abandon(&mut self) {
        self.unfinished = false;
        self.transaction = false;
        if let Some(object) = self.object.take() {
            let client = Object::take(object);
            let cancel = client.cancel_token();
            let db = self.db.clone();
            tokio::spawn(async move {
                db.cancel(&cancel).await;
                drop(client);
            });
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Outside a runtime (at exit) dropping the connection is all that can be done.
        if (self.unfinished || self.transaction) && tokio::runtime::Handle::try_current().is_ok() {
            self.abandon();
        }
    }
}

fn object_of(object: &Option<Object>) -> Result<&Object, Error> {
    object.as_ref().ok_or_else(|| Error::Connection {
        message: "closed after a statement was given up".into(),
        source: None,
    })
}

async fn run(
    object: &Object,
    prepared: bool,
    query: &Query,
    params: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    if prepared {
        let statement = object.prepare_typed_cached(query.sql, query.types).await?;
        object.query(&statement, params).await
    } else {
        object.query_typed(query.sql, &query.bind(params)).await
    }
}

/// What a bracket came to: its first error, else the rows.
fn bracket<E, T>(
    began: Result<(), E>,
    rows: Result<T, E>,
    committed: Result<(), E>,
) -> Result<T, E> {
    began?;
    let rows = rows?;
    committed?;
    Ok(rows)
}

fn value<T: FromSqlOwned>(query: &Query, row: &Row) -> Result<T, Error> {
    row.try_get(0).map_err(|error| Error::Answer {
        name: query.name,
        message: error.to_string(),
    })
}
