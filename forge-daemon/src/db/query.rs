//! A statement with the types of its parameters, so that it runs in one round trip with or without preparing.

use postgres_types::{ToSql, Type};

use super::Error;

/// A statement: its text and the types of `$1`, `$2`, …
#[derive(Clone, Copy, Debug)]
pub struct Query {
    /// Short name for logs and metrics.
    pub name: &'static str,
    /// The text.
    pub sql: &'static str,
    /// Parameter types in order.
    pub types: &'static [Type],
}

impl Query {
    /// A statement `sql` called `name` whose parameters have `types`.
    pub const fn new(name: &'static str, sql: &'static str, types: &'static [Type]) -> Self {
        Self { name, sql, types }
    }

    /// The error for an answer of another form than expected.
    pub fn unexpected(&self, what: impl std::fmt::Display) -> Error {
        Error::Answer {
            name: self.name,
            message: what.to_string(),
        }
    }

    pub(super) fn bind<'a>(
        &self,
        params: &[&'a (dyn ToSql + Sync)],
    ) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
        params
            .iter()
            .copied()
            .zip(self.types.iter().cloned())
            .collect()
    }
}
