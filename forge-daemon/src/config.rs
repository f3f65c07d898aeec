//! The daemon's whole typed configuration: `forge.toml`, `${ENV}` interpolation and `FORGE_SECTION__FIELD` variables.
//!
//! Invariants: every field has a default except the database URL; an unknown field is an error; all mistakes are
//! reported together ([`Mistakes`]), each naming the field and where its value came from.

pub mod auth;
pub mod cache;
pub mod database;
pub mod duration;
pub mod load;
pub mod log;
pub mod net;
pub mod network;
pub mod node;
pub mod outbound;
pub mod scheduler;
pub mod schema;
pub mod secret;
pub mod size;
pub mod worker;

mod check;
mod environment;
mod interpolate;
mod mistake;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use auth::{Algorithm, Auth, Issuer};
pub use cache::Cache;
pub use database::Database;
pub use duration::Span;
pub use log::{Format, Log};
pub use mistake::{Mistake, Mistakes, Source};
pub use net::{ForwardedHeader, Grpc, Hooks, Http};
pub use network::Network;
pub use node::{Node, Role};
pub use outbound::Outbound;
pub use scheduler::Scheduler;
pub use secret::Secret;
pub use size::Bytes;
pub use worker::Worker;

/// Everything a daemon can be told, with the defaults of a production node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(title = "forge.toml", deny_unknown_fields)]
pub struct Config {
    /// Where the database is and how it is talked to.
    pub database: Database,
    /// What this node is called and does.
    pub node: Node,
    /// The HTTP door.
    pub http: Http,
    /// The gRPC door.
    pub grpc: Grpc,
    /// Credentials other than API keys.
    pub auth: Auth,
    /// Kept answers of queries.
    pub cache: Cache,
    /// Running jobs.
    pub worker: Worker,
    /// Leader duties.
    pub scheduler: Scheduler,
    /// Calls that leave the system.
    pub outbound: Outbound,
    /// Inbound webhooks.
    pub hooks: Hooks,
    /// What is logged and how.
    pub log: Log,
}

impl Config {
    /// Whether a door of this node is encrypted.
    pub fn uses_tls(&self) -> bool {
        self.http.tls_certificate.is_some() || self.grpc.tls_certificate.is_some()
    }
}
