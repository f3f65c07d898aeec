//! The extension's SQL files: `sql/INSTALL_ORDER` concatenated into `forge--VERSION.sql`, the
//! control file and the upgrade scripts.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::checkout;

/// One file for `SHAREDIR/extension`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtensionFile {
    pub name: String,
    pub text: String,
}

/// Folder of the SQL files in this repository.
#[must_use]
pub fn sql_dir() -> PathBuf {
    checkout::root().join("sql")
}

/// `default_version` of the control file.
///
/// # Errors
/// When there is no control file or it names no version.
pub fn version() -> Result<String> {
    let control = read(&sql_dir().join("forge.control"))?;
    control
        .lines()
        .filter_map(|line| line.split_once('='))
        .find(|(name, _)| name.trim() == "default_version")
        .map(|(_, value)| value.trim().trim_matches('\'').to_owned())
        .context("sql/forge.control has no default_version")
}

/// The install script: the files of `sql/INSTALL_ORDER`, one after the other.
///
/// # Errors
/// When a file is missing, or a file of `sql/` is listed nowhere: it would silently be left out.
pub fn install_script() -> Result<String> {
    let dir = sql_dir();
    let order = read(&dir.join("INSTALL_ORDER"))?;
    let names: Vec<&str> = order
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    for file in fs::read_dir(&dir)? {
        let name = file?.file_name().to_string_lossy().into_owned();
        ensure!(
            !name.ends_with(".sql") || names.contains(&name.as_str()),
            "sql/{name} is not listed in sql/INSTALL_ORDER"
        );
    }
    let mut script = String::from(
        "-- complain if script is sourced in psql, rather than via CREATE EXTENSION\n\
         \\echo Use \"CREATE EXTENSION forge\" to load this file. \\quit\n",
    );
    for name in names {
        script.push_str(&format!("\n-- {name}\n"));
        script.push_str(&read(&dir.join(name))?);
    }
    Ok(script)
}

/// Every file that `CREATE EXTENSION` and `ALTER EXTENSION … UPDATE` need.
///
/// # Errors
/// When one cannot be read.
pub fn extension_files() -> Result<Vec<ExtensionFile>> {
    let dir = sql_dir();
    let mut files = vec![
        ExtensionFile {
            name: "forge.control".into(),
            text: read(&dir.join("forge.control"))?,
        },
        ExtensionFile {
            name: format!("forge--{}.sql", version()?),
            text: install_script()?,
        },
    ];
    let upgrades = dir.join("upgrade");
    if upgrades.is_dir() {
        for entry in fs::read_dir(&upgrades)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if name.starts_with("forge--") && name.ends_with(".sql") {
                files.push(ExtensionFile {
                    name,
                    text: read(&path)?,
                });
            }
        }
    }
    Ok(files)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}
