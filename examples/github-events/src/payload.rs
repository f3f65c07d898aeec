//! GitHub's own example payloads, from the npm package `@octokit/webhooks-examples`.
//!
//! Invariant: the version is pinned in package.json and its lock, so the payloads of `api.github.com`
//! are always the same [`COUNT`].

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use tokio::{process::Command, time::timeout};

/// Payloads the pinned package has for `api.github.com`.
pub const COUNT: usize = 329;

const FILE: &str = "node_modules/@octokit/webhooks-examples/api.github.com/index.json";
const INSTALL_TIMEOUT: Duration = Duration::from_secs(300);

/// One delivery's event type and body.
#[derive(Clone, Debug)]
pub struct Payload {
    /// GitHub's name of the event, as in `X-GitHub-Event`.
    pub event: Arc<str>,
    /// Compact JSON.
    pub body: Bytes,
}

#[derive(Deserialize)]
struct Event {
    name: String,
    examples: Vec<Value>,
}

/// The example's own directory, where package.json is.
pub fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Installs the pinned package with `npm ci` unless it is there. Returns whether it had to. Whoever comes while it is being
/// installed waits.
///
/// # Errors
/// When npm is missing, fails, or takes over five minutes.
pub async fn install(directory: &Path) -> Result<bool> {
    let lock = directory.join("package-lock.json");
    let _held = tokio::task::spawn_blocking(move || {
        let file = std::fs::File::open(&lock)?;
        file.lock().map(|()| file)
    })
    .await?
    .with_context(|| format!("locking package-lock.json in {}", directory.display()))?;
    if directory.join(FILE).is_file() {
        return Ok(false);
    }
    let npm = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(directory)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(INSTALL_TIMEOUT, npm)
        .await
        .context("`npm ci` took over five minutes; check that the registry can be reached")?
        .context("running `npm ci`; install Node.js and npm")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`npm ci` in {} failed: {}",
            directory.display(),
            said.trim()
        );
    }
    Ok(true)
}

/// Reads all payloads, in the order of the package.
///
/// # Errors
/// When the file is missing or does not hold [`COUNT`] payloads.
pub fn read(directory: &Path) -> Result<Vec<Payload>> {
    let path = directory.join(FILE);
    let text = std::fs::read(&path)
        .with_context(|| format!("reading {}; run `npm ci` there first", path.display()))?;
    let events: Vec<Event> =
        serde_json::from_slice(&text).with_context(|| format!("parsing {}", path.display()))?;
    let mut payloads = Vec::with_capacity(COUNT);
    for event in events {
        let name: Arc<str> = event.name.into();
        for example in event.examples {
            payloads.push(Payload {
                event: Arc::clone(&name),
                body: serde_json::to_vec(&example)?.into(),
            });
        }
    }
    ensure!(
        payloads.len() == COUNT,
        "{} holds {} payloads, expected {COUNT}; is it the version pinned in package.json?",
        path.display(),
        payloads.len()
    );
    Ok(payloads)
}

/// All payloads, installed first when they are missing.
#[cfg(test)]
pub async fn for_tests() -> Vec<Payload> {
    let directory = directory();
    install(&directory).await.unwrap();
    read(&directory).unwrap()
}
