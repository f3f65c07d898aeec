//! Debian packages.

use std::process::Command;

use anyhow::{Result, bail};
use forge_tests::account;

use crate::command::{self, run, say};

/// Packages found missing, with what each is for.
#[derive(Default)]
pub struct Needs {
    packages: Vec<(String, String)>,
}

impl Needs {
    /// Notes a missing package.
    pub fn add(&mut self, package: &str, purpose: &str) {
        self.packages.push((package.to_owned(), purpose.to_owned()));
    }

    /// Installs what is missing.
    ///
    /// # Errors
    /// When this process may not install packages (the message lists them), or a package cannot be
    /// installed.
    pub fn meet(self) -> Result<()> {
        if self.packages.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = self
            .packages
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        if !account::is_root() || !command::exists("apt-get") {
            let list: Vec<String> = self
                .packages
                .iter()
                .map(|(name, purpose)| format!("  {name}: {purpose}"))
                .collect();
            bail!(
                "this machine lacks\n{}\ninstall them (on Debian: sudo apt-get install {}) and try again",
                list.join("\n"),
                names.join(" ")
            );
        }
        say(&format!("installing {}", names.join(", ")));
        if install(&names).is_err() {
            // The lists of a fresh machine are empty or old.
            run(apt().arg("update"))?;
            install(&names)?;
        }
        Ok(())
    }
}

fn install(names: &[&str]) -> Result<()> {
    run(apt()
        .args(["install", "-y", "--no-install-recommends"])
        .args(names))
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args([
        "-q",
        "-o",
        "DPkg::Lock::Timeout=300",
        "-o",
        "Acquire::Retries=3",
    ]);
    command
}
