//! From a fresh machine to a running system with real input.
//!
//! This command brings the machine, the programs and a private cluster; the example's own tour
//! starts nodes on it, drives them and prints the counts. The same nodes serve Conduit, which is
//! SQL only.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Args;
use forge_tests::{checkout, cluster::DAEMON_ROLE, eventually, http, process::send};
use nix::sys::signal::Signal;

use crate::{
    build,
    command::say,
    dev::{self, DATABASE},
    machine,
};

/// Where the demo runs.
#[derive(Args)]
pub struct Place {
    /// Directory of the cluster's files and the logs [default: forge-demo in the target directory].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// PostgreSQL's port.
    #[arg(long, default_value_t = 7432)]
    pg_port: u16,
    /// The first node's HTTP port.
    #[arg(long, default_value_t = 7070)]
    http_port: u16,
    /// The first node's gRPC port.
    #[arg(long, default_value_t = 7170)]
    grpc_port: u16,
}

/// Prepares everything and runs the tour; its exit code is this command's.
pub fn run(once: bool, place: &Place) -> Result<u8> {
    machine::node_js()?;
    build::extension(15, false)?;
    build::programs(&["github-events"], false)?;
    let python = machine::worker_python()?;
    let dir = place
        .dir
        .clone()
        .unwrap_or_else(|| checkout::target_dir().join("forge-demo"));
    let logs = dir.join("logs");
    std::fs::create_dir_all(&logs).with_context(|| format!("making {}", logs.display()))?;
    let cluster = dev::start_cluster(&dir, 15, place.pg_port, true)?;
    say("loading Conduit");
    cluster.load(
        DATABASE,
        &checkout::root().join("examples/conduit/install.sql"),
    )?;
    let first_node = SocketAddr::from((Ipv4Addr::LOCALHOST, place.http_port));
    std::thread::spawn(move || announce_conduit(first_node));
    say("starting the tour");
    let mut tour = Command::new(checkout::program("github-events")?)
        .arg("tour")
        .args(once.then_some("--once"))
        .args(["--database-url", &cluster.url(DATABASE)])
        .args(["--daemon-url", &cluster.url_as(DAEMON_ROLE, DATABASE)])
        .args(["--http-port", &place.http_port.to_string()])
        .args(["--grpc-port", &place.grpc_port.to_string()])
        .arg("--log-dir")
        .arg(&logs)
        .arg("--python")
        .arg(python)
        .args(["--also", &conduit_line(first_node)])
        .current_dir(checkout::root())
        .spawn()
        .context("starting the tour")?;
    // Ctrl-C reaches the tour by itself; a SIGTERM to this command alone would not. Either way the
    // tour ends first, then the cluster.
    let pid = tour.id().cast_signed();
    ctrlc::set_handler(move || {
        let _ = send(pid, Signal::SIGTERM);
    })?;
    let status = tour.wait()?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}

/// Says where Conduit is once the tour's first node serves it.
fn announce_conduit(node: SocketAddr) {
    let served = eventually(Duration::from_secs(120), "Conduit to answer", || {
        let answer = http::get(node, "/api/tags").ok();
        Ok(answer.filter(|answer| answer.status == 200))
    });
    match served {
        Ok(_) => say(&conduit_line(node)),
        Err(error) => say(&format!("Conduit does not answer: {error:#}")),
    }
}

fn conduit_line(node: SocketAddr) -> String {
    format!("Conduit  http://{node}/api  (RealWorld's backend, examples/conduit)")
}
