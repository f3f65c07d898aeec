//! `pg_regress` and `isolationtester` on the files of `pg_regress/`, each on a database of its
//! own. `FORGE_REGRESS_ACCEPT=1` takes the output as the expected one, to be read before it is
//! committed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use forge_tests::{Cluster, Installation, checkout, installation::MAJORS};

use super::report::Counts;
use crate::command::{line, say};

/// Where the files of one kind are and what runs them.
#[derive(Clone, Copy)]
pub struct Files {
    pub title: &'static str,
    folder: &'static str,
    extension: &'static str,
    runner: &'static str,
}

/// SQL files and their output.
pub const SQL: Files = Files {
    title: "regress",
    folder: "sql",
    extension: "sql",
    runner: "pg_regress",
};

/// Specs of interleaved sessions.
pub const ISOLATION: Files = Files {
    title: "isolation",
    folder: "specs",
    extension: "spec",
    runner: "pg_isolation_regress",
};

/// Runs the files whose name contains `name`.
pub fn run(cluster: &Cluster, files: Files, name: &str) -> Result<Counts> {
    let source = checkout::root().join("pg_regress").canonicalize()?;
    let runner = runner(cluster, files.runner)?;
    let mut counts = Counts::default();
    for test in names(&source.join(files.folder), files.extension)? {
        if test.contains(name) {
            let outcome = one(cluster, &runner, &source, &test)?;
            counts.passed += u32::from(outcome);
            counts.failed += u32::from(!outcome);
        }
    }
    Ok(counts)
}

/// The program of the cluster's own version, or of another where that one is missing or does not start: they run
/// the `psql` they are told to and speak the same protocol. (The wheel's `pg_regress` 18 ends with a segmentation fault.)
fn runner(cluster: &Cluster, name: &str) -> Result<PathBuf> {
    let own = cluster.installation();
    let others = MAJORS.iter().filter(|major| **major != own.major);
    let others: Vec<Installation> = others
        .filter_map(|major| Installation::find(*major).ok())
        .collect();
    std::iter::once(own)
        .chain(&others)
        .filter_map(|installation| installation.test_program(name))
        .find(|program| starts(program))
        .with_context(|| format!("no PostgreSQL here comes with a {name} that starts"))
}

fn starts(program: &Path) -> bool {
    let output = Command::new(program).arg("--version").output();
    output.is_ok_and(|output| output.status.success())
}

fn one(cluster: &Cluster, runner: &Path, source: &Path, test: &str) -> Result<bool> {
    let database = cluster.database()?;
    let output = checkout::target_dir().join("regress").join(database.name());
    fs::create_dir_all(&output)?;
    let info = cluster.info();
    let mut command = Command::new(runner);
    command
        .arg("--use-existing")
        .arg(format!("--dbname={}", database.name()))
        .arg(format!("--inputdir={}", source.display()))
        .arg(format!("--outputdir={}", output.display()))
        .arg(format!("--bindir={}", cluster.installation().bin.display()))
        .arg(format!("--host={}", info.socket_dir.display()))
        .arg(format!("--port={}", info.port))
        .arg("--user=postgres")
        .arg(test)
        .env("PGTZ", "UTC")
        .current_dir(&output);
    let accept = std::env::var_os("FORGE_REGRESS_ACCEPT").is_some();
    let expected = source.join("expected").join(format!("{test}.out"));
    if accept && !expected.is_file() {
        // The runner gives up on a file without an expected output before it has run it.
        fs::write(&expected, "")?;
    }
    let done = command.output().with_context(|| line(&command))?;
    let passed = done.status.success();
    eprintln!("    {:4} {test}", if passed { "ok" } else { "FAIL" });
    let results = output.join("results").join(format!("{test}.out"));
    if !passed && accept && results.is_file() {
        say(&format!("accepting the output of {test}"));
        fs::copy(&results, expected)?;
    } else if let Ok(differences) = fs::read_to_string(output.join("regression.diffs")) {
        eprintln!("{differences}");
    } else if !passed {
        eprintln!("{}", String::from_utf8_lossy(&done.stderr));
        eprintln!("{}", String::from_utf8_lossy(&done.stdout));
    }
    if passed {
        fs::remove_dir_all(&output)?;
    }
    Ok(passed)
}

fn names(folder: &Path, extension: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    if !folder.is_dir() {
        return Ok(names);
    }
    for entry in fs::read_dir(folder)? {
        let path: PathBuf = entry?.path();
        if path.extension().is_some_and(|found| found == extension)
            && let Some(stem) = path.file_stem()
        {
            names.push(stem.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
