//! Why a command did not do what it was asked.

use std::process::ExitCode;

use crate::{config::Mistakes, db};

/// A failed command.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Config(#[from] Mistakes),
    #[error("{0}")]
    Database(#[from] db::Error),
    #[error("{0}")]
    Refused(String),
    /// Everything was said already.
    #[error("")]
    Silent,
}

impl Failure {
    /// Prints what is wrong, and the server's hint, to standard error.
    pub fn report(&self) -> ExitCode {
        match self {
            Failure::Config(mistakes) => eprintln!("{mistakes}"),
            Failure::Database(db::Error::Server(error)) => {
                eprintln!("error: {} ({})", error.message(), error.code().code());
                if let Some(detail) = error.detail() {
                    eprintln!("detail: {detail}");
                }
                if let Some(hint) = error.hint() {
                    eprintln!("hint: {hint}");
                }
            }
            Failure::Database(error) => eprintln!("error: {error}"),
            Failure::Refused(message) => eprintln!("error: {message}"),
            Failure::Silent => {}
        }
        ExitCode::from(match self {
            Failure::Config(_) => 64,
            Failure::Database(error) if error.is_outage() => 69,
            _ => 1,
        })
    }
}
