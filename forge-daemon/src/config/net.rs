//! `[http]`, `[grpc]` and `[hooks]`: the doors of a node and what may come through them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bytes, Span};

fn local(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// The HTTP door.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Http {
    /// Address to listen on; port 0 takes a free one.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Address told to other nodes and shown in `forge.nodes`, when it is not the one listened on.
    pub advertise: Option<String>,
    /// Largest request body. Job arguments have their own limit in the database (default 1 MiB); a batch needs room for many.
    pub body_limit: Bytes,
    /// Longest a request may take, body included.
    pub request_timeout: Span,
    /// Longest a client may take to send its request line and headers, and how long an idle connection is kept.
    pub header_timeout: Span,
    /// Longest pause between two pieces of a request body.
    pub body_idle_timeout: Span,
    /// Connections served at once; more wait in the listen queue.
    pub max_connections: usize,
    /// Requests served at once; more get 503 with Retry-After.
    pub max_requests: usize,
    /// How long a good API key is believed without asking the database again.
    pub credential_ttl: Span,
    /// Ask for a credential of role forge_service or forge_admin on `/metrics`.
    pub protect_metrics: bool,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: local(7070),
            advertise: None,
            body_limit: Bytes::mib(8),
            request_timeout: Span::secs(30),
            header_timeout: Span::secs(30),
            body_idle_timeout: Span::secs(10),
            max_connections: 4096,
            max_requests: 1024,
            credential_ttl: Span::secs(5),
            protect_metrics: false,
        }
    }
}

/// The gRPC door.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Grpc {
    /// Address to listen on; port 0 takes a free one.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Address told to other nodes and shown in `forge.nodes`, when it is not the one listened on.
    pub advertise: Option<String>,
    /// Largest message in either direction.
    pub message_limit: Bytes,
    /// Time between keep-alive pings.
    pub keepalive: Span,
    /// How long a peer may leave a keep-alive ping unanswered.
    pub keepalive_timeout: Span,
    /// Remote workers connected at once; more are refused with RESOURCE_EXHAUSTED.
    pub max_workers: usize,
}

impl Default for Grpc {
    fn default() -> Self {
        Self {
            listen: local(7170),
            advertise: None,
            message_limit: Bytes::mib(4),
            keepalive: Span::secs(10),
            keepalive_timeout: Span::secs(10),
            max_workers: 1024,
        }
    }
}

/// Inbound webhooks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Hooks {
    /// Largest delivery.
    pub body_limit: Bytes,
    /// How long a webhook's registration is believed when no control notification comes.
    pub registration_ttl: Span,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            body_limit: Bytes::mib(1),
            registration_ttl: Span::secs(5),
        }
    }
}
