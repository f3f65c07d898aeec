//! `[cache]`: answers of queries that were registered with `cache_ttl`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bytes, Span};

/// Kept answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Cache {
    /// Memory for kept answers; the least used make room.
    pub memory: Bytes,
    /// How long past its time an answer may still be given, marked stale, while the database cannot be asked; `0s` never.
    pub stale_for: Span,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            memory: Bytes::mib(32),
            stale_for: Span::secs(300),
        }
    }
}
