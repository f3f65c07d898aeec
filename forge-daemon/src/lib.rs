//! The Forge daemon as a library: the gateway, workers and scheduler of one node.
//!
//! A program that runs its own Rust handlers is this:
//!
//! ```no_run
//! use forge_daemon::{Forge, Job};
//! use serde_json::json;
//!
//! #[tokio::main]
//! async fn main() -> std::process::ExitCode {
//!     Forge::builder()
//!         .native("greet", |job: Job| async move { Ok(json!({ "hello": job.args["name"] })) })
//!         .run()
//!         .await
//! }
//! ```
//!
//! Jobs of a kind registered with handler `native:greet` then run here. The configuration is that of `forge-daemon
//! serve`: `forge.toml` and `FORGE_SECTION__FIELD` variables, or [`Builder::config`].

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod app;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod db;
pub mod error;
pub mod executor;
pub mod gateway;
pub mod grpc;
pub mod observe;
pub mod scheduler;
pub mod service;
mod tls;
pub mod worker;

pub use app::{Builder, Context, Failure, Forge, Job, Phase};
pub use config::Config;
