//! `[outbound]`: calls that leave the system.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bytes, Secret, Span};

/// Limits and signing of outgoing HTTP calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Outbound {
    /// Call private, loopback and link-local addresses too.
    pub allow_private: bool,
    /// Longest a call may take; a job's own timeout may be shorter.
    pub timeout: Span,
    /// Longest wait for a connection.
    pub connect_timeout: Span,
    /// Redirects followed at most.
    pub max_redirects: usize,
    /// Largest answer read; longer ones fail.
    pub response_limit: Bytes,
    /// Signs calls as Standard Webhooks: `whsec_` and base64, or any text of 16 bytes or more. Unsigned when absent.
    pub signing_secret: Option<Secret>,
    /// Failures in a row that open a host's circuit.
    pub breaker_failures: u32,
    /// How long an open circuit refuses calls before it lets one through.
    pub breaker_open: Span,
    /// Calls to one host at once.
    pub per_host: usize,
}

impl Default for Outbound {
    fn default() -> Self {
        Self {
            allow_private: false,
            timeout: Span::secs(30),
            connect_timeout: Span::secs(5),
            max_redirects: 3,
            response_limit: Bytes::mib(1),
            signing_secret: None,
            breaker_failures: 5,
            breaker_open: Span::secs(30),
            per_host: 64,
        }
    }
}
