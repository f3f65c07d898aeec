//! The whole demonstration: two nodes, a receiver that fails, a worker in Python, senders, a kill -9, a third
//! node, and a table of counts that must agree.
//!
//! Invariants: every wait has a deadline; what the tour starts ends with it; the exit status is success only
//! when every count agrees.

mod audit;
mod child;
mod database;
mod expect;
mod node;
mod progress;
mod stage;
mod table;
mod verdict;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use stage::Stage;

/// Command-line options of `tour`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// A role that may make the example's schema and register its jobs: a superuser, or the database's owner.
    #[arg(long, env = "DATABASE_URL")]
    pub database_url: String,
    /// The daemon's login role (forge.setup_daemon_role).
    #[arg(long, env = "FORGE_DATABASE__URL")]
    pub daemon_url: String,
    /// End after the table, with success only when the counts agree. Otherwise the nodes go on until Ctrl-C.
    #[arg(long)]
    pub once: bool,
    /// HTTP port of the first node; the others listen on the ports after it.
    #[arg(long, default_value_t = 7070)]
    pub http_port: u16,
    /// gRPC port of the first node.
    #[arg(long, default_value_t = 7170)]
    pub grpc_port: u16,
    /// Where the logs of the nodes, the receiver and the worker go.
    #[arg(long, default_value = "target/github-events")]
    pub log_dir: PathBuf,
    /// A Python with the worker's requirements installed.
    #[arg(long, default_value = "python3")]
    pub python: PathBuf,
    /// A line to add to what there is to look at, such as another application on the same nodes.
    #[arg(long)]
    pub also: Option<String>,
    /// How many times each payload is delivered.
    #[arg(long, default_value_t = 30)]
    pub repeat: usize,
    /// Decides order, duplicates, forgeries, malformed requests and the receiver's failures.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Requests in flight.
    #[arg(long, default_value_t = 8)]
    pub senders: usize,
    /// Requests a second at most; 0 for no limit.
    #[arg(long, default_value_t = 600)]
    pub rate: u32,
    /// Seconds within which every job must have ended.
    #[arg(long, default_value_t = 300)]
    pub deadline: u64,
}

impl Options {
    fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline)
    }
}

/// Runs the tour. An interrupt ends it, and everything it started.
///
/// # Errors
/// What kept the tour from reaching its table.
pub async fn run(options: Options) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut stop = std::pin::pin!(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    });
    tokio::select! {
        played = play(&options) => {
            let (mut stage, agreed) = played?;
            if !options.once {
                stage.say_where(options.also.as_deref());
                stop.await;
            }
            stage.strike().await?;
            Ok(if agreed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        () = &mut stop => bail!("interrupted"),
    }
}

/// Everything up to the table; whether the counts agree.
async fn play(options: &Options) -> Result<(Stage, bool)> {
    let mut stage = Stage::set(options).await?;
    let run = stage.perform(options).await?;
    let agreed = stage.judge(&run).await?;
    Ok((stage, agreed))
}
