//! One private PostgreSQL server: made, started, crashed, restarted and removed.
//!
//! Invariants: it listens on 127.0.0.1 with a password of its own and on a socket in a directory
//! of mode 0700; unless it was detached it ends with the process that started it; dropping a cluster that
//! is not kept removes its files.

pub mod database;
mod postmaster;
mod settings;

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::{account, checkout, installation::Installation, process};
use postmaster::Postmaster;

/// The superuser of every cluster.
pub const SUPERUSER: &str = "postgres";
/// The login role of daemons.
pub const DAEMON_ROLE: &str = "forge_daemon";

/// What a cluster is to be like.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Major version of PostgreSQL.
    pub major: u32,
    /// Directory for its files; by default a fresh one in the state directory.
    pub dir: Option<PathBuf>,
    /// TCP port; by default any free one.
    pub port: Option<u16>,
    /// Load the extension's library at server start.
    pub preload: bool,
    /// Flush to disk as a production server does. Off, a crash of the machine (not of the server)
    /// may lose data, and tests run faster.
    pub durable: bool,
    /// Further settings, by name; they win over the harness's own.
    pub settings: Vec<(String, String)>,
    /// Installation to use; by default the private copy of `major` with this checkout's extension.
    pub installation: Option<Installation>,
    /// Copy the built extension into the installation first.
    pub install_extension: bool,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            major: 15,
            dir: None,
            port: None,
            preload: true,
            durable: false,
            settings: Vec::new(),
            installation: None,
            install_extension: true,
        }
    }
}

/// What another process needs to use a running cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClusterInfo {
    pub major: u32,
    pub dir: PathBuf,
    pub socket_dir: PathBuf,
    pub port: u16,
    pub password: String,
    pub preload: bool,
}

/// A private server.
#[derive(Debug)]
pub struct Cluster {
    installation: Installation,
    info: ClusterInfo,
    postmaster: Mutex<Option<Postmaster>>,
    detached: bool,
    template: Mutex<bool>,
}

/// How long the files of a failed test are kept.
const KEPT: Duration = Duration::from_secs(3600);

static SEQUENCE: AtomicU32 = AtomicU32::new(0);

impl Cluster {
    /// Makes and starts a server, and waits until it accepts connections.
    ///
    /// # Errors
    /// When PostgreSQL or the extension is missing, or the server does not start; the message has
    /// the end of its log.
    pub fn start(options: ClusterOptions) -> Result<Self> {
        let installation = match &options.installation {
            Some(given) => given.clone(),
            None => Installation::private(options.major)?,
        };
        if options.install_extension {
            crate::extension::install(&installation)?;
        }
        let dir = make_dir(options.dir.as_deref())?;
        let info = ClusterInfo {
            major: installation.major,
            socket_dir: settings::socket_dir(&dir)?,
            dir,
            port: options.port.unwrap_or(0),
            password: settings::password()?,
            preload: options.preload,
        };
        let mut cluster = Self {
            installation,
            info,
            postmaster: Mutex::new(None),
            detached: false,
            template: Mutex::new(false),
        };
        cluster.initdb()?;
        cluster.first_start(&options)?;
        Ok(cluster)
    }

    /// Uses a server that another process started, and leaves it running.
    ///
    /// # Errors
    /// When its PostgreSQL installation is gone.
    pub fn attach(info: ClusterInfo) -> Result<Self> {
        Ok(Self {
            installation: Installation::private(info.major)?,
            info,
            postmaster: Mutex::new(None),
            detached: true,
            template: Mutex::new(true),
        })
    }

    /// Leaves the server running, and its files in place, when this process ends.
    pub fn detach(&mut self) {
        self.detached = true;
        // Its guard goes with it.
        *self.lock_postmaster() = None;
    }

    /// What [`Cluster::attach`] takes.
    #[must_use]
    pub fn info(&self) -> &ClusterInfo {
        &self.info
    }

