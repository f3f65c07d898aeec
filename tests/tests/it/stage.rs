//! A database of its own and the nodes on it.

use std::{
    ops::Deref,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use anyhow::{Context, Result};
use forge_tests::{Cluster, ClusterOptions, Database, Node, NodeOptions, checkout};

use crate::session::Session;

/// The cluster of this run.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster = match std::env::var("FORGE_TEST_CLUSTER") {
            Ok(info) => serde_json::from_str(&info)
                .map_err(Into::into)
                .and_then(Cluster::attach),
            Err(_) => Cluster::start(ClusterOptions::default()),
        };
        cluster.unwrap()
    })
}

/// A cluster that a test may crash.
pub fn own_cluster(options: ClusterOptions) -> Cluster {
    Cluster::start(options).unwrap()
}

/// The node program with native handlers.
pub fn native_program() -> Option<(PathBuf, Vec<String>)> {
    Some((
        checkout::program("examples/native_node").unwrap(),
        Vec::new(),
    ))
}

pub struct Stage<'c> {
    /// Stopped before their database goes.
    pub nodes: Vec<Node>,
    session: Session,
    database: Database<'c>,
    logs: PathBuf,
}

impl Stage<'static> {
    /// A database on the shared cluster.
    pub fn new() -> Self {
        Self::on(cluster())
    }

    /// A database on the shared cluster with `count` nodes.
    pub fn with_nodes(count: usize) -> Self {
        let mut stage = Self::new();
        stage.start_nodes(count, |node| node);
        stage
    }
}

impl<'c> Stage<'c> {
    /// A database on a cluster of one's own.
    pub fn on(cluster: &'c Cluster) -> Self {
        let database = cluster.database().unwrap();
        let session = Session::open(&database.url()).unwrap();
        let logs = checkout::target_dir()
            .join("forge-test-logs")
            .join(database.name());
        std::fs::create_dir_all(&logs).unwrap();
        Self {
            nodes: Vec::new(),
            session,
            database,
            logs,
        }
    }

    pub fn database(&self) -> &Database<'c> {
        &self.database
    }

    /// Where nodes' logs go, and what else a test leaves behind to be looked at.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// Runs a file of the repository with psql.
    pub fn load(&self, file: &str) {
        let path = checkout::root().join(file);
        self.database
            .cluster()
            .load(self.database.name(), &path)
            .unwrap();
    }

    /// What a node of this stage starts with.
    pub fn node_options(&self, name: &str) -> NodeOptions {
        NodeOptions::new(name, &self.database.daemon_url(), &self.logs)
            .set("FORGE_OUTBOUND__ALLOW_PRIVATE", true)
            .set("FORGE_LOG__LEVEL", "info")
    }

    /// Starts nodes `n1`… at once and waits for all of them.
    pub fn start_nodes(&mut self, count: usize, with: impl Fn(NodeOptions) -> NodeOptions) {
        for _ in 0..count {
            let name = format!("n{}", self.nodes.len() + 1);
            self.nodes
                .push(Node::spawn(with(self.node_options(&name))).unwrap());
        }
        for node in &mut self.nodes {
            node.wait_ready().unwrap();
        }
    }

    /// Starts one node more.
    pub fn start_node(&mut self, options: NodeOptions) -> &mut Node {
        let node = Node::start(options).unwrap();
        self.nodes.push(node);
        self.nodes.last_mut().unwrap()
    }

    /// An API key of this role.
    pub fn key(&self, role: &str) -> String {
        self.value(&format!(
            "SELECT forge.create_api_key('{role}-key', role => '{role}')"
        ))
        .unwrap()
    }

    /// Connects anew, after the server went away.
    pub fn reconnect(&mut self) -> Result<()> {
        self.session = Session::open(&self.database.url()).context("reconnecting")?;
        Ok(())
    }

    /// Index of the node that leads a duty, once one does.
    pub fn leader(&self, duty: &str) -> usize {
        let name: String = self
            .eventual(&format!(
                "SELECT n.name FROM forge.leaders l JOIN forge.nodes n ON n.id = l.node_id
                 WHERE l.duty = '{duty}'"
            ))
            .unwrap();
        self.nodes
            .iter()
            .position(|node| node.name() == name)
            .unwrap()
    }
}

/// The session's methods are the stage's.
impl Deref for Stage<'_> {
    type Target = Session;
    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for node in &self.nodes {
            let log = node.log().unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!(
                "--- log of {} ends ({})\n{end}",
                node.name(),
                self.logs.display()
            );
        }
    }
}
