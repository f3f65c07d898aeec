//! A private cluster and daemon nodes to develop against.
//!
//! Every start is from nothing: the extension's SQL may have changed. What is started stops with
//! this command, or by `down` when detached; a start that fails leaves nothing running.

mod state;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use forge_tests::{
    Cluster, ClusterOptions, Node, NodeOptions, checkout, eventually, port, process,
};

use crate::{build, command::say};
use state::State;

/// Database of the private cluster.
pub const DATABASE: &str = "forge";

/// What `dev` starts and where.
#[derive(Args)]
pub struct Options {
    /// Return when all is ready, printing one line of JSON.
    #[arg(long)]
    detach: bool,
    /// Daemon nodes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(0..=32))]
    nodes: u16,
    /// Major version of PostgreSQL.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(15..=18))]
    pg_major: u32,
    /// PostgreSQL's port.
    #[arg(long, default_value_t = 7432)]
    pg_port: u16,
    /// The first node's HTTP port; the others follow.
    #[arg(long, default_value_t = 7070)]
    http_port: u16,
    /// The first node's gRPC port; the others follow.
    #[arg(long, default_value_t = 7170)]
    grpc_port: u16,
    /// Without `shared_preload_libraries = 'forge'`.
    #[arg(long)]
    no_preload: bool,
    /// Directory of the cluster's files and the logs [default: forge-dev in the target directory].
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// The directory used without `--dir`.
pub fn default_dir() -> PathBuf {
    checkout::target_dir().join("forge-dev")
}

/// Starts everything; returns when ready (detached) or when told to stop.
pub fn run(options: &Options) -> Result<()> {
    let dir = make_dir(options.dir.as_deref())?;
    if let Some(state) = State::load(&dir)?
        && state.is_running()
    {
        bail!(
            "already running from {}; stop it with `cargo xtask down --dir {}`",
            dir.display(),
            dir.display()
        );
    }
    options.check_ports()?;
    build::extension(options.pg_major, false)?;
    build::programs(&["forge-daemon"], false)?;
    let mut cluster = start_cluster(&dir, options.pg_major, options.pg_port, !options.no_preload)?;
    let mut nodes = start_nodes(options, &cluster, &dir)?;
    let state = State::of(&cluster, &nodes, &dir)?;
    state.save(&dir)?;
    if options.detach {
        cluster.detach();
        nodes.iter_mut().for_each(Node::detach);
        println!("{}", state.line());
        return Ok(());
    }
    state.show();
    wait_for_the_end()?;
    say("stopping");
    stop_nodes(&mut nodes)?;
    State::remove(&dir)
}

/// Stops what `dev --detach` started; without anything running that is done already.
pub fn down(dir: Option<&Path>) -> Result<()> {
    let dir = dir.map_or_else(default_dir, Path::to_path_buf);
    let Some(state) = State::load(&dir)? else {
        say(&format!("nothing was started from {}", dir.display()));
        return Ok(());
    };
    state.stop()?;
    State::remove(&dir)?;
    say("stopped");
    Ok(())
}

/// A cluster whose database has the extension and the daemons' login role.
pub fn start_cluster(dir: &Path, major: u32, port: u16, preload: bool) -> Result<Cluster> {
    say(&format!("starting PostgreSQL {major}"));
    let place = dir.join("postgres");
    clear(&checkout::reachable(&place)?)?;
    let cluster = Cluster::start(ClusterOptions {
        major,
        dir: Some(place),
        port: Some(port),
        preload,
        durable: true,
        settings: vec![("forge.auto_track".into(), "on".into())],
        ..ClusterOptions::default()
    })?;
    cluster.create_database(DATABASE)?;
    Ok(cluster)
}

/// Removes an earlier cluster's files, unless its server runs.
fn clear(place: &Path) -> Result<()> {
    let running = fs::read_to_string(place.join("data/postmaster.pid"))
        .ok()
        .and_then(|text| text.lines().next()?.trim().parse().ok())
        .filter(|&pid| !process::is_gone(pid));
    if let Some(pid) = running {
        bail!(
            "a server runs in {} (process {pid}); stop it first",
            place.display()
        );
    }
    fs::remove_dir_all(place).with_context(|| format!("removing {}", place.display()))
}

fn make_dir(wanted: Option<&Path>) -> Result<PathBuf> {
    let dir = wanted.map_or_else(default_dir, Path::to_path_buf);
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    Ok(dir.canonicalize()?)
}

fn start_nodes(options: &Options, cluster: &Cluster, dir: &Path) -> Result<Vec<Node>> {
    let mut nodes = Vec::new();
    for k in 0..options.nodes {
        let mut node = NodeOptions::new(
            &format!("node-{}", k + 1),
            &cluster.url_as(forge_tests::cluster::DAEMON_ROLE, DATABASE),
            dir,
        );
        node.http_port = Some(options.http_port + k);
        node.grpc_port = Some(options.grpc_port + k);
        say(&format!("starting {}", node.name));
        nodes.push(Node::spawn(node)?);
    }
    for node in &mut nodes {
        node.wait_ready()?;
    }
    Ok(nodes)
}

fn stop_nodes(nodes: &mut [Node]) -> Result<()> {
    for node in nodes.iter() {
        node.ask_to_stop()?;
    }
    for node in nodes {
        node.wait_end(Duration::from_secs(100))?;
    }
    Ok(())
}

/// Blocks until Ctrl-C or SIGTERM.
fn wait_for_the_end() -> Result<()> {
    let (told, tell) = mpsc::channel();
    ctrlc::set_handler(move || {
        let _ = told.send(());
    })?;
    Ok(tell.recv()?)
}

/// Node ids by name, as the nodes have registered themselves.
fn node_id(cluster: &Cluster, name: &str) -> Result<String> {
    let query = format!(
        "SELECT id FROM forge.nodes WHERE name = '{name}' AND state IN ('starting', 'active')
         ORDER BY started_at DESC LIMIT 1;"
    );
    eventually(
        Duration::from_secs(30),
        &format!("{name} to register"),
        || {
            let id = cluster.sql(DATABASE, &query)?;
            Ok((!id.is_empty()).then_some(id))
        },
    )
}

impl Options {
    fn check_ports(&self) -> Result<()> {
        let mut ports = vec![(self.pg_port, "--pg-port")];
        for k in 0..self.nodes {
            for (first, flag) in [
                (self.http_port, "--http-port"),
                (self.grpc_port, "--grpc-port"),
            ] {
                let port = first
                    .checked_add(k)
                    .with_context(|| format!("{flag} {first} is too high"))?;
                ports.push((port, flag));
            }
        }
        for (at, &(port, flag)) in ports.iter().enumerate() {
            let clash = ports[..at].iter().any(|&(other, _)| other == port);
            ensure!(!clash, "port {port} is wanted twice; choose another {flag}");
            ensure!(
                port::is_free(port),
                "port {port} is in use; choose another {flag}"
            );
        }
        Ok(())
    }
}
