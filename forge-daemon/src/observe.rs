//! What a process tells about itself: log lines and metrics.
//!
//! Invariants: both are installed once a process, by [`init`] or the first node; a program that installed its own
//! keeps it. Refreshing gauges costs the database nothing unless someone asks for metrics.

mod gauges;
pub mod metrics;

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt};

pub use gauges::Gauges;

use crate::config::{Format, Log};

/// The libraries' own lines on lost connections: the daemon says it once, in its own words.
const QUIET: &str = "tokio_postgres=error,deadpool.postgres=error";

/// Sets up logging to standard error and the metrics recorder.
pub fn init(log: &Log) {
    let filter = EnvFilter::try_new(format!("{QUIET},{}", log.level))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match log.format {
        Format::Human => lines
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .try_init(),
        Format::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init(),
    };
    if installed.is_err() {
        tracing::debug!("logging was already set up by the program");
    }
    metrics::install();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quiet_libraries_are_a_filter() {
        let filter = EnvFilter::try_new(format!("{QUIET},info,forge_daemon=debug")).unwrap();
        assert!(
            filter.to_string().contains("deadpool.postgres=error"),
            "{filter}"
        );
    }
}
