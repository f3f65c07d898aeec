//! What can go wrong with the database.

use std::{error::Error as _, time::Duration};

use tokio_postgres::error::{DbError, SqlState};

/// A statement or connection that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server answered with an error.
    #[error("{}: {}", .0.code().code(), .0.message())]
    Server(Box<DbError>),
    /// No connection could be made or the one in use broke.
    #[error("database connection: {message}")]
    Connection {
        /// The whole chain of causes in one line.
        message: String,
        /// The error underneath.
        #[source]
        source: Option<tokio_postgres::Error>,
    },
    /// No pooled connection became free in time.
    #[error("no free database connection within {0:?}; raise database.pool_size or send less")]
    Busy(Duration),
    /// The statement was given up and cancelled.
    #[error("statement `{name}` took longer than {limit:?} and was cancelled")]
    Timeout {
        /// Name of the statement.
        name: &'static str,
        /// The limit it passed.
        limit: Duration,
    },
    /// The answer did not have the expected form: versions of extension and daemon differ.
    #[error(
        "unexpected answer to `{name}`: {message}; do the versions of extension and daemon fit?"
    )]
    Answer {
        /// Name of the statement.
        name: &'static str,
        /// What was wrong with it.
        message: String,
    },
}

impl Error {
    /// The five-letter SQLSTATE when the server sent one.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Error::Server(error) => Some(error.code().code()),
            _ => None,
        }
    }

    /// Whether the database is away, starting or stopping: try again later.
    pub fn is_outage(&self) -> bool {
        match self {
            Error::Connection { .. } => true,
            Error::Server(error) => outage(error.code()),
            _ => false,
        }
    }

    /// Whether the lease or term that the call was made under is gone (ZF010).
    pub fn is_lease_lost(&self) -> bool {
        self.sqlstate() == Some("ZF010")
    }

    /// Sorts an error of the client library. A connection of ours is broken when there is no server error.
    pub(super) fn from_client(name: &'static str, error: tokio_postgres::Error) -> Self {
        if let Some(server) = error.as_db_error() {
            return Error::Server(Box::new(server.clone()));
        }
        let cause = error
            .source()
            .map(|source| (source.is::<std::io::Error>(), source.to_string()));
        match cause {
            Some((false, _)) if !error.is_closed() => Error::Answer {
                name,
                message: chain(&error),
            },
            _ => Error::connection(error),
        }
    }

    pub(super) fn connection(error: tokio_postgres::Error) -> Self {
        if let Some(server) = error.as_db_error() {
            return Error::Server(Box::new(server.clone()));
        }
        Error::Connection {
            message: chain(&error),
            source: Some(error),
        }
    }
}

/// Class 57P: shutting down or starting; 53300: too many connections; class 08; 25006: a standby after a failover.
fn outage(code: &SqlState) -> bool {
    let code = code.code();
    code.starts_with("57P") || code.starts_with("08") || code == "53300" || code == "25006"
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
