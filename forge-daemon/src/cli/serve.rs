//! `serve` and `dev`: a node in this process.

use std::process::ExitCode;

use super::arguments::Target;
use crate::{app::Forge, config, error::Error};

/// What `dev` assumes where nothing is said.
const DEVELOPMENT: [(&str, &str); 5] = [
    ("database.url", "postgres://postgres@127.0.0.1:7432/forge"),
    ("database.allow_superuser", "true"),
    ("outbound.allow_private", "true"),
    ("node.name", "dev"),
    ("log.level", "info,forge_daemon=debug"),
];

/// Runs a node as configured.
pub(super) async fn serve(target: &Target) -> ExitCode {
    run(target, &[]).await
}

/// Runs a node with development's defaults under the configuration.
pub(super) async fn dev(target: &Target) -> ExitCode {
    run(target, &DEVELOPMENT).await
}

async fn run(target: &Target, defaults: &[(&str, &str)]) -> ExitCode {
    match config::load::read(target.config.as_deref(), defaults, &target.overrides()) {
        Ok(config) => Forge::builder().config(config).run().await,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            Error::from(mistakes).exit()
        }
    }
}
