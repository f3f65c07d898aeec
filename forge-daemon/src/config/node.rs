//! `[node]`: what this node is called and which parts of the system it runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Span;

/// A part of the system that a node can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// HTTP: jobs, webhooks, health, metrics.
    Gateway,
    /// Function calls for other nodes and clients.
    Executor,
    /// Claims and runs jobs.
    Worker,
    /// Stands for election to the leader's duties.
    Scheduler,
    /// Takes telemetry in.
    Collector,
}

impl Role {
    /// Every role, in the order they are shown.
    pub const ALL: [Role; 5] = [
        Role::Gateway,
        Role::Executor,
        Role::Worker,
        Role::Scheduler,
        Role::Collector,
    ];

    /// The name used in SQL and configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Gateway => "gateway",
            Role::Executor => "executor",
            Role::Worker => "worker",
            Role::Scheduler => "scheduler",
            Role::Collector => "collector",
        }
    }
}

/// Name, roles and capabilities of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Node {
    /// Shown to people; `$HOSTNAME`, then `forge`, when absent. Need not be unique.
    pub name: Option<String>,
    /// Which parts this node runs.
    pub roles: Vec<Role>,
    /// Words that route jobs here: a job runs where its kind's capability is offered.
    pub capabilities: Vec<String>,
    /// Time between heartbeats. A node is dead 15 s after its last one.
    pub heartbeat: Span,
    /// Longest wait at a stop for HTTP requests in progress. Jobs have `worker.drain_timeout`.
    pub drain_timeout: Span,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            name: None,
            roles: Role::ALL.to_vec(),
            capabilities: vec!["general".into()],
            heartbeat: Span::secs(5),
            drain_timeout: Span::secs(30),
        }
    }
}

impl Node {
    /// The configured name, else the host's, else `forge`.
    pub fn display_name(&self) -> String {
        self.name
            .clone()
            .or_else(|| {
                std::env::var("HOSTNAME")
                    .ok()
                    .filter(|name| !name.is_empty())
            })
            .or_else(|| {
                std::fs::read_to_string("/etc/hostname")
                    .ok()
                    .map(|name| name.trim().to_owned())
            })
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "forge".into())
    }

    /// Whether this node runs `role`.
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}
