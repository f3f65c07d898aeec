//! graphile-worker: a Node.js process that runs `peers/graphile-worker/drain.mjs`.

use anyhow::{Context, ensure};
use serde::Deserialize;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// The longest its packages may take to install.
const INSTALL_LIMIT: Duration = Duration::from_secs(120);
/// The longest one drain may take.
const DRAIN_LIMIT: Duration = Duration::from_secs(300);

/// How its worker is set up.
#[derive(Clone, Copy, Debug)]
pub enum Setting {
    /// 24 jobs at a time, each fetched and finished by itself, as it comes.
    Plain,
    /// Jobs fetched into a local queue and finished in batches.
    Batching,
}

#[derive(Deserialize)]
struct Drained {
    jobs: usize,
    elapsed_ms: f64,
}

/// Enqueues `jobs` no-op jobs and drains them; jobs per second from the first job's start until none
/// is left.
///
/// # Errors
/// Node.js or npm is missing, the package cannot be installed, or the drain fails.
pub async fn drain(peers: &Path, url: &str, jobs: usize, setting: Setting) -> anyhow::Result<f64> {
    let directory = peers.join("graphile-worker");
    install(&directory).await?;
    let setting = match setting {
        Setting::Plain => "plain",
        Setting::Batching => "batching",
    };
    let output = finished(
        Command::new("node")
            .current_dir(&directory)
            .env("DATABASE_URL", url)
            .args(["drain.mjs", &jobs.to_string(), setting]),
        DRAIN_LIMIT,
    )
    .await?;
    let drained: Drained = serde_json::from_slice(&output)
        .with_context(|| format!("not its answer: {}", String::from_utf8_lossy(&output)))?;
    ensure!(
        drained.jobs == jobs,
        "graphile-worker ran {} jobs of {jobs}",
        drained.jobs
    );
    Ok(jobs as f64 / (drained.elapsed_ms / 1000.0))
}

/// Installs the exact version that `package.json` names, unless it is there.
async fn install(directory: &Path) -> anyhow::Result<()> {
    if directory
        .join("node_modules/graphile-worker/package.json")
        .exists()
    {
        return Ok(());
    }
    finished(
        Command::new("npm").current_dir(directory).args([
            "install",
            "--no-audit",
            "--no-fund",
            "--no-package-lock",
            "--ignore-scripts",
        ]),
        INSTALL_LIMIT,
    )
    .await
    .context("graphile-worker was not installed")?;
    Ok(())
}

/// Runs a command to its end; its standard output.
async fn finished(command: &mut Command, limit: Duration) -> anyhow::Result<Vec<u8>> {
    let name = format!("{:?}", command.as_std().get_program());
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| {
            format!("{name} cannot be started; install Node.js 20 or later with npm")
        })?;
    let output = tokio::time::timeout(limit, child.wait_with_output())
        .await
        .with_context(|| format!("{name} did not end within {} s", limit.as_secs()))?
        .with_context(|| format!("{name} cannot be waited for"))?;
    ensure!(
        output.status.success(),
        "{name} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(output.stdout)
}
