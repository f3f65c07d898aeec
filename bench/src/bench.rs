//! What every row is given: the database, how large a run is asked for, where the peers are.

use anyhow::Context;
use clap::Args;
use forge_tests::Cluster;
use forge_tests::cluster::{ClusterInfo, DAEMON_ROLE};
use std::path::PathBuf;
use std::time::Duration;

/// Where `cargo xtask bench` says what it started.
const CLUSTER: &str = "FORGE_BENCH_CLUSTER";
/// The database with the extension in that cluster.
const DATABASE: &str = "forge";

/// The command line of a suite.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The database under test, with the extension installed; its role may create schemas. By
    /// default database `forge` of the private cluster that `cargo xtask bench` started.
    #[arg(long)]
    pub database_url: Option<String>,
    /// The same database as the daemons' login role; by default `--database-url` itself.
    #[arg(long)]
    pub daemon_url: Option<String>,
    /// Print `{"rows":[…]}` and nothing else on standard output.
    #[arg(long)]
    pub json: bool,
    /// Smaller sizes and one round: ends within 60 seconds and is rougher.
    #[arg(long)]
    pub quick: bool,
    /// Only rows whose name contains this text; may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub only: Vec<String>,
    /// Where the peers that are not Rust live.
    #[arg(long, value_name = "DIRECTORY", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/peers"))]
    pub peers: PathBuf,
}

/// What a row measures with.
#[derive(Clone, Debug)]
pub struct Bench {
    /// The database under test, reached as a role that owns it.
    pub url: String,
    /// The same database as nodes reach it.
    pub daemon_url: String,
    pub quick: bool,
    pub peers: PathBuf,
}

impl Bench {
    /// Finds the database that the command line or `cargo xtask bench` names.
    ///
    /// # Errors
    /// Neither names one.
    pub fn new(options: &Options) -> anyhow::Result<Self> {
        let (url, daemon_url) = match &options.database_url {
            Some(url) => {
                let daemon_url = options.daemon_url.as_ref().unwrap_or(url);
                (url.clone(), daemon_url.clone())
            }
            None => private_cluster()?,
        };
        Ok(Self {
            url,
            daemon_url,
            quick: options.quick,
            peers: options.peers.clone(),
        })
    }

    /// `full`, or `quick` where a quick run was asked for.
    pub fn size(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    /// How often each side is measured: `full` times, once where a quick run was asked for.
    pub fn rounds(&self, full: usize) -> usize {
        self.size(full, 1)
    }

    /// `full`, or `quick` where a quick run was asked for, in milliseconds.
    pub fn millis(&self, full: u64, quick: u64) -> Duration {
        Duration::from_millis(if self.quick { quick } else { full })
    }
}

/// The URLs of an owner and of the daemons' role in the cluster that `cargo xtask bench` started.
fn private_cluster() -> anyhow::Result<(String, String)> {
    let info = std::env::var(CLUSTER).ok().with_context(|| {
        format!(
            "no database: give --database-url, or run `cargo xtask bench`, which sets {CLUSTER}"
        )
    })?;
    let info: ClusterInfo = serde_json::from_str(&info)
        .with_context(|| format!("{CLUSTER} is not a cluster's description"))?;
    let cluster = Cluster::attach(info)?;
    Ok((cluster.url(DATABASE), cluster.url_as(DAEMON_ROLE, DATABASE)))
}
