//! `state.json`: what `dev` started, for `down` and for programs that use it.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use forge_tests::{
    Cluster, Node,
    cluster::ClusterInfo,
    process::{is_gone, send},
    until,
};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{DATABASE, node_id};

const FILE: &str = "state.json";
/// Nodes may take 30 s for requests and 60 s for jobs.
const NODES_END: Duration = Duration::from_secs(100);

/// A running node.
#[derive(Serialize, Deserialize)]
struct NodeState {
    id: String,
    name: String,
    http: String,
    grpc: String,
    pid: u32,
}

/// Everything that runs.
#[derive(Serialize, Deserialize)]
pub struct State {
    database_url: String,
    dir: String,
    nodes: Vec<NodeState>,
    cluster: ClusterInfo,
}

impl State {
    /// Describes what has been started.
    pub fn of(cluster: &Cluster, nodes: &[Node], dir: &Path) -> Result<Self> {
        let nodes = nodes.iter().map(|node| {
            Ok(NodeState {
                id: node_id(cluster, node.name())?,
                name: node.name().to_owned(),
                http: format!("http://{}", node.http()),
                grpc: node.grpc().to_string(),
                pid: node.pid(),
            })
        });
        Ok(Self {
            database_url: cluster.url(DATABASE),
            dir: dir.display().to_string(),
            nodes: nodes.collect::<Result<_>>()?,
            cluster: cluster.info().clone(),
        })
    }

    /// What was saved in `dir`, if anything.
    pub fn load(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let state = serde_json::from_slice(&fs::read(&path)?)
            .with_context(|| format!("{} is no state file; remove it", path.display()))?;
        Ok(Some(state))
    }

    /// Saves it in `dir`, readable by the owner alone: it holds the superuser's password.
    pub fn save(&self, dir: &Path) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let path = dir.join(FILE);
        fs::write(&path, serde_json::to_vec_pretty(self)?)?;
        Ok(fs::set_permissions(
            &path,
            fs::Permissions::from_mode(0o600),
        )?)
    }

    /// Removes what [`State::save`] wrote.
    pub fn remove(dir: &Path) -> Result<()> {
        Ok(fs::remove_file(dir.join(FILE))?)
    }

    /// Whether any of it still runs.
    pub fn is_running(&self) -> bool {
        let server = Cluster::attach(self.cluster.clone()).and_then(|cluster| cluster.pid());
        server.is_ok_and(|pid| !is_gone(pid)) || self.nodes.iter().any(NodeState::is_running)
    }

    /// Stops the nodes in order, then the server, and removes the server's files.
    pub fn stop(&self) -> Result<()> {
        let nodes = || self.nodes.iter().filter(|node| node.is_running());
        for node in nodes() {
            send(node.pid.cast_signed(), Signal::SIGTERM)?;
        }
        let ended = until(NODES_END, "the nodes to end", || {
            Ok(nodes().next().is_none())
        });
        for node in nodes() {
            send(node.pid.cast_signed(), Signal::SIGKILL)?;
        }
        let cluster = Cluster::attach(self.cluster.clone())?;
        cluster.stop()?;
        cluster.remove_files();
        ended
    }

    /// The one line that `--detach` prints.
    pub fn line(&self) -> String {
        json!({"database_url": self.database_url, "dir": self.dir, "nodes": self.nodes}).to_string()
    }

    /// The same for people.
    pub fn show(&self) {
        println!("database  {}", self.database_url);
        for node in &self.nodes {
            println!("{}    {}  gRPC {}", node.name, node.http, node.grpc);
        }
        println!("logs      {}", self.dir);
        println!("Ctrl-C stops everything");
    }
}

impl NodeState {
    /// A process of another program may have got the id of one that has ended.
    fn is_running(&self) -> bool {
        let pid = self.pid.cast_signed();
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline"));
        !is_gone(pid) && command.map_or(true, |line| line.contains("forge"))
    }
}
