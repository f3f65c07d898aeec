//! The Forge nodes of the tour: this program's own `node`, configured by environment only.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use anyhow::{Result, bail};
use reqwest::Client;
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use super::child::Child;
use crate::native::DATABASE_VARIABLE;

const READY_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What all nodes of the tour share.
#[derive(Clone, Debug)]
pub struct Site {
    /// This program.
    pub program: PathBuf,
    /// Where logs go, and the nodes' working directory, so that no forge.toml is picked up.
    pub logs: PathBuf,
    /// The daemon's database.
    pub daemon_url: String,
    /// The native handlers' database.
    pub native_url: String,
    /// What calls to the receiver are signed with.
    pub signing_secret: String,
    /// The receiver's certificate.
    pub certificate: PathBuf,
    /// HTTP port of node 1; node k listens k-1 higher.
    pub http_port: u16,
    /// gRPC port of node 1.
    pub grpc_port: u16,
}

/// A node process.
#[derive(Debug)]
pub struct Node {
    /// Its process.
    pub child: Child,
    /// Its HTTP address.
    pub http: SocketAddr,
    /// Its gRPC address.
    pub grpc: SocketAddr,
}

impl Node {
    /// Starts node `number`, from 1.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(site: &Site, number: u16) -> Result<Self> {
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port + number - 1));
        let (http, grpc) = (at(site.http_port), at(site.grpc_port));
        let name = format!("node-{number}");
        let mut command = Command::new(&site.program);
        command
            .arg("node")
            .current_dir(&site.logs)
            .stdout(Stdio::null())
            .env("FORGE_NODE__NAME", &name)
            .env("FORGE_DATABASE__URL", &site.daemon_url)
            .env("FORGE_HTTP__LISTEN", http.to_string())
            .env("FORGE_GRPC__LISTEN", grpc.to_string())
            // The receiver is on this machine. It fails on purpose, so its circuit must not stay open long.
            .env("FORGE_OUTBOUND__ALLOW_PRIVATE", "true")
            .env("SSL_CERT_FILE", &site.certificate)
            .env("FORGE_OUTBOUND__BREAKER_OPEN", "1s")
            .env("FORGE_OUTBOUND__SIGNING_SECRET", &site.signing_secret)
            .env(DATABASE_VARIABLE, &site.native_url);
        Ok(Self {
            child: Child::start(&name, command, &site.logs)?,
            http,
            grpc,
        })
    }

    /// `http://ADDRESS`.
    pub fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Waits until `/readyz` says so.
    ///
    /// # Errors
    /// When the process ends, or is not ready within a minute.
    pub async fn ready(&mut self, client: &Client) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        let url = format!("{}/readyz", self.url());
        loop {
            if let Some(status) = self.child.ended()? {
                bail!(
                    "{} ended with {status}; {}",
                    self.child.name,
                    self.child.last_words()
                );
            }
            let answer = client.get(&url).send().await;
            if answer.is_ok_and(|response| response.status().is_success()) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "{} was not ready within {READY_WITHIN:?}; {}",
                    self.child.name,
                    self.child.last_words()
                );
            }
            sleep(LOOK_EVERY).await;
        }
    }
}
