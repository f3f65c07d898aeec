//! Ends a child process when its owner is gone, however the owner ended.
//!
//! A small shell holds the read end of a pipe whose write end lives in the owner. When the owner
//! exits, or is killed with -9, the pipe closes and the shell signals the child.

use std::{
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

/// Guard of one process. Dropping it releases the process without signalling it.
#[derive(Debug)]
pub struct Reaper {
    watcher: Child,
}

impl Reaper {
    /// Watches over `pid`, to be sent `signal` when this process is gone.
    ///
    /// # Errors
    /// When no shell can be started.
    pub fn watch(pid: i32, signal: Signal) -> Result<Self> {
        let name = signal.as_str().trim_start_matches("SIG");
        let watcher = Command::new("/bin/sh")
            .args(["-c", "read -r _; kill -$1 $0", &pid.to_string(), name])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("starting the reaper's shell")?;
        Ok(Self { watcher })
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        // Kill before the pipe closes, or the shell would act.
        let _ = self.watcher.kill();
        let _ = self.watcher.wait();
    }
}
