//! Benchmarks, each with its peer, on a private cluster that flushes to disk.

use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;
use forge_tests::{Cluster, ClusterOptions, checkout};

use crate::{build, command::say, dev::DATABASE, machine};

/// Which benchmark and how it is shown.
#[derive(Args)]
pub struct Options {
    /// jobs, failover, calls…
    name: String,
    /// Print the rows as JSON.
    #[arg(long)]
    json: bool,
    /// End within a minute, with smaller numbers.
    #[arg(long)]
    quick: bool,
    /// Only the rows whose name contains this; may be given several times.
    #[arg(long)]
    only: Vec<String>,
}

/// Builds everything optimised and runs the benchmark; its exit code is this command's.
pub fn run(options: &Options) -> Result<u8> {
    build::programs(&["forge-bench", "forge-daemon"], true)?;
    let library = build::extension(15, true)?;
    // Some peers come as npm packages, which the benchmark fetches itself.
    machine::node_js()?;
    let cluster = start_cluster(&library)?;
    say(&format!("running {}", options.name));
    let programs = checkout::target_dir().join("release");
    let status = Command::new(programs.join("forge-bench"))
        .arg(&options.name)
        .args(options.json.then_some("--json"))
        .args(options.quick.then_some("--quick"))
        .args(options.only.iter().flat_map(|text| ["--only", text]))
        .env(
            "FORGE_BENCH_CLUSTER",
            serde_json::to_string(cluster.info())?,
        )
        .env("FORGE_BIN_DIR", &programs)
        .current_dir(checkout::root())
        .status()
        .context("running forge-bench")?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}

/// In an installation of its own: the optimised library must not take the place of the one that
/// `dev` and `test` use.
fn start_cluster(library: &std::path::Path) -> Result<Cluster> {
    say("starting PostgreSQL");
    let base = checkout::state_dir("forge-pg-bench")?;
    let installation = forge_tests::Installation::private_in(15, &base)?;
    let files = forge_tests::script::extension_files()?;
    forge_tests::extension::install_files(&installation, library, &files)?;
    let cluster = Cluster::start(ClusterOptions {
        durable: true,
        installation: Some(installation),
        install_extension: false,
        ..ClusterOptions::default()
    })?;
    cluster.create_database(DATABASE)?;
    Ok(cluster)
}
