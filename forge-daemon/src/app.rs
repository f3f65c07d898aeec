//! Wires a node together and takes it apart again.
//!
//! Start: doors open first (`/readyz` says 503), then the database is waited for, the node joins, and its parts run by
//! role. Stop, on the first signal: new work is refused → requests in progress end → jobs in progress end → what is
//! left returns to the queue unused → leadership is resigned → the node leaves → buffers are written → exit. A second
//! signal cuts every wait short.

mod context;
mod node;
mod signal;

use std::process::ExitCode;

pub use crate::worker::native::{Failure, Job, Native, Natives, Then};
pub use context::{Addresses, Context, Phase};
pub use node::Running;
use serde_json::Value;

use crate::{
    config::{self, Config},
    error::Error,
    observe,
};

/// The daemon as a library.
#[derive(Debug)]
pub struct Forge;

impl Forge {
    /// A node to be configured.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

/// Configuration and native handlers of a node to be.
#[derive(Debug, Default)]
pub struct Builder {
    config: Option<Config>,
    natives: Natives,
}

impl Builder {
    /// Uses `config`. Without this the configuration is read as `forge-daemon serve` reads it.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// Runs jobs of kinds with handler `native:NAME` by `handler`. The last handler of a name wins.
    #[must_use]
    pub fn native<F, T>(mut self, name: impl Into<String>, handler: F) -> Self
    where
        F: Fn(Job) -> T + Send + Sync + 'static,
        T: Future<Output = Result<Value, Failure>> + Send + 'static,
    {
        self.natives.insert(name.into(), Native::new(handler));
        self
    }

    /// Runs the node as a process: logs, metrics, signals; returns after the drain with the status to exit with.
    pub async fn run(self) -> ExitCode {
        let config = match self
            .config
            .map_or_else(|| config::load::read(None, &[], &[]), Ok)
        {
            Ok(config) => config,
            Err(mistakes) => {
                eprintln!("{mistakes}");
                return Error::from(mistakes).exit();
            }
        };
        observe::init(&config.log);
        let builder = Builder {
            config: Some(config),
            natives: self.natives,
        };
        match builder.until_stopped().await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!(%error, "the node ends");
                error.exit()
            }
        }
    }

    /// Starts the node without touching logging or signals: for programs with their own.
    pub async fn start(self) -> Result<Running, Error> {
        let config = self
            .config
            .map_or_else(|| config::load::read(None, &[], &[]), Ok)?;
        node::start(config, self.natives).await
    }

    async fn until_stopped(self) -> Result<(), Error> {
        let mut signals = signal::Signals::new();
        let mut node = self.start().await?;
        let context = node.context().clone();
        if context.config.uses_tls() {
            signals.take_hang_up();
        }
        let reload = || context.reload();
        let asked = context.asked.clone();
        let outcome = tokio::select! {
            () = asked.cancelled() => {
                tracing::info!("asked to drain; stopping");
                Ok(())
            }
            name = signals.next(reload) => {
                tracing::info!(signal = name, "stopping; another signal forces");
                Ok(())
            }
            failed = node.failed() => Err(failed),
        };
        let force = context.force.clone();
        let stop = node.stop();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return outcome,
                name = signals.next(reload) => {
                    tracing::warn!(signal = name, "forced: not waiting for what still runs");
                    force.cancel();
                }
            }
        }
    }
}
