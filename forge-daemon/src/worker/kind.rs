//! A registered kind as a worker needs it.

use std::{sync::Arc, time::Duration};

use forge_core::Handler;
use serde_json::Value;

use super::meters::Meters;

/// Timeout of a kind that has none.
const NO_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A kind of job that this node may run.
#[derive(Clone, Debug, PartialEq)]
pub struct Kind {
    /// Its name.
    pub name: Arc<str>,
    /// Where its jobs run.
    pub handler: Handler,
    /// The word a node or remote worker must offer.
    pub capability: String,
    /// Options given at registration.
    pub options: Value,
    /// How long an attempt may take.
    pub timeout: Duration,
    /// Whether claims must leave it alone.
    pub paused: bool,
    /// What is counted about it.
    pub meters: Meters,
}

/// A row of `forge_private.job_kinds()`.
#[derive(Debug)]
pub struct Row {
    /// Its name.
    pub kind: String,
    /// As registered, for example `native:resize`.
    pub handler: String,
    /// The word a node must offer.
    pub capability: String,
    /// Options given at registration.
    pub options: Value,
    /// Milliseconds an attempt may take.
    pub timeout_ms: Option<i32>,
    /// Whether claims must leave it alone.
    pub paused: bool,
}

impl Kind {
    /// Reads a registration. The error is a sentence naming the kind.
    pub fn read(row: Row) -> Result<Self, String> {
        let handler =
            Handler::parse(&row.handler).map_err(|error| format!("kind {}: {error}", row.kind))?;
        let timeout = row
            .timeout_ms
            .and_then(|ms| u64::try_from(ms).ok())
            .filter(|ms| *ms > 0);
        Ok(Self {
            capability: handler
                .capability()
                .map_or(row.capability, ToOwned::to_owned),
            handler,
            meters: Meters::of(&row.kind),
            name: row.kind.into(),
            options: row.options,
            timeout: timeout.map_or(NO_TIMEOUT, Duration::from_millis),
            paused: row.paused,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A kind for tests.
    pub fn kind(name: &str, handler: &str, capability: &str) -> Kind {
        let row = Row {
            kind: name.into(),
            handler: handler.into(),
            capability: capability.into(),
            options: json!({}),
            timeout_ms: Some(5000),
            paused: false,
        };
        Kind::read(row).unwrap()
    }

    #[test]
    fn the_handler_may_name_the_capability() {
        assert_eq!(kind("a", "worker:gpu", "general").capability, "gpu");
        assert_eq!(kind("a", "worker", "media").capability, "media");
        assert_eq!(
            kind("a", "native:x", "media").timeout,
            Duration::from_secs(5)
        );
    }

    #[test]
    fn a_bad_handler_is_named() {
        let row = Row {
            kind: "mail".into(),
            handler: "ftp://x".into(),
            capability: "general".into(),
            options: json!({}),
            timeout_ms: None,
            paused: false,
        };
        let error = Kind::read(row).unwrap_err();
        assert!(error.contains("mail") && error.contains("ftp"), "{error}");
    }
}
