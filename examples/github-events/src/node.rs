//! A Forge node with this example's Rust handlers linked in. Everything else is the daemon's own.

use std::process::ExitCode;

use forge_daemon::{Forge, Job};

use crate::native::Handlers;

/// Runs the node until it is told to stop.
pub async fn run() -> ExitCode {
    let handlers = match Handlers::from_environment() {
        Ok(handlers) => handlers,
        Err(error) => {
            eprintln!("github-events node: {error:#}");
            return ExitCode::from(64);
        }
    };
    let (pipelines, alerts) = (handlers.clone(), handlers);
    Forge::builder()
        .native("pipeline", move |job: Job| pipelines.clone().pipeline(job))
        .native("alert", move |job: Job| alerts.clone().alert(job))
        .run()
        .await
}
