//! The stage of the tour: what is running, and the acts in their order.

mod act;
mod wait;

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use base64::{Engine, prelude::BASE64_STANDARD};
use rand::RngExt;
use reqwest::{Certificate, Client as Http};
use tokio::process::Command;
use tokio_postgres::Client;
use uuid::Uuid;

use super::{
    Options,
    audit::Audit,
    child::Child,
    database,
    node::{Node, Site},
};
use crate::{
    payload::{self, Payload},
    receiver::Report,
    replay::Book,
};

const READY_WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_secs(70);

/// Everything that runs during a tour.
#[derive(Debug)]
pub struct Stage {
    database: Client,
    database_url: String,
    http: Http,
    site: Site,
    payloads: Arc<[Payload]>,
    webhook_secret: String,
    worker_key: String,
    receiver: Child,
    receiver_url: String,
    worker: Child,
    nodes: Vec<Node>,
}

/// What one run of the acts leaves behind.
#[derive(Debug)]
pub struct Run {
    pub(super) book: Book,
    pub(super) report: Report,
    pub(super) planned: usize,
    pub(super) dead_before: i64,
    pub(super) redriven: i64,
    pub(super) third: Uuid,
    pub(super) after_third: u64,
    pub(super) names: BTreeMap<Uuid, String>,
    pub(super) seconds: f64,
}

impl Stage {
    /// Prepares the database, then starts the receiver, two nodes and the worker, and waits until all are ready.
    ///
    /// # Errors
    /// What could not be prepared or started, with the end of its log.
    pub async fn set(options: &Options) -> Result<Self> {
        let directory = payload::directory();
        if payload::install(&directory).await? {
            println!("installed GitHub's example payloads");
        }
        let payloads = payload::read(&directory)?;
        let events = payloads
            .iter()
            .map(|payload| &*payload.event)
            .collect::<BTreeSet<_>>()
            .len();
        println!("{} payloads of {events} event types", payloads.len());
        std::fs::create_dir_all(&options.log_dir)
            .with_context(|| format!("making {}", options.log_dir.display()))?;
        let site = Site {
            program: std::env::current_exe().context("finding this program")?,
            logs: options.log_dir.canonicalize()?,
            daemon_url: options.daemon_url.clone(),
            native_url: options.database_url.clone(),
            signing_secret: format!("whsec_{}", random_base64()),
            certificate: options.log_dir.canonicalize()?.join("receiver.pem"),
            http_port: options.http_port,
            grpc_port: options.grpc_port,
        };

        let database = database::connect(&options.database_url).await?;
        database::load_schema(&database).await?;
        let (receiver, receiver_url) = start_receiver(&site, options.seed).await?;
        let http = http_client(&site)?;
        let webhook_secret = random_base64();
        database::register(&database, &webhook_secret, &receiver_url).await?;
        println!(
            "loaded the schema and registered a webhook, {} kinds of jobs and a schedule",
            events + 1
        );

        let mut nodes = vec![Node::start(&site, 1)?, Node::start(&site, 2)?];
        for node in &mut nodes {
            node.ready(&http).await?;
        }
        let worker_key = format!("github-events-{}", Uuid::now_v7());
        let key = database::create_worker_key(&database, &worker_key).await?;
        let worker = start_worker(&site, options, &key).await?;
        println!(
            "running: 2 nodes ({}, {}), the receiver ({receiver_url}), a worker in Python",
            nodes[0].url(),
            nodes[1].url()
        );
        Ok(Self {
            database,
            database_url: options.database_url.clone(),
            http,
            site,
            payloads: payloads.into(),
            webhook_secret,
            worker_key,
            receiver,
            receiver_url,
            worker,
            nodes,
        })
    }

    /// Counts, prints the tables, and says whether everything agrees.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn judge(&self, run: &Run) -> Result<bool> {
        let effects = &run.report.effects;
        let audit = Audit::take(&self.database, &run.book.good, &self.payloads, effects).await?;
        super::verdict::pronounce(&self.database, &self.payloads, run, &audit).await
    }

    /// Where to look while the nodes go on.
    pub fn say_where(&self, also: Option<&str>) {
        println!("\nThe nodes go on until Ctrl-C. Look around:");
        for node in &self.nodes {
            let url = node.url();
            println!(
                "  {}  {url}/healthz  {url}/readyz  {url}/metrics  gRPC {}",
                node.child.name, node.grpc
            );
        }
        println!("  receiver  {}/report", self.receiver_url);
        if let Some(also) = also {
            println!("  {also}");
        }
        println!("  psql '{}' -c 'TABLE forge.queues'", self.database_url);
        println!("  logs in {}", self.site.logs.display());
    }

    /// Stops everything, workers first.
    ///
    /// # Errors
    /// When something had to be killed.
    pub async fn strike(&mut self) -> Result<()> {
        self.worker.stop(STOP_WITHIN).await?;
        database::revoke_worker_key(&self.database, &self.worker_key).await?;
        for node in &mut self.nodes {
            node.child.stop(STOP_WITHIN).await?;
        }
        self.receiver.stop(READY_WITHIN).await
    }
}

async fn start_receiver(site: &Site, seed: u64) -> Result<(Child, String)> {
    let mut command = Command::new(&site.program);
    command
        .args(["receiver", "--seed", &seed.to_string(), "--certificate"])
        .arg(&site.certificate)
        .env("GITHUB_EVENTS_RECEIVER_SECRET", &site.signing_secret)
        .stdout(Stdio::piped());
    let mut child = Child::start("receiver", command, &site.logs)?;
    let url = child.first_line(READY_WITHIN).await?;
    Ok((child, url))
}

/// A client that trusts the receiver.
fn http_client(site: &Site) -> Result<Http> {
    let pem = std::fs::read(&site.certificate)
        .with_context(|| format!("reading {}", site.certificate.display()))?;
    Http::builder()
        .timeout(Duration::from_secs(10))
        .no_proxy()
        .tls_certs_only([Certificate::from_pem(&pem)?])
        .build()
        .context("making the tour's HTTP client")
}

/// The worker is told of all three nodes, the one to be killed first.
async fn start_worker(site: &Site, options: &Options, key: &str) -> Result<Child> {
    let script = payload::directory().join("../python-worker/worker.py");
    let mut command = Command::new(&options.python);
    command.arg(script).stdout(Stdio::piped());
    for number in [1, 0, 2] {
        let node = format!("127.0.0.1:{}", options.grpc_port + number);
        command.args(["--node", &node]);
    }
    command
        .args(["--api-key", key, "--kind", "github.issue_comment"])
        .args(["--capability", "python", "--max-jobs", "16"]);
    let mut child = Child::start("python-worker", command, &site.logs)?;
    child.first_line(READY_WITHIN).await?;
    Ok(child)
}

/// 24 random bytes, as long as Standard Webhooks recommends.
fn random_base64() -> String {
    let bytes: [u8; 24] = rand::rng().random();
    BASE64_STANDARD.encode(bytes)
}
