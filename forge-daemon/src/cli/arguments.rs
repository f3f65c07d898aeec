//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use uuid::Uuid;

use crate::config::Span;

/// Forge's daemon: gateway, workers and scheduler of a database with the forge extension.
#[derive(Debug, Parser)]
#[command(name = "forge-daemon", version, propagate_version = true)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub target: Target,
    #[command(subcommand)]
    pub command: Command,
}

/// Which configuration and database, and how to print.
#[derive(Clone, Debug, Args)]
pub(super) struct Target {
    /// Configuration file [default: $FORGE_CONFIG, else forge.toml if there is one]
    #[arg(long, global = true, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Database, instead of database.url and FORGE_DATABASE__URL
    #[arg(long, global = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a node until SIGTERM
    Serve,
    /// Run a node with defaults for development
    Dev,
    /// Show versions, nodes, leaders, queues and warnings
    Status,
    /// Find what is missing and say what to do about it
    Doctor,
    /// Ask a node to finish what it runs and stop
    Drain(Drain),
    /// Check or describe the configuration
    #[command(subcommand)]
    Config(Config),
    /// Look at jobs and act on them
    #[command(subcommand)]
    Jobs(Jobs),
    /// Look at schedules and act on them
    #[command(subcommand)]
    Schedules(Schedules),
    /// List and call functions
    #[command(subcommand)]
    Functions(Functions),
    /// Issue tokens
    #[command(subcommand)]
    Token(Token),
    /// Manage API keys and encryption keys
    #[command(subcommand)]
    Keys(Keys),
    /// Print what programs are generated from
    #[command(subcommand)]
    Codegen(Codegen),
    /// Print the version
    Version,
}

#[derive(Debug, Subcommand)]
pub(super) enum Functions {
    /// List registered functions
    Ls,
    /// Call a function and print its answer
    Call(Box<Call>),
}

#[derive(Debug, Args)]
pub(super) struct Call {
    pub name: String,
    /// Arguments as a JSON object
    #[arg(default_value = "{}")]
    pub args: String,
    /// Role to call as
    #[arg(long, default_value = "forge_admin")]
    pub role: String,
    /// Subject to call as, what forge.auth_subject() answers
    #[arg(long)]
    pub subject: Option<String>,
    /// Claims to call with, as a JSON object
    #[arg(long, default_value = "{}")]
    pub claims: String,
    #[arg(long)]
    pub idempotency_key: Option<String>,
    /// Print an action's job instead of waiting for its result
    #[arg(long)]
    pub no_wait: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Print a new token
    Issue(Issue),
}

#[derive(Debug, Args)]
pub(super) struct Issue {
    /// Who it is for, what forge.auth_subject() answers
    #[arg(long)]
    pub subject: String,
    #[arg(long)]
    pub role: Option<String>,
    /// More claims, as a JSON object
    #[arg(long, default_value = "{}")]
    pub claims: String,
    /// How long it is good for, such as 15m
    #[arg(long, default_value = "1h")]
    pub ttl: Span,
    /// Which of auth.issuers signs [default: the only one that can]
    #[arg(long)]
    pub issuer: Option<String>,
    /// Audience [default: the issuer's first]
    #[arg(long)]
    pub audience: Option<String>,
    /// Make a session in the database instead of a JSON Web Token
    #[arg(long, conflicts_with_all = ["issuer", "audience"])]
    pub session: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// List API keys
    Ls,
    /// Make a key; an API key is printed, once
    Create(Box<CreateKey>),
    /// Replace an API key by a new one of the same name, role and claims; the old one ends at once
    Rotate {
        name: String,
        /// A key of forge.encrypt: what was encrypted before can still be read
        #[arg(long)]
        encryption: bool,
    },
    /// End an API key
    Revoke { name: String },
}

