//! The unprivileged account a server runs under.
//!
//! PostgreSQL refuses to run as root, so a root process starts it as `postgres` (made by Debian's
//! packages) and gives it directories that this account can reach.

use std::{
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::Path,
    process::Command,
};

use anyhow::{Context, Result};
use nix::unistd::{User, geteuid};

/// A system account that is not root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    uid: u32,
    gid: u32,
}

/// Account for servers: `None` when this process is unprivileged itself and simply keeps its own.
///
/// # Errors
/// When running as root without a `postgres` account.
pub fn server_account() -> Result<Option<Account>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let user = User::from_name("postgres")
        .context("looking up the account `postgres`")?
        .context(
            "PostgreSQL refuses to run as root and there is no account `postgres`; install the \
             package postgresql-15, or run as another user",
        )?;
    Ok(Some(Account {
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
    }))
}

/// Whether this process may use the system's package manager.
#[must_use]
pub fn is_root() -> bool {
    geteuid().is_root()
}

impl Account {
    /// Makes `command` run under this account, without supplementary groups.
    pub fn adopt(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    /// Gives `path` (not what is below it) to this account.
    ///
    /// # Errors
    /// When the path is missing or this process is not root.
    pub fn give(&self, path: &Path) -> Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
            .with_context(|| format!("giving {} to the server's account", path.display()))
    }

    /// Whether every directory from the root down to `path` may be entered by this account.
    #[must_use]
    pub fn can_reach(&self, path: &Path) -> bool {
        path.ancestors().all(|step| match std::fs::metadata(step) {
            Ok(meta) => {
                let shift = if meta.uid() == self.uid {
                    6
                } else if meta.gid() == self.gid {
                    3
                } else {
                    0
                };
                (meta.mode() >> shift) & 1 == 1
            }
            // Not made yet: it will be made with the default mode, which others may enter.
            Err(_) => true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reach_needs_every_ancestor() {
        let nobody = Account {
            uid: 65534,
            gid: 65534,
        };
        assert!(nobody.can_reach(Path::new("/usr/bin")));
        let own = Account {
            uid: geteuid().as_raw(),
            gid: 0,
        };
        assert!(own.can_reach(Path::new("/")));
    }
}
