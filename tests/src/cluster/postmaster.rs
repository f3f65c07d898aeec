//! Starting, stopping and crashing the server process.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::{Cluster, ClusterOptions, append_to, settings};
use crate::{
    account,
    deadline::{eventually, until},
    port::free_port,
    process::{is_gone, send},
    reaper::Reaper,
};

/// Limit of a start, which may have to recover from a crash.
const START: Duration = Duration::from_secs(120);
/// Limit of a stop.
const STOP: Duration = Duration::from_secs(60);

/// The server process, when this process started it.
#[derive(Debug)]
pub struct Postmaster {
    child: Child,
    _reaper: Option<Reaper>,
}

impl Cluster {
    /// Starts on the wanted port, or on free ones until none has been taken in the meantime.
    pub(super) fn first_start(&mut self, options: &ClusterOptions) -> Result<()> {
        for attempt in 1.. {
            if options.port.is_none() {
                self.info.port = free_port()?;
            }
            let conf = self.data_dir().join("postgresql.auto.conf");
            fs::write(
                conf,
                settings::text(options, self.info.port, &self.info.socket_dir),
            )?;
            match self.start_again() {
                Ok(()) => break,
                Err(error) => {
                    let taken = self.log()?.contains("Address already in use");
                    if options.port.is_some() || !taken || attempt == 5 {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Starts the server, after a stop or crash with the same port and files, and waits until it
    /// accepts connections.
    ///
    /// # Errors
    /// When it does not start within two minutes; the message has the end of its log.
    pub fn start_again(&self) -> Result<()> {
        let mut command = self.installation.program("postgres");
        if let Some(account) = account::server_account()? {
            account.adopt(&mut command);
        }
        settings::clear_environment(&mut command);
        let mut child = command
            .arg("-D")
            .arg(self.data_dir())
            .current_dir(&self.info.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(append_to(&self.log_path())?)
            .process_group(0)
            .spawn()
            .context("starting postgres")?;
        let pid = child.id().cast_signed();
        let pid_file = self.data_dir().join("postmaster.pid");
        let ready = eventually(START, "PostgreSQL to accept connections", || {
            if let Some(status) = child.try_wait()? {
                bail!("PostgreSQL ended at its start with {status}");
            }
            Ok(is_ready(&pid_file, pid).then_some(()))
        });
        if let Err(error) = ready {
            let _ = child.kill();
            let _ = child.wait();
            return Err(error.context(format!("its log ends:\n{}", self.log_end())));
        }
        let reaper = match self.detached {
            true => None,
            false => Some(Reaper::watch(pid, Signal::SIGQUIT)?),
        };
        *self.lock_postmaster() = Some(Postmaster {
            child,
            _reaper: reaper,
        });
        Ok(())
    }

    /// Stops the server in order: sessions are ended, a checkpoint is written.
    ///
    /// # Errors
    /// When it does not end within a minute.
    pub fn stop(&self) -> Result<()> {
        self.end(Signal::SIGINT)
    }

    /// Stops the server as a crash does: at once, to be recovered at the next start.
    ///
    /// # Errors
    /// When it does not end within a minute.
    pub fn stop_immediately(&self) -> Result<()> {
        self.end(Signal::SIGQUIT)
    }

    /// An immediate stop and a start.
    ///
    /// # Errors
    /// Those of the stop and the start.
    pub fn crash_and_restart(&self) -> Result<()> {
        self.stop_immediately()?;
        self.start_again()
    }

    /// Kills one backend with -9, upon which the server ends every session and starts anew with
    /// fresh shared memory. Returns when the backend is gone.
    ///
    /// # Errors
    /// When it does not end.
    pub fn kill_backend(&self, pid: i32) -> Result<()> {
        send(pid, Signal::SIGKILL)?;
        until(STOP, "a killed backend to end", || Ok(is_gone(pid)))
    }

    /// Process id of the server.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pid(&self) -> Result<i32> {
        let path = self.data_dir().join("postmaster.pid");
        let text = fs::read_to_string(&path).context("the server is not running")?;
        text.lines()
            .next()
            .and_then(|line| line.trim().parse().ok())
            .with_context(|| format!("no process id in {}", path.display()))
    }

    fn end(&self, signal: Signal) -> Result<()> {
        let Some(mut postmaster) = self.lock_postmaster().take() else {
            let Ok(pid) = self.pid() else { return Ok(()) };
            send(pid, signal)?;
            return until(STOP, "PostgreSQL to end", || Ok(is_gone(pid)));
        };
        send(postmaster.child.id().cast_signed(), signal)?;
        until(STOP, "PostgreSQL to end", || {
            Ok(postmaster.child.try_wait()?.is_some())
        })
    }

    pub(super) fn lock_postmaster(&self) -> std::sync::MutexGuard<'_, Option<Postmaster>> {
        self.postmaster
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn log_end(&self) -> String {
        let log = self.log().unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// The eighth line of `postmaster.pid` is the state; a file left by a crash has another pid.
fn is_ready(pid_file: &Path, pid: i32) -> bool {
    let Ok(text) = fs::read_to_string(pid_file) else {
        return false;
    };
    let mut lines = text.lines();
    lines
        .next()
        .is_some_and(|line| line.trim() == pid.to_string())
        && lines.nth(6).is_some_and(|line| line.trim() == "ready")
}
