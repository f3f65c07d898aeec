//! The extension's SQL files: `sql/INSTALL_ORDER` concatenated into `forge--VERSION.sql`, the
//! control file, the install scripts of released versions and the upgrade scripts.
//!
//! The version under way has neither of its scripts written down: both are put together from the files
//! of `sql/` whenever they are needed, until [`release`] keeps them.

pub mod statement;
pub mod upgrade;

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
    let install = files[1].name.clone();
    let versions = kept(&dir.join("version"))?;
    let is_released = versions.iter().any(|file| file.name == install);
    files.extend(versions.into_iter().filter(|file| file.name != install));
    files.extend(kept(&dir.join("upgrade"))?);
    if let Some(newest) = released()?.last().filter(|_| !is_released) {
        let upgrade = compose_upgrade(newest)?;
        files.retain(|file| file.name != upgrade.name);
        files.push(upgrade);
    }
    Ok(files)
}

/// Versions whose install scripts are kept, oldest first; without the one under way.
///
/// # Errors
/// When the folder cannot be read.
pub fn released() -> Result<Vec<String>> {
    let current = version()?;
    let mut versions: Vec<String> = kept(&sql_dir().join("version"))?
        .into_iter()
        .filter_map(|file| {
            let version = file.name.strip_prefix("forge--")?.strip_suffix(".sql")?;
            (version != current).then(|| version.to_owned())
        })
        .collect();
    versions.sort_by_key(|version| numbers(version));
    Ok(versions)
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|n| n.parse().unwrap_or(0)).collect()
}

/// The script from the newest released version to the one under way.
fn compose_upgrade(newest: &str) -> Result<ExtensionFile> {
    let dir = sql_dir();
    let name = format!("forge--{newest}--{}.sql", version()?);
    let by_hand = dir.join("upgrade").join(&name);
    let by_hand = if by_hand.is_file() {
        read(&by_hand)?
    } else {
        String::new()
    };
    let released = read(&dir.join("version").join(format!("forge--{newest}.sql")))?;
    let grants = read(&dir.join("grants.sql"))?;
    let text = upgrade::compose(&released, &install_script()?, &grants, &by_hand);
    Ok(ExtensionFile { name, text })
}

/// Keeps both scripts of the version under way, which is released with this; answers where.
///
/// # Errors
/// When it is released already, or a file cannot be written.
pub fn release() -> Result<Vec<PathBuf>> {
    let (dir, version) = (sql_dir(), version()?);
    let install = dir.join("version").join(format!("forge--{version}.sql"));
    ensure!(
        !install.exists(),
        "{} is there: raise default_version in sql/forge.control, and version in Cargo.toml, first",
        install.display()
    );
    let mut written = Vec::new();
    if let Some(newest) = released()?.last() {
        let upgrade = compose_upgrade(newest)?;
        written.push(dir.join("upgrade").join(upgrade.name));
        fs::write(&written[0], upgrade.text)?;
    }
    fs::write(&install, install_script()?)?;
    written.push(install);
    Ok(written)
}

/// The scripts in a folder.
fn kept(folder: &Path) -> Result<Vec<ExtensionFile>> {
    let mut files = Vec::new();
    if !folder.is_dir() {
        return Ok(files);
    }
    for entry in fs::read_dir(folder)? {
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
    Ok(files)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}
