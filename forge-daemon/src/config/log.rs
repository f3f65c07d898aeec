//! `[log]`: what is logged and how.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line, for programs.
    Json,
}

/// Logging.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Log {
    /// `human` or `json`.
    pub format: Format,
    /// A level, or directives such as `info,forge_daemon=debug`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: Format::Human,
            level: "info".into(),
        }
    }
}
