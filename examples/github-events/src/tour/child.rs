//! A process the tour starts: its log, its end, and what it said before.
//!
//! Invariant: a child does not outlive the tour, however the tour ends.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use forge_tests::{process, reaper::Reaper};
use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child as Spawned, ChildStdout, Command},
    time::timeout,
};

const LOG_TAIL: usize = 2_000;

/// A running child process.
#[derive(Debug)]
pub struct Child {
    /// For people.
    pub name: String,
    process: Spawned,
    log: PathBuf,
    reaper: Option<Reaper>,
}

impl Child {
    /// Starts `command`; what it prints goes to `NAME.log` in `logs`.
    ///
    /// # Errors
    /// When the log cannot be made or the program cannot be started.
    pub fn start(name: &str, mut command: Command, logs: &Path) -> Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("making {}", log.display()))?;
        command.stdin(Stdio::null()).stderr(file).kill_on_drop(true);
        let program = command.as_std().get_program().to_owned();
        let process = command
            .spawn()
            .with_context(|| format!("starting {name} ({})", program.display()))?;
        let reaper = match process.id() {
            Some(pid) => Some(Reaper::watch(pid.cast_signed(), Signal::SIGTERM)?),
            None => None,
        };
        Ok(Self {
            name: name.to_owned(),
            process,
            log,
            reaper,
        })
    }

    /// The first line of its standard output; the rest goes to the log.
    ///
    /// # Errors
    /// When it ends first, or says nothing in time.
    pub async fn first_line(&mut self, within: Duration) -> Result<String> {
        let Some(stdout) = self.process.stdout.take() else {
            bail!("{}: its output is not read", self.name);
        };
        let mut lines = BufReader::new(stdout);
        let mut line = String::new();
        let read = timeout(within, lines.read_line(&mut line)).await;
        match read {
            Ok(Ok(1..)) => {
                drain(lines, &self.log);
                Ok(line.trim().to_owned())
            }
            Ok(_) => bail!("{} ended at once; {}", self.name, self.last_words()),
            Err(_) => bail!(
                "{} was not ready within {within:?}; {}",
                self.name,
                self.last_words()
            ),
        }
    }

    /// Whether it ended by itself, and how.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.process.try_wait()?)
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let start = said.len().saturating_sub(LOG_TAIL);
        let start = (start..said.len())
            .find(|at| said.is_char_boundary(*at))
            .unwrap_or(said.len());
        format!(
            "its log {} ends:\n{}",
            self.log.display(),
            said[start..].trim_end()
        )
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.process.id().map(u32::cast_signed)
    }

    /// Ends it with SIGKILL, as a power cut would.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub async fn kill(&mut self) -> Result<()> {
        self.reaper = None;
        self.process
            .kill()
            .await
            .with_context(|| format!("killing {}", self.name))
    }

    /// Asks it to stop, and waits; kills it when it has not stopped within `within`.
    ///
    /// # Errors
    /// When it had to be killed.
    pub async fn stop(&mut self, within: Duration) -> Result<()> {
        if let Some(pid) = self.pid() {
            process::send(pid, Signal::SIGTERM)?;
        }
        let waited = timeout(within, self.process.wait()).await;
        self.reaper = None;
        if waited.is_err() {
            self.kill().await?;
            bail!(
                "{} did not stop within {within:?} and was killed",
                self.name
            );
        }
        Ok(())
    }
}

/// Copies what else the child prints to its log.
fn drain(mut lines: BufReader<ChildStdout>, log: &Path) {
    let log = log.to_owned();
    tokio::spawn(async move {
        let opened = tokio::fs::OpenOptions::new().append(true).open(&log).await;
        if let Ok(mut file) = opened {
            // The log is for people; the run does not depend on it.
            let _ = tokio::io::copy(&mut lines, &mut file).await;
            let _ = file.flush().await;
        }
    });
}
