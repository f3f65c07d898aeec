//! Tests written in Rust: `cargo nextest` where it is installed, else `cargo test`.

use std::{path::Path, process::Command};

use anyhow::{Result, ensure};
use forge_tests::Cluster;

use super::report::Counts;
use crate::{
    build::cargo,
    command::{exists, line, stream},
};

/// Unit and property tests of everything but the extension, whose tests run inside PostgreSQL.
pub fn unit(name: &str) -> Result<Counts> {
    let mut command = if exists("cargo-nextest") {
        let mut command = nextest();
        command.args([
            "--workspace",
            "--exclude",
            "forge-pgext",
            "-E",
            "not binary(it)",
        ]);
        command
    } else {
        let mut command = cargo("test");
        command.args(["--no-fail-fast", "--workspace", "--exclude", "forge-pgext"]);
        command.args(["--lib", "--bins"]);
        command
    };
    count(command.args(name_filter(name)))
}

/// Examples in the documentation.
pub fn doc() -> Result<Counts> {
    count(cargo("test").args(["--doc", "-p", "forge-core", "-p", "forge-daemon"]))
}

/// Integration or chaos tests, on a cluster with a template database; `python` and `newman` are
/// programs that tests run.
pub fn daemons(
    cluster: &Cluster,
    [python, newman]: &[&Path; 2],
    chaos: bool,
    name: &str,
) -> Result<Counts> {
    let mut command = if exists("cargo-nextest") {
        let mut command = nextest();
        let which = if chaos {
            "test(/^chaos::/)"
        } else {
            "not test(/^chaos::/)"
        };
        command.args(["-p", "forge-tests", "--test", "it", "-E", which]);
        // Chaos tests want the machine for themselves; the others mostly wait.
        command.args(["--test-threads", if chaos { "1" } else { "3" }]);
        command.args(name_filter(name));
        command
    } else {
        let mut command = cargo("test");
        command.args(["--no-fail-fast", "-p", "forge-tests", "--test", "it"]);
        command.args(name_filter(name)).arg("--");
        match chaos {
            true => command.args(["chaos::", "--test-threads", "1"]),
            false => command.args(["--skip", "chaos::", "--test-threads", "3"]),
        };
        command
    };
    command
        .env("FORGE_TEST_CLUSTER", serde_json::to_string(cluster.info())?)
        .env("FORGE_TEST_PYTHON", python)
        .env("FORGE_TEST_NEWMAN", newman);
    count(&mut command)
}

fn nextest() -> Command {
    let mut command = cargo("nextest");
    command.args(["run", "--no-fail-fast", "--no-tests", "pass"]);
    command
}

fn name_filter(name: &str) -> Option<&str> {
    (!name.is_empty()).then_some(name)
}

/// Runs the tests and reads their counts from the runner's summary.
fn count(command: &mut Command) -> Result<Counts> {
    let mut counts = Counts::default();
    let status = stream(command, |text| {
        if let Some(found) = summary(text) {
            counts.passed += found.passed;
            counts.failed += found.failed;
        }
    })?;
    let told = status.success() || counts.failed > 0;
    ensure!(
        told,
        "{} ended with {status} without running every test",
        line(command)
    );
    Ok(counts)
}

/// Reads "Summary [ 1.2s] 3 tests run: 2 passed, 1 failed" and "test result: ok. 2 passed; …".
fn summary(text: &str) -> Option<Counts> {
    let text = text.trim_start();
    if !text.starts_with("Summary [") && !text.starts_with("test result:") {
        return None;
    }
    let words: Vec<&str> = text
        .split([' ', ',', ';'])
        .filter(|word| !word.is_empty())
        .collect();
    let number_before = |what: &str| -> u32 {
        let pairs = words.windows(2).filter(|pair| pair[1] == what);
        pairs.filter_map(|pair| pair[0].parse::<u32>().ok()).sum()
    };
    // "1 timed out" and "1 exec failed" are failures of nextest's.
    let failed = number_before("failed") + number_before("timed") + number_before("exec");
    Some(Counts {
        passed: number_before("passed"),
        failed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_runners() {
        let of = |text| summary(text).map(|counts| (counts.passed, counts.failed));
        assert_eq!(
            of("test result: ok. 5 passed; 0 failed; 1 ignored"),
            Some((5, 0))
        );
        assert_eq!(
            of("     Summary [   0.1s] 3 tests run: 3 passed (1 slow), 7 skipped"),
            Some((3, 0))
        );
        assert_eq!(
            of("Summary [ 9s] 4 tests run: 1 passed, 2 failed, 1 timed out, 0 skipped"),
            Some((1, 3))
        );
        assert_eq!(of("PASS [ 0.1s] forge-core cron::passed"), None);
    }
}
