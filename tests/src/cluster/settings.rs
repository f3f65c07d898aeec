//! What a private server's configuration says.

use std::{
    fmt::Write,
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::ClusterOptions;
use crate::account;

/// Longest path of a socket's directory: the system's limit is 107 bytes with the socket's name.
const MAX_SOCKET_DIR: usize = 85;

/// Text of `postgresql.auto.conf`.
pub fn text(options: &ClusterOptions, port: u16, socket_dir: &Path) -> String {
    let on_off = |on: bool| if on { "on" } else { "off" };
    let mut lines: Vec<(&str, String)> = vec![
        ("listen_addresses", "127.0.0.1".into()),
        ("port", port.to_string()),
        ("unix_socket_directories", socket_dir.display().to_string()),
        ("max_connections", "200".into()),
        ("shared_buffers", "256MB".into()),
        ("max_wal_size", "4GB".into()),
        // Each database served has a background worker.
        ("max_worker_processes", "64".into()),
        ("max_prepared_transactions", "16".into()),
        ("max_locks_per_transaction", "256".into()),
        ("password_encryption", "scram-sha-256".into()),
        ("timezone", "UTC".into()),
        ("log_timezone", "UTC".into()),
        ("log_line_prefix", "%m [%p] %b %d ".into()),
        ("log_checkpoints", "off".into()),
        ("fsync", on_off(options.durable).into()),
        ("full_page_writes", on_off(options.durable).into()),
    ];
    if options.preload {
        lines.push(("shared_preload_libraries", "forge".into()));
    }
    let own = options
        .settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()));
    let mut text = String::new();
    // The last line of a name counts.
    for (name, value) in lines.into_iter().chain(own) {
        let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
    }
    text
}

/// Directory for the socket: within `dir`, or a short one when that is too long.
pub fn socket_dir(dir: &Path) -> Result<PathBuf> {
    let mut socket_dir = dir.join("socket");
    if socket_dir.as_os_str().len() > MAX_SOCKET_DIR {
        socket_dir = std::env::temp_dir().join(format!("forge-{}", &password()?[..12]));
    }
    fs::create_dir_all(&socket_dir)?;
    fs::set_permissions(&socket_dir, fs::Permissions::from_mode(0o700))?;
    if let Some(account) = account::server_account()? {
        account.give(&socket_dir)?;
    }
    Ok(socket_dir)
}

/// A fresh random password, hexadecimal.
pub fn password() -> Result<String> {
    let mut bytes = [0_u8; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// Takes away what the surrounding environment says about servers.
pub fn clear_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", "C.UTF-8");
}
