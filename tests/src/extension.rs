//! Installing the built extension: the library and the SQL files.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::{
    checkout,
    installation::{Installation, replace},
    script::{self, ExtensionFile},
};

/// Where `cargo xtask build-ext` puts the library for a major version. Each has a target directory
/// of its own: the bindings differ, and switching must not rebuild them. `FORGE_EXT_LIBRARY`
/// names another file.
#[must_use]
pub fn library(major: u32) -> PathBuf {
    match env::var_os("FORGE_EXT_LIBRARY") {
        Some(path) => path.into(),
        None => target_dir(major).join("debug/libforge.so"),
    }
}

/// Cargo's target directory for builds of the extension against `major`.
#[must_use]
pub fn target_dir(major: u32) -> PathBuf {
    checkout::target_dir().join(format!("pg{major}"))
}

/// Installs this checkout's extension into `installation`.
///
/// # Errors
/// When it is not built, or the directories cannot be written.
pub fn install(installation: &Installation) -> Result<()> {
    let library = library(installation.major);
    ensure!(
        library.is_file(),
        "{} is not built; run `cargo xtask build-ext --pg-major {}`",
        library.display(),
        installation.major
    );
    install_files(installation, &library, &script::extension_files()?)
}

/// Installs any library and SQL files, such as those of another version.
///
/// # Errors
/// When the directories cannot be written.
pub fn install_files(
    installation: &Installation,
    library: &Path,
    files: &[ExtensionFile],
) -> Result<()> {
    let code = fs::read(library).with_context(|| format!("reading {}", library.display()))?;
    put(&installation.pkglib.join("forge.so"), &code)?;
    for file in files {
        put(
            &installation.share.join("extension").join(&file.name),
            file.text.as_bytes(),
        )?;
    }
    Ok(())
}

/// Writes only what differs, so that running servers keep the library they have mapped.
fn put(path: &Path, content: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|present| present == content) {
        return Ok(());
    }
    replace(path, |fresh| Ok(fs::write(fresh, content)?))
}
