//! HAProxy in front of nodes, as Debian packages it.
//!
//! Invariants: it listens on 127.0.0.1; it asks nodes for `/readyz` and sends requests to ready ones only, in turn; it
//! ends with its owner.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::{deadline::eventually, http, node::Node, port::free_port, reaper::Reaper};

const READY: Duration = Duration::from_secs(30);
/// Path of its own counters, as CSV.
const COUNTERS: &str = "/haproxy-counters";

/// Debian's program; another one is looked for on the path.
#[must_use]
pub fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join("haproxy"))
        .find(|program| program.is_file())
        .unwrap_or_else(|| "/usr/sbin/haproxy".into())
}

/// A running load balancer. Dropping it kills it.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    child: Child,
    _reaper: Reaper,
}

impl Balancer {
    /// Starts it in front of these nodes and waits until it reaches all of them. Its configuration and log go to `dir`.
    ///
    /// # Errors
    /// When HAProxy is missing, or does not reach every node within 30 s.
    pub fn start(nodes: &[Node], dir: &Path) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let config = dir.join("haproxy.cfg");
        fs::write(&config, configuration(address, nodes))
            .with_context(|| format!("writing {}", config.display()))?;
        let log_path = dir.join("haproxy.log");
        let log = File::create(&log_path)?;
        let child = Command::new(program())
            .arg("-db")
            .arg("-f")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| {
                format!(
                    "starting {}; on Debian: apt-get install haproxy",
                    program().display()
                )
            })?;
        let reaper = Reaper::watch(child.id().cast_signed(), Signal::SIGKILL)?;
        let mut balancer = Self {
            address,
            child,
            _reaper: reaper,
        };
        eventually(READY, "the load balancer to reach every node", || {
            if let Some(status) = balancer.child.try_wait()? {
                bail!(
                    "haproxy ended with {status}:\n{}",
                    fs::read_to_string(&log_path).unwrap_or_default()
                );
            }
            let servers = balancer.servers().unwrap_or_default();
            let up = servers.iter().filter(|server| server.up).count();
            Ok((up == nodes.len()).then_some(()))
        })?;
        Ok(balancer)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The nodes as it sees them.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn servers(&self) -> Result<Vec<Server>> {
        let answer = http::get(self.address, &format!("{COUNTERS};csv"))?;
        read_counters(&answer.text())
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A node behind the load balancer.
#[derive(Debug, PartialEq, Eq)]
pub struct Server {
    pub name: String,
    pub up: bool,
    /// Requests sent to it so far, the balancer's own questions not counted.
    pub requests: u64,
}

fn configuration(address: SocketAddr, nodes: &[Node]) -> String {
    let mut text = format!(
        "global
    maxconn 512
defaults
    mode http
    option forwardfor
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-request 10s
frontend public
    bind {address}
    stats enable
    stats uri {COUNTERS}
    default_backend nodes
backend nodes
    balance roundrobin
    option httpchk GET /readyz
    option redispatch
    retries 3
    retry-on conn-failure
"
    );
    for node in nodes {
        text.push_str(&format!(
            "    server {} {} check inter 200ms fall 1 rise 1\n",
            node.name(),
            node.http()
        ));
    }
    text
}

/// Reads HAProxy's CSV: a header line, then a line per frontend, backend and server.
fn read_counters(text: &str) -> Result<Vec<Server>> {
    let mut lines = text.lines();
    let header: Vec<&str> = lines
        .next()
        .and_then(|line| line.strip_prefix("# "))
        .context("the counters have no header")?
        .split(',')
        .collect();
    let column = |name: &str| {
        header
            .iter()
            .position(|found| *found == name)
            .with_context(|| format!("the counters have no column {name}"))
    };
    let (proxy, name, status) = (column("pxname")?, column("svname")?, column("status")?);
    let total = column("stot")?;
    let mut servers = Vec::new();
    for line in lines {
        let values: Vec<&str> = line.split(',').collect();
        let at = |column: usize| values.get(column).copied().unwrap_or_default();
        if at(proxy) == "nodes" && at(name) != "BACKEND" {
            servers.push(Server {
                name: at(name).to_owned(),
                up: at(status) == "UP",
                requests: at(total).parse()?,
            });
        }
    }
    Ok(servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_servers_of_the_backend() {
        let text = "# pxname,svname,stot,status,\npublic,FRONTEND,9,OPEN,\nnodes,n1,4,UP,\nnodes,n2,3,DOWN,\nnodes,BACKEND,7,UP,\n";
        let server = |name: &str, up, requests| Server {
            name: name.to_owned(),
            up,
            requests,
        };
        assert_eq!(
            read_counters(text).unwrap(),
            [server("n1", true, 4), server("n2", false, 3)]
        );
        assert!(read_counters("<html>").is_err());
    }
}
