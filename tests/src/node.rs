//! One `forge-daemon` process: started with its configuration in the environment, watched until
//! ready, frozen, killed or stopped.

use std::{
    fs::{self, OpenOptions},
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::{
    checkout,
    deadline::eventually,
    http,
    port::free_port,
    process::{is_gone, send},
    reaper::Reaper,
};

/// Limit of a start.
const READY: Duration = Duration::from_secs(60);
/// Limit of a stop in order: requests 30 s, jobs 60 s, and a little.
const STOP: Duration = Duration::from_secs(100);

/// What a node is to be like.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Name, unique among the nodes of a test.
    pub name: String,
    /// Connection URL of the daemons' login role.
    pub database_url: String,
    /// Directory of its log.
    pub log_dir: PathBuf,
    /// HTTP port; by default any free one.
    pub http_port: Option<u16>,
    /// gRPC port; by default any free one.
    pub grpc_port: Option<u16>,
    /// Further variables, such as `FORGE_WORKER__CONCURRENCY`.
    pub settings: Vec<(String, String)>,
    /// Program and arguments; by default `forge-daemon serve` as built.
    pub program: Option<(PathBuf, Vec<String>)>,
}

impl NodeOptions {
    /// A node with defaults.
    #[must_use]
    pub fn new(name: &str, database_url: &str, log_dir: impl Into<PathBuf>) -> Self {
        Self {
            name: name.to_owned(),
            database_url: database_url.to_owned(),
            log_dir: log_dir.into(),
            http_port: None,
            grpc_port: None,
            settings: Vec::new(),
            program: None,
        }
    }

    /// Adds a variable such as `FORGE_WORKER__CONCURRENCY`.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }
}

/// A running node. Dropping it kills it, unless it was detached.
#[derive(Debug)]
pub struct Node {
    options: NodeOptions,
    http: SocketAddr,
    grpc: SocketAddr,
    log: PathBuf,
    child: Child,
    ended: bool,
    detached: bool,
    reaper: Option<Reaper>,
}

impl Node {
    /// Starts a node and waits until `/readyz` answers 200.
    ///
    /// # Errors
    /// When it is not ready within a minute; the message has the end of its log.
    pub fn start(options: NodeOptions) -> Result<Self> {
        let mut node = Self::spawn(options)?;
        node.wait_ready()?;
        Ok(node)
    }

    /// Starts it anew on other ports, where it may have any.
    fn respawn(&mut self) -> Result<()> {
        let fresh = Self::spawn(self.options.clone())?;
        *self = fresh;
        Ok(())
    }

    /// Whether it ended because a port of its own choice was taken in the meantime.
    fn port_was_taken(&self) -> bool {
        let chosen = self.options.http_port.is_none() || self.options.grpc_port.is_none();
        chosen && self.log_end().contains("Address already in use")
    }

    /// Starts a node without waiting.
    ///
    /// # Errors
    /// When the program is not built or cannot be run.
    pub fn spawn(options: NodeOptions) -> Result<Self> {
        let local = |port: Option<u16>| -> Result<SocketAddr> {
            Ok((Ipv4Addr::LOCALHOST, port.map_or_else(free_port, Ok)?).into())
        };
        let (http, grpc) = (local(options.http_port)?, local(options.grpc_port)?);
        let (program, args) = match options.program.clone() {
            Some(given) => given,
            None => (checkout::program("forge-daemon")?, vec!["serve".to_owned()]),
        };
        let log = options.log_dir.join(format!("{}.log", options.name));
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("opening {}", log.display()))?;
        let mut command = Command::new(&program);
        clear_environment(&mut command);
        let child = command
            .args(&args)
            .env("FORGE_DATABASE__URL", &options.database_url)
            .env("FORGE_NODE__NAME", &options.name)
            .env("FORGE_HTTP__LISTEN", http.to_string())
            .env("FORGE_GRPC__LISTEN", grpc.to_string())
            .envs(options.settings.clone())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let reaper = Reaper::watch(child.id().cast_signed(), Signal::SIGKILL)?;
        Ok(Self {
            options,
            http,
            grpc,
            log,
            child,
            ended: false,
            detached: false,
            reaper: Some(reaper),
        })
    }

    /// Waits until `/readyz` answers 200.
    ///
    /// # Errors
    /// When the process ends, or is not ready within a minute; the message has the end of its log.
    pub fn wait_ready(&mut self) -> Result<()> {
        let what = format!("node {} to be ready", self.options.name);
        let ready = eventually(READY, &what, || {
            if let Some(status) = self.child.try_wait()? {
                self.ended = true;
                if !self.port_was_taken() {
                    bail!(
                        "node {} ended at its start with {status}",
                        self.options.name
                    );
                }
                self.respawn()?;
            }
            Ok(http::get(self.http, "/readyz")
                .ok()
                .filter(|answer| answer.status == 200))
        });
        ready
            .map(drop)
            .with_context(|| format!("the node's log ends:\n{}", self.log_end()))
    }

    /// Leaves it running when this process ends.
    pub fn detach(&mut self) {
        self.detached = true;
        self.reaper = None;
    }

    /// Its name, as in `forge.nodes`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Where it listens for HTTP.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where it listens for gRPC.
    #[must_use]
    pub fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its log so far.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.log)?).into_owned())
    }

    /// Kills it with -9 and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn kill(&mut self) -> Result<()> {
        if !self.ended {
            self.signal(Signal::SIGKILL)?;
            self.child.wait()?;
            self.ended = true;
        }
        Ok(())
    }

    /// Freezes it (SIGSTOP).
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Thaws it (SIGCONT).
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Asks it to stop in order, without waiting.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn ask_to_stop(&self) -> Result<()> {
        self.signal(Signal::SIGTERM)
    }

    /// Stops it in order and returns its exit code.
    ///
    /// # Errors
    /// When it has not ended within 100 s.
    pub fn stop(&mut self) -> Result<i32> {
        self.ask_to_stop()?;
        self.wait_end(STOP)
    }

    /// Waits for its end and returns its exit code, 128 + the signal's number where one ended it.
    ///
    /// # Errors
    /// When it has not ended within `limit`.
    pub fn wait_end(&mut self, limit: Duration) -> Result<i32> {
        use std::os::unix::process::ExitStatusExt;
        let what = format!("node {} to end", self.options.name);
        let status = eventually(limit, &what, || Ok(self.child.try_wait()?))
            .with_context(|| format!("the node's log ends:\n{}", self.log_end()))?;
        self.ended = true;
        Ok(status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or_default()))
    }

    /// Whether the process is running, frozen or not.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.ended && !is_gone(self.child.id().cast_signed())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        send(self.child.id().cast_signed(), signal)
    }

    fn log_end(&self) -> String {
        let log = self.log().unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !self.detached && !self.ended {
            let _ = self.kill();
        }
    }
}

/// Takes away configuration meant for another daemon.
fn clear_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FORGE_") {
            command.env_remove(name);
        }
    }
}
