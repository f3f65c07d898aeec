//! GitHub's side: several senders deliver the plan to the nodes, and keep book of every answer.
//!
//! Invariants: a delivery that got no answer, or 503, is sent again under the same id, to the next node,
//! until it is answered or the patience ends; every answer is counted once.

mod book;
mod request;
mod sender;

use std::{
    process::ExitCode,
    sync::{
        Arc, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use book::{Book, Counters, Outcome};

use crate::{
    payload::{self, Payload},
    plan::Plan,
};

/// Command-line options of `replay`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Base URL of a node; give several to share the load.
    #[arg(long = "node", required = true)]
    nodes: Vec<String>,
    /// The webhook's secret.
    #[arg(long, env = "GITHUB_EVENTS_SECRET")]
    secret: String,
    /// How many times each payload is delivered.
    #[arg(long, default_value_t = 30)]
    repeat: usize,
    /// Decides order, duplicates, forgeries and malformed requests.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Requests in flight.
    #[arg(long, default_value_t = 8)]
    senders: usize,
    /// Requests a second at most.
    #[arg(long, default_value_t = 600)]
    rate: u32,
}

/// The nodes deliveries go to now; may change while senders run.
#[derive(Clone, Debug, Default)]
pub struct Fleet(Arc<RwLock<Vec<String>>>);

impl Fleet {
    /// A fleet of these base URLs.
    pub fn new(nodes: Vec<String>) -> Self {
        Self(Arc::new(RwLock::new(nodes)))
    }

    /// Sends to these from now on.
    pub fn set(&self, nodes: Vec<String>) {
        *self.0.write().unwrap_or_else(|held| held.into_inner()) = nodes;
    }

    /// The base URL for turn `turn`, or none when there is no node.
    fn pick(&self, turn: usize) -> Option<String> {
        let nodes = self.0.read().unwrap_or_else(|held| held.into_inner());
        (!nodes.is_empty()).then(|| nodes[turn % nodes.len()].clone())
    }
}

/// Everything a replay needs.
#[derive(Debug)]
pub struct Replay {
    /// What to send.
    pub plan: Plan,
    /// Bodies, by the plan's index.
    pub payloads: Vec<Payload>,
    /// Whereto.
    pub fleet: Fleet,
    /// The webhook's secret.
    pub secret: String,
    /// Requests in flight.
    pub senders: usize,
    /// Requests a second at most.
    pub rate: u32,
    /// How long a delivery is sent again before it is given up.
    pub patience: Duration,
    /// Live counts.
    pub counters: Arc<Counters>,
}

impl Replay {
    /// Sends everything and returns the books. Stops early when `stop` is cancelled.
    ///
    /// # Errors
    /// When the HTTP client cannot be made or a sender panics.
    pub async fn run(self, stop: CancellationToken) -> Result<Book> {
        let senders = self.senders.max(1);
        let client = reqwest::Client::builder()
            .user_agent("GitHub-Hookshot/forge-example")
            .timeout(Duration::from_secs(10))
            .connect_timeout(Duration::from_secs(2))
            .pool_max_idle_per_host(senders)
            .no_proxy()
            .build()
            .context("making the senders' HTTP client")?;
        let shared = Arc::new(sender::Shared {
            requests: request::Factory::new(client, self.secret),
            plan: self.plan,
            payloads: self.payloads,
            fleet: self.fleet,
            next: AtomicUsize::new(0),
            pace: sender::Pace::new(self.rate),
            patience: self.patience,
            counters: self.counters,
        });
        let mut tasks = JoinSet::new();
        for _ in 0..senders {
            let shared = Arc::clone(&shared);
            let stop = stop.clone();
            tasks.spawn(async move {
                stop.run_until_cancelled(sender::run(&shared))
                    .await
                    .unwrap_or_default()
            });
        }
        let mut book = Book::default();
        while let Some(part) = tasks.join_next().await {
            book.absorb(part.context("a sender panicked")?);
        }
        book.sent = shared.counters.sent.load(Ordering::Relaxed);
        Ok(book)
    }
}

/// Runs the senders alone and prints the books as JSON.
///
/// # Errors
/// When the payloads cannot be read or installed.
pub async fn run(options: Options) -> Result<ExitCode> {
    let directory = payload::directory();
    payload::install(&directory).await?;
    let payloads = payload::read(&directory)?;
    let replay = Replay {
        plan: Plan::new(payloads.len(), options.repeat, options.seed),
        payloads,
        fleet: Fleet::new(options.nodes),
        secret: options.secret,
        senders: options.senders,
        rate: options.rate,
        patience: Duration::from_secs(60),
        counters: Arc::default(),
    };
    let book = replay.run(CancellationToken::new()).await?;
    println!("{}", serde_json::to_string_pretty(&book.summary())?);
    Ok(if book.complaints().is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
