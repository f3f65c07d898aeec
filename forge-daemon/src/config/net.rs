//! `[http]`, `[grpc]` and `[hooks]`: the doors of a node and what may come through them.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bytes, Network, Span};

fn local(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// The header in which trusted proxies name the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, what nearly all proxies append to.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
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
    /// Longest a client may take to send its request line and headers, or to make its TLS handshake.
    pub header_timeout: Span,
    /// Largest request line and headers together.
    pub header_limit: Bytes,
    /// How long a connection without a request is kept; longer than the balancer in front keeps its own.
    pub idle_timeout: Span,
    /// Longest pause between two pieces of a request body.
    pub body_idle_timeout: Span,
    /// Connections served at once. Some more are taken in to answer `/healthz`, `/readyz` and `/metrics`, and 503 to the rest.
    pub max_connections: usize,
    /// Requests served at once; more get 503 with Retry-After.
    pub max_requests: usize,
    /// How long a good API key is believed without asking the database again.
    pub credential_ttl: Span,
    /// Ask for a credential of role forge_service or forge_admin on `/metrics`.
    pub protect_metrics: bool,
    /// PEM file with the certificate and its chain: speaks HTTPS only. Read anew when it changes.
    pub tls_certificate: Option<PathBuf>,
    /// PEM file with the certificate's private key, not encrypted.
    pub tls_key: Option<PathBuf>,
    /// How long browsers are to insist on HTTPS for this host (Strict-Transport-Security); 0s says nothing.
    pub hsts: Span,
    /// Networks of the proxies in front, such as `10.0.0.0/8`: only they may say who the client is.
    pub trusted_proxies: Vec<Network>,
    /// The header that these proxies write; the other one is never read.
    pub forwarded_header: ForwardedHeader,
    /// Origins whose pages may call this door: `https://app.example.com`, `https://*.example.com`, or `*` for any.
    pub cors_origins: Vec<String>,
    /// Whether these pages may send cookies. Not together with `*`.
    pub cors_credentials: bool,
    /// Compress answers (br, gzip) for clients that ask for it.
    pub compression: bool,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: local(7070),
            advertise: None,
            body_limit: Bytes::mib(8),
            request_timeout: Span::secs(30),
            header_timeout: Span::secs(30),
            header_limit: Bytes::kib(32),
            idle_timeout: Span::secs(120),
            body_idle_timeout: Span::secs(10),
            max_connections: 4096,
            max_requests: 1024,
            credential_ttl: Span::secs(5),
            protect_metrics: false,
            tls_certificate: None,
            tls_key: None,
            hsts: Span::secs(0),
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
            cors_origins: Vec::new(),
            cors_credentials: false,
            compression: true,
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
    /// Connections served at once; more wait in the listen queue.
    pub max_connections: usize,
    /// PEM file with the certificate and its chain: speaks TLS only. Read anew when it changes.
    pub tls_certificate: Option<PathBuf>,
    /// PEM file with the certificate's private key, not encrypted.
    pub tls_key: Option<PathBuf>,
    /// PEM file with the authorities whose client certificates are taken; without it none is asked for.
    pub tls_client_ca: Option<PathBuf>,
    /// Refuse clients without a certificate of these authorities. When off, one that is presented must still be good.
    pub tls_client_required: bool,
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
            max_connections: 4096,
            tls_certificate: None,
            tls_key: None,
            tls_client_ca: None,
            tls_client_required: true,
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
