//! Why a daemon cannot start or go on, and the exit status that tells it.

use std::process::ExitCode;

use crate::{config::Mistakes, db};

/// A reason to end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration has mistakes.
    #[error(transparent)]
    Config(#[from] Mistakes),
    /// The address of a door is taken or not ours.
    #[error("cannot listen on {address} ({section}.listen): {source}")]
    Listen {
        /// Section of the configuration.
        section: &'static str,
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The login role must not be used.
    #[error(
        "role {0} is or may become a superuser or a role with BYPASSRLS: row-level security could not hold callers back; log in with a role \
         granted by forge.setup_daemon_role, or set database.allow_superuser for development"
    )]
    Unrestricted(String),
    /// The database said no or is away.
    #[error(transparent)]
    Database(#[from] db::Error),
    /// A task ended that must not.
    #[error("a part of the node failed; see the log")]
    Failed,
}

impl Error {
    /// Exit status after sysexits: 64 configuration, 69 unavailable, 70 internal, 71 system, 77 not permitted.
    pub fn exit(&self) -> ExitCode {
        ExitCode::from(match self {
            Error::Config(_) => 64,
            Error::Database(_) => 69,
            Error::Failed => 70,
            Error::Listen { .. } => 71,
            Error::Unrestricted(_) => 77,
        })
    }
}
