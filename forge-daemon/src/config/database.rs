//! `[database]`: where the database is and how it is talked to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Secret, Span};

/// Connection, pool and statement limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Database {
    /// `postgres://user:password@host:port/database`; required to serve.
    pub url: Secret,
    /// Connections kept at most; the listening connection comes on top.
    pub pool_size: usize,
    /// Longest wait for a new connection.
    pub connect_timeout: Span,
    /// Longest wait for a free connection of the pool.
    pub acquire_timeout: Span,
    /// Longest a statement may run; the server cancels it, and the daemon gives up one second later.
    pub statement_timeout: Span,
    /// A direct URL for LISTEN when `url` goes through a pooler in transaction mode.
    pub listen_url: Option<Secret>,
    /// Off when a pooler in transaction mode cannot keep prepared statements.
    pub prepared_statements: bool,
    /// Serve even with a superuser or BYPASSRLS role, which no policy can hold back. For development only.
    pub allow_superuser: bool,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            pool_size: 10,
            connect_timeout: Span::secs(5),
            acquire_timeout: Span::secs(5),
            statement_timeout: Span::secs(30),
            listen_url: None,
            prepared_statements: true,
            allow_superuser: false,
        }
    }
}
