//! Where things are: the repository, cargo's target directory, and the state directory.
//!
//! The state directory holds everything the harness makes. It is a directory below the target
//! directory, unless servers run under an account that cannot enter it (a checkout below /root):
//! then it is one below the system's temporary directory, named after the checkout.

use std::{
    env,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::account::server_account;

/// The repository's root.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Cargo's target directory: `CARGO_TARGET_DIR`, else the one this program was built into, else
/// the repository's own.
#[must_use]
pub fn target_dir() -> PathBuf {
    if let Some(dir) = env::var_os("CARGO_TARGET_DIR") {
        return root().join(dir);
    }
    let built_into = env::current_exe().ok().and_then(|exe| {
        exe.ancestors()
            .find(|dir| dir.join("CACHEDIR.TAG").is_file())
            .map(Path::to_path_buf)
    });
    built_into.unwrap_or_else(|| plain_root().join("target"))
}

/// Directory for servers' files, made when missing, reachable by the server's account.
///
/// # Errors
/// When it cannot be made.
pub fn state_dir(name: &str) -> Result<PathBuf> {
    reachable(&target_dir().join(name))
}

/// `wanted` when servers can reach it, else the stand-in below the temporary directory; made when
/// missing.
///
/// # Errors
/// When it cannot be made.
pub fn reachable(wanted: &Path) -> Result<PathBuf> {
    let dir = match server_account()? {
        Some(account) if !account.can_reach(wanted) => stand_in(wanted),
        _ => wanted.to_path_buf(),
    };
    std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    dir.canonicalize()
        .with_context(|| format!("resolving {}", dir.display()))
}

/// A built program of the workspace, such as `forge-daemon`. `FORGE_BIN_DIR` names another
/// directory to take programs from.
///
/// # Errors
/// When it has not been built.
pub fn program(name: &str) -> Result<PathBuf> {
    let dir = match env::var_os("FORGE_BIN_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => target_dir().join("debug"),
    };
    let path = dir.join(name);
    anyhow::ensure!(
        path.is_file(),
        "{} is not built; run `cargo build -p {name}`",
        path.display()
    );
    Ok(path)
}

fn plain_root() -> PathBuf {
    root()
        .canonicalize()
        .unwrap_or_else(|_| root().to_path_buf())
}

fn stand_in(wanted: &Path) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    wanted.hash(&mut hasher);
    let name = wanted.file_name().unwrap_or_default().to_string_lossy();
    env::temp_dir().join(format!("{name}-{:016x}", hasher.finish()))
}