#[derive(Debug, Args)]
pub(super) struct CreateKey {
    pub name: String,
    /// A key of forge.encrypt instead of an API key
    #[arg(long, conflicts_with_all = ["role", "scopes", "claims", "expires_in"])]
    pub encryption: bool,
    #[arg(long, default_value = "forge_user")]
    pub role: String,
    /// May be given several times
    #[arg(long = "scope")]
    pub scopes: Vec<String>,
    /// Claims as a JSON object
    #[arg(long, default_value = "{}")]
    pub claims: String,
    /// How long it is good for, such as 90d; without end when absent
    #[arg(long)]
    pub expires_in: Option<Span>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Codegen {
    /// OpenAPI 3.1 of every registered function and route
    Openapi,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false, id = "which")]
pub(super) struct Which {
    /// Name or id of the node
    #[arg(long, group = "which", value_name = "NAME")]
    pub node: Option<String>,
    /// Process on this machine
    #[arg(long, group = "which", value_name = "PID", value_parser = clap::value_parser!(i32).range(2..))]
    pub pid: Option<i32>,
}

#[derive(Debug, Args)]
pub(super) struct Drain {
    #[command(flatten)]
    pub which: Which,
    /// Seconds to wait until it has stopped; 0 does not wait
    #[arg(long, default_value_t = 120)]
    pub wait: u64,
}

#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Report every mistake; print the effective configuration with --json
    Check,
    /// Print the JSON Schema of forge.toml
    Schema,
}

#[derive(Debug, Subcommand)]
pub(super) enum Jobs {
    /// List jobs, newest first
    Ls(List),
    /// Show one job with its attempts
    Show { id: Uuid },
    /// Enqueue a job
    Enqueue(Box<Enqueue>),
    /// Make dead, delayed or retrying jobs ready now
    Retry {
        #[arg(required = true)]
        ids: Vec<Uuid>,
    },
    /// Cancel jobs; running ones are told to stop
    Cancel {
        #[arg(required = true)]
        ids: Vec<Uuid>,
    },
    /// Make all dead jobs ready again
    Redrive {
        /// Only of this kind
        #[arg(long)]
        kind: Option<String>,
        /// Only of this queue
        #[arg(long)]
        queue: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// scheduled, ready, running, retrying, completed, dead or cancelled
    #[arg(long, value_parser = forge_core::State::parse)]
    pub state: Option<forge_core::State>,
    #[arg(long)]
    pub kind: Option<String>,
    #[arg(long)]
    pub queue: Option<String>,
    /// Jobs older than this one
    #[arg(long, value_name = "ID")]
    pub before: Option<Uuid>,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=1000))]
    pub limit: i64,
}

#[derive(Debug, Args)]
pub(super) struct Enqueue {
    pub kind: String,
    /// Arguments as JSON
    #[arg(default_value = "{}")]
    pub args: String,
    #[arg(long)]
    pub queue: Option<String>,
    /// critical, high, normal, low or background
    #[arg(long)]
    pub priority: Option<String>,
    /// RFC 3339 time
    #[arg(long)]
    pub run_at: Option<String>,
    /// Duration such as 30s
    #[arg(long)]
    pub delay: Option<String>,
    #[arg(long)]
    pub max_attempts: Option<i32>,
    #[arg(long)]
    pub unique_key: Option<String>,
    /// keep, replace or reject
    #[arg(long)]
    pub on_conflict: Option<String>,
    #[arg(long)]
    pub idempotency_key: Option<String>,
    #[arg(long)]
    pub concurrency_key: Option<String>,
    /// May be given several times
    #[arg(long = "tag")]
    pub tags: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Schedules {
    /// List schedules
    Ls,
    /// Run a schedule's job now
    Trigger { name: String },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn drain_wants_exactly_one_target() {
        let parse = |line: &str| Arguments::try_parse_from(line.split(' ')).is_ok();
        assert!(parse("forge-daemon drain --node a"));
        assert!(parse("forge-daemon drain --pid 77 --wait 0 --json"));
        assert!(!parse("forge-daemon drain"));
        assert!(!parse("forge-daemon drain --node a --pid 77"));
        assert!(!parse("forge-daemon drain --pid 1"));
    }
}
