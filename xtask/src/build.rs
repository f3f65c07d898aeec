//! Builds with cargo.

use std::{path::PathBuf, process::Command};

use anyhow::Result;
use forge_tests::{checkout, extension};

use crate::{
    command::{run, say},
    machine,
};

/// Builds the extension's library against a major version of PostgreSQL, getting what the machine
/// lacks for that. `FORGE_EXT_LIBRARY` names one that is built already.
pub fn extension(major: u32, release: bool) -> Result<PathBuf> {
    if let Some(built) = std::env::var_os("FORGE_EXT_LIBRARY") {
        return Ok(built.into());
    }
    say(&format!("building the extension for PostgreSQL {major}"));
    run(extension_cargo(major, "build")?.args(release.then_some("--release")))?;
    let profile = if release { "release" } else { "debug" };
    Ok(extension::target_dir(major)
        .join(profile)
        .join("libforge.so"))
}

/// A cargo command on the extension's package, for a major version.
pub fn extension_cargo(major: u32, subcommand: &str) -> Result<Command> {
    machine::toolchain()?;
    let pg_config = machine::with_headers(major)?;
    let mut command = cargo(subcommand);
    command
        .args(["-p", "forge-pgext", "--no-default-features", "--features"])
        .arg(format!("pg{major}"))
        .arg("--target-dir")
        .arg(extension::target_dir(major))
        .env("PGRX_PG_CONFIG_PATH", pg_config);
    Ok(command)
}

/// Builds programs of the workspace.
pub fn programs(packages: &[&str], release: bool) -> Result<()> {
    machine::toolchain()?;
    say(&format!("building {}", packages.join(", ")));
    let mut command = cargo("build");
    for package in packages {
        command.args(["-p", package]);
    }
    run(command.args(release.then_some("--release")))
}

/// Builds an example program of a package.
pub fn example(package: &str, name: &str) -> Result<()> {
    run(cargo("build").args(["-p", package, "--example", name]))
}

/// A cargo command in the repository's root.
pub fn cargo(subcommand: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .arg(subcommand)
        .current_dir(checkout::root())
        .env("CARGO_TARGET_DIR", checkout::target_dir());
    // Set for this program by the cargo that started it; others would rebuild because of them.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
        command.env_remove(name);
    }
    command
}
