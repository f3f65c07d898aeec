//! `pgbench -M prepared`: the statement without HTTP, JSON or a pool in between.

use super::ITEMS;
use anyhow::{Context, ensure};
use forge_tests::Installation;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// How the statement's transactions are isolated.
#[derive(Clone, Copy)]
pub enum Isolation {
    ReadCommitted,
    Serializable,
}

/// Transactions per second of `clients` sessions that run `statement` (with `$1` for an id below `ids`).
///
/// # Errors
/// pgbench is missing or fails.
pub async fn run(
    url: &str,
    statement: &str,
    ids: u32,
    isolation: Isolation,
    clients: usize,
    duration: Duration,
) -> anyhow::Result<f64> {
    debug_assert!(ids <= ITEMS);
    let script = std::env::temp_dir().join(format!("forge-bench-{}.sql", std::process::id()));
    let text = format!(
        "\\set id random(0, {})\n{};\n",
        ids - 1,
        statement.replace("$1", ":id")
    );
    tokio::fs::write(&script, text).await?;
    let isolation = match isolation {
        Isolation::ReadCommitted => "read\\ committed",
        Isolation::Serializable => "serializable",
    };
    // pgbench counts whole seconds.
    let seconds = duration.as_secs().max(1).to_string();
    let mut command = Command::from(Installation::find(15)?.program("pgbench"));
    command
        .args([
            "-n",
            "-M",
            "prepared",
            "--max-tries",
            "10",
            "-j",
            "2",
            "-T",
            &seconds,
        ])
        .args(["-c", &clients.to_string(), "-f"])
        .arg(&script)
        .arg(url)
        .env(
            "PGOPTIONS",
            format!("-c default_transaction_isolation={isolation}"),
        )
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(duration + Duration::from_secs(60), command.output()).await;
    let _ = tokio::fs::remove_file(&script).await;
    let output = output
        .context("pgbench does not end")?
        .context("pgbench cannot be run")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "pgbench: {}{said}",
        String::from_utf8_lossy(&output.stderr)
    );
    rate(&said).with_context(|| format!("pgbench tells no rate: {said}"))
}

/// Reads "tps = 12345.678 (without initial connection time)".
fn rate(said: &str) -> Option<f64> {
    let line = said.lines().find_map(|line| line.strip_prefix("tps = "))?;
    line.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_rate_is_read() {
        let said = "latency average = 0.4 ms\ntps = 76123.5 (without initial connection time)\n";
        assert_eq!(super::rate(said), Some(76123.5));
        assert_eq!(super::rate("nothing"), None);
    }
}