    /// Programs of this server's version.
    #[must_use]
    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// Connection URL of the superuser.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.url_as(SUPERUSER, database)
    }

    /// Connection URL of a login role; the roles of a cluster share its password.
    #[must_use]
    pub fn url_as(&self, role: &str, database: &str) -> String {
        let ClusterInfo { port, password, .. } = &self.info;
        format!("postgres://{role}:{password}@127.0.0.1:{port}/{database}")
    }

    /// A client program of this version, set to connect as superuser through the socket.
    #[must_use]
    pub fn client(&self, program: &str) -> Command {
        let mut command = self.installation.program(program);
        settings::clear_environment(&mut command);
        command
            .env("PGHOST", &self.info.socket_dir)
            .env("PGPORT", self.info.port.to_string())
            .env("PGUSER", SUPERUSER)
            .env("PGCONNECT_TIMEOUT", "10");
        command
    }

    /// Runs a script as superuser, stopping at the first error, and returns what it printed, one
    /// line a row, columns separated by `|`.
    ///
    /// # Errors
    /// The first error of the script.
    pub fn sql(&self, database: &str, script: &str) -> Result<String> {
        let mut command = self.client("psql");
        command.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database, "-f", "-"]);
        let out = feed(&mut command, script)?;
        ensure!(
            out.status.success(),
            "{}\nin the script:\n{script}",
            String::from_utf8_lossy(&out.stderr).trim()
        );
        Ok(String::from_utf8(out.stdout)?.trim_end().to_owned())
    }

    /// Runs a file as superuser, stopping at the first error; what it prints is not kept.
    ///
    /// # Errors
    /// The first error of the script.
    pub fn load(&self, database: &str, file: &Path) -> Result<()> {
        let mut command = self.client("psql");
        command
            .args(["-Xq", "-v", "ON_ERROR_STOP=1", "-d", database, "-f"])
            .arg(file);
        let out = feed(&mut command, "")?;
        ensure!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr).trim()
        );
        Ok(())
    }

    /// The server's log so far.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn log(&self) -> Result<String> {
        let bytes = fs::read(self.log_path())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// File of the server's log.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.info.dir.join("postgres.log")
    }

    /// The server's data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.info.dir.join("data")
    }

    fn initdb(&self) -> Result<()> {
        let pwfile = self.info.dir.join("password");
        fs::write(&pwfile, &self.info.password)?;
        fs::set_permissions(&pwfile, fs::Permissions::from_mode(0o600))?;
        let mut command = self.installation.program("initdb");
        if let Some(account) = account::server_account()? {
            account.give(&pwfile)?;
            account.adopt(&mut command);
        }
        settings::clear_environment(&mut command);
        let out = command
            .args([
                "--username",
                SUPERUSER,
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ])
            .args([
                "--auth-local=trust",
                "--auth-host=scram-sha-256",
                "--pwfile",
            ])
            .arg(&pwfile)
            .arg("-D")
            .arg(self.data_dir())
            .current_dir(&self.info.dir)
            .output()
            .context("running initdb")?;
        ensure!(
            out.status.success(),
            "initdb ended with {}:\n{}",
            out.status,
            String::from_utf8_lossy(&out.stderr)
        );
        Ok(())
    }

    /// Removes the files of a stopped server.
    pub fn remove_files(&self) {
        let _ = fs::remove_dir_all(&self.info.dir);
        let _ = fs::remove_dir_all(&self.info.socket_dir);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.detached {
            let _ = self.stop();
            if std::env::var_os("FORGE_KEEP_CLUSTERS").is_none() && !std::thread::panicking() {
                self.remove_files();
            }
        }
    }
}

fn make_dir(wanted: Option<&Path>) -> Result<PathBuf> {
    let dir = match wanted {
        Some(dir) => checkout::reachable(dir)?,
        None => {
            let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
            let base = checkout::state_dir("forge-clusters")?;
            sweep(&base);
            let dir = base.join(format!("{}-{sequence}", std::process::id()));
            // A directory of an earlier process with this id.
            let _ = fs::remove_dir_all(&dir);
            checkout::reachable(&dir)?
        }
    };
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
    if let Some(account) = account::server_account()? {
        account.give(&dir)?;
    }
    Ok(dir)
}

/// Removes the files of clusters whose starter ended without doing so, an hour later: until then
/// somebody may want to read the log of a failed test.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let starter = name.split('-').next().and_then(|pid| pid.parse().ok());
        let age = entry
            .metadata()
            .and_then(|meta| meta.modified())
            .map(|at| at.elapsed());
        let old = age.is_ok_and(|age| age.is_ok_and(|age| age > KEPT));
        if old && starter.is_some_and(process::is_gone) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn feed(command: &mut Command, input: &str) -> Result<std::process::Output> {
    use std::io::Write;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("running {command:?}"))?;
    let stdin = child.stdin.take().context("no pipe to the child")?;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut stdin = stdin;
            // The child may end before it has read everything; its status tells.
            let _ = stdin.write_all(input.as_bytes());
        });
        Ok(child.wait_with_output()?)
    })
}

fn append_to(path: &Path) -> Result<Stdio> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))?;
    Ok(file.into())
}
